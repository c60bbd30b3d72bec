"""The guardian's half of the robot port: the same bytes as the Python half, and nothing else gets in."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgerl.runtime import wire
from edgerl.runtime.enums import Drop, Event, Mode
from tests.core_world import SESSION, World, enter, small_config


def datagram(world: World, **fields: object) -> bytes:
    """Return the next good STATE."""
    header = wire.Header(SESSION, world.sequence + 1, world.stamp + 1)
    values = np.array(fields.get("values", [1.0, 2.0, 3.0]), np.float32)
    return wire.encode(wire.State(header, wire.StateFlag(0), values))


def sealed(body: bytes) -> bytes:
    return body + struct.pack("<I", zlib.crc32(body))


def changed(data: bytes, at: int, by: bytes) -> bytes:
    """Return the datagram with other bytes at a place, and a checksum that fits."""
    return sealed(data[:at] + by + data[at + len(by) : -4])


def deliver(world: World, data: bytes) -> list[int]:
    """Make a tick with this datagram alone; return the counters of dropped ones."""
    world.inbox.append((world.now, data))
    world.tick()
    return list(world.read_status().dropped)


def drops(cause: Drop) -> list[int]:
    return [int(one == cause) for one in Drop]


def test_a_good_state_is_taken():
    world = enter(Mode.ACTIVE)
    assert deliver(world, datagram(world)) == [0] * 8
    assert world.record().events == {Event.NOMINAL}
    assert world.record().state.tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("at", "by", "cause"),
    [
        (0, b"ERLQ", Drop.MAGIC),
        (4, b"\x02\x00", Drop.VERSION),
        (6, b"\x05\x00", Drop.KIND),
        (6, b"\x01\x00", Drop.KIND),
        (6, b"\x06\x00", Drop.LENGTH),
        (8, b"\x00" * 8, Drop.SESSION),
        (32, b"\x20\x00\x00\x00", Drop.FIELD),
        (32, b"\x00\x00\x00\x80", Drop.FIELD),
        (36, b"\x02\x00", Drop.FIELD),
        (36, b"\x04\x00", Drop.FIELD),
        (38, b"\x01\x00", Drop.FIELD),
    ],
)
def test_a_datagram_with_a_wrong_field_is_dropped_for_it(at, by, cause):
    world = enter(Mode.ACTIVE)
    assert deliver(world, changed(datagram(world), at, by)) == drops(cause)
    assert world.record().events == {Event.STATE_LOST}


@pytest.mark.parametrize("keep", [0, 1, 4, 35, 36, 51, 55])
def test_a_truncated_datagram_is_dropped(keep):
    world = enter(Mode.ACTIVE)
    data = datagram(world)[:keep]
    if not data:
        data = b"\x00"
    assert sum(deliver(world, data)) == 1
    assert world.record().events == {Event.STATE_LOST}


@pytest.mark.parametrize("size", [57, 60, 1472, 1473, 9000])
def test_a_datagram_that_is_too_long_is_dropped(size):
    world = enter(Mode.ACTIVE)
    assert deliver(world, datagram(world).ljust(size, b"\x00")) == drops(Drop.LENGTH)


@pytest.mark.parametrize("bit", [0, 100, 255, 256, 350, 440, 447])
def test_one_wrong_bit_is_dropped(bit):
    world = enter(Mode.ACTIVE)
    data = bytearray(datagram(world))
    data[bit // 8] ^= 1 << (bit % 8)
    assert sum(deliver(world, bytes(data))) == 1
    assert world.record().events == {Event.STATE_LOST}


def test_a_bye_with_a_used_reserved_field_is_dropped():
    world = enter(Mode.ACTIVE)
    bye = wire.encode(wire.Bye(wire.Header(SESSION, 1, 0), 3))
    assert deliver(world, changed(bye, 34, b"\x01\x00")) == drops(Drop.FIELD)
    assert world.read_status().byes == 0


@given(st.binary(max_size=1500))
def test_no_bytes_from_a_stranger_become_a_state(data):
    world = World()
    world.ticks(1)
    assert sum(deliver(world, data or b"\x00")) == 1
    assert world.record().events == {Event.STATE_LOST}


HEADERS = st.builds(
    wire.Header, st.sampled_from([SESSION] * 5 + [1]), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1)
)
FLOATS = st.sampled_from([3, 3, 3, 0, 2, 4]).flatmap(
    lambda count: st.binary(min_size=4 * count, max_size=4 * count).map(lambda data: np.frombuffer(data, np.float32))
)
MESSAGES = (
    st.builds(wire.State, HEADERS, st.integers(0, 31).map(wire.StateFlag), FLOATS)
    | st.builds(wire.State, HEADERS, st.integers(0, 63).map(wire.StateFlag), FLOATS)
    | st.builds(wire.Bye, HEADERS, st.integers(0, 65535))
    | st.builds(wire.Command, HEADERS, *[st.integers(0, 2**64 - 1)] * 3, *[st.integers(0, 255)] * 2, FLOATS)
    | st.builds(wire.Refused, HEADERS, st.sampled_from(wire.Refusal), st.text(max_size=20))
)
CHANGES = st.just([]) | st.lists(st.tuples(st.integers(0, 80), st.binary(min_size=1, max_size=4)), max_size=2)


def python_takes(data: bytes) -> wire.State | wire.Bye | None:
    """Return what the Python half would take as this session's, with three channels."""
    try:
        message = wire.decode(data)
    except wire.BadDatagram:
        return None
    if message.header.session != SESSION or not isinstance(message, (wire.State, wire.Bye)):
        return None
    return message if isinstance(message, wire.Bye) or message.values.size == 3 else None


