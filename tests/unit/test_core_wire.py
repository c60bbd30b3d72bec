"""The guardian's half of the robot port: the same bytes as the Python half, and nothing else gets in."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgerl.runtime import wire
from edgerl.runtime.enums import Drop, Event, Mode
from tests.core_world import SESSION, World, enter


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


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=3, max_size=3))
def test_floats_arrive_bit_for_bit(values):
    world = World()
    world.ticks(1)
    deliver(world, datagram(world, values=values))
    assert world.record().state.tobytes() == np.array(values, np.float32).tobytes()