@settings(max_examples=600, deadline=None)
@given(MESSAGES, CHANGES, st.sampled_from([0] * 9 + [-5, -4, -1, 1, 4]), st.booleans())
def test_both_halves_take_the_same_datagrams_and_read_the_same_in_them(message, changes, longer, resealed):
    data = wire.encode(message)
    for at, by in changes:
        data = data[:at] + by + data[at + len(by) :]
    data = data[:longer] if longer < 0 else data + bytes(longer)
    if resealed and len(data) > 4:
        data = sealed(data[:-4])
    taken = python_takes(data)
    world = World()
    dropped = deliver(world, data or b"\x00")
    status = world.read_status()
    assert sum(dropped) == (taken is None)
    assert status.byes == isinstance(taken, wire.Bye)
    assert world.record().header.observed == isinstance(taken, wire.State)
    if isinstance(taken, wire.State):
        header = world.record().header
        assert (header.state_sequence, header.stamp_ns) == (taken.header.sequence, taken.header.stamp_ns)
        assert (header.state_flags, world.record().state.tobytes()) == (taken.flags, taken.values.tobytes())


TO_ROBOT, TO_CONTROLLER = bytes(range(32)), bytes(range(100, 132))


def tagged_world() -> World:
    config = small_config(authenticated=1)
    config.send_key[:], config.receive_key[:] = TO_ROBOT, TO_CONTROLLER
    return World(config)


def test_with_keys_states_and_commands_carry_tags():
    world = tagged_world()
    world.arm()
    assert world.sent  # the world takes nothing but commands with the robot's tag
    assert list(world.read_status().dropped) == [0] * 8


def test_a_bye_with_its_tag_is_heard():
    world = tagged_world()
    world.ticks(1)
    deliver(world, wire.encode(wire.Bye(wire.Header(SESSION, 1, 0), 3), TO_CONTROLLER))
    assert world.read_status().byes == 1


@pytest.mark.parametrize(
    ("key", "cause"),
    [(None, Drop.VERSION), (TO_ROBOT, Drop.CRC), (bytes(32), Drop.CRC)],
    ids=["none", "reflected", "another"],
)
def test_with_keys_a_datagram_of_another_end_is_dropped(key, cause):
    world = tagged_world()
    world.ticks(1)
    header = wire.Header(SESSION, world.sequence + 1, world.stamp + 1)
    state = wire.State(header, wire.StateFlag(0), np.zeros(3, np.float32))
    assert deliver(world, wire.encode(state, key)) == drops(cause)


def test_without_keys_a_tagged_datagram_is_dropped():
    world = enter(Mode.ACTIVE)
    header = wire.Header(SESSION, world.sequence + 1, world.stamp + 1)
    state = wire.State(header, wire.StateFlag(0), np.zeros(3, np.float32))
    assert deliver(world, wire.encode(state, TO_CONTROLLER)) == drops(Drop.VERSION)


@given(st.integers(0, 8 * 68 - 1))
def test_one_wrong_bit_of_a_tagged_state_is_dropped(bit):
    world = tagged_world()
    world.ticks(1)
    header = wire.Header(SESSION, world.sequence + 1, world.stamp + 1)
    data = bytearray(wire.encode(wire.State(header, wire.StateFlag(0), np.zeros(3, np.float32)), TO_CONTROLLER))
    assert len(data) == 68
    data[bit // 8] ^= 1 << bit % 8
    assert sum(deliver(world, bytes(data))) == 1


@pytest.mark.parametrize("keep", [0, 47, 48, 52, 67])
def test_a_truncated_tagged_datagram_is_dropped(keep):
    world = tagged_world()
    world.ticks(1)
    header = wire.Header(SESSION, world.sequence + 1, world.stamp + 1)
    data = wire.encode(wire.State(header, wire.StateFlag(0), np.zeros(3, np.float32)), TO_CONTROLLER)
    assert deliver(world, data[:keep] or b"\x00") == drops(Drop.LENGTH)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=3, max_size=3))
def test_floats_arrive_bit_for_bit(values):
    world = World()
    world.ticks(1)
    deliver(world, datagram(world, values=values))
    assert world.record().state.tobytes() == np.array(values, np.float32).tobytes()
