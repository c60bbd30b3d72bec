from __future__ import annotations

import hashlib
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgerl.runtime import wire
from edgerl.runtime.layout import Channel, Layout
from edgerl.runtime.wire import BadDatagram, Cause, Header, Refusal, StateFlag, WelcomeFlag

U64 = st.integers(0, 2**64 - 1)
U16 = st.integers(0, 2**16 - 1)
U8 = st.integers(0, 255)
DIGEST = st.binary(min_size=32, max_size=32)
HEADERS = st.builds(Header, st.integers(1, 2**64 - 1), U64, U64)


def floats(limit: int) -> st.SearchStrategy[wire.Floats]:
    return st.binary(max_size=4 * limit).map(lambda raw: np.frombuffer(raw[: len(raw) // 4 * 4], "<f4"))


MESSAGES = st.one_of(
    st.builds(wire.Hello, HEADERS, DIGEST, U64, U64, U64, U16, U16),
    st.builds(wire.Welcome, HEADERS, DIGEST, U64, U64, st.sampled_from([WelcomeFlag(0), WelcomeFlag(1)])),
    st.builds(wire.Refused, HEADERS, st.sampled_from(Refusal), st.text(max_size=64)),
    st.builds(wire.State, HEADERS, st.integers(0, 31).map(StateFlag), floats(wire.MAX_STATE_CHANNELS)),
    st.builds(wire.Command, HEADERS, U64, U64, U64, U8, U8, floats(wire.MAX_COMMAND_CHANNELS)),
    st.builds(wire.Bye, HEADERS, U16),
)
HEADER = Header(session=7, sequence=3, stamp_ns=11)
STATE = wire.State(HEADER, StateFlag.WAITING, np.array([1.5, -2.0], np.float32))


KEY, NONCE = bytes(range(32)), bytes(range(16))


def tagged(message: wire.Message) -> bytes:
    if isinstance(message, (wire.Hello, wire.Welcome)):
        message = replace(message, nonce=NONCE)
    if isinstance(message, (wire.State, wire.Command)):
        message = replace(message, values=message.values[:300])
    return wire.encode(message, KEY)


@given(MESSAGES)
def test_every_tagged_message_survives_the_wire_and_has_one_encoding(message: wire.Message) -> None:
    data = tagged(message)
    back = wire.decode(data, KEY)
    assert type(back) is type(message)
    assert back.header == message.header
    assert wire.encode(back, KEY) == data


@given(MESSAGES, st.data())
def test_one_changed_bit_of_a_tagged_message_is_never_accepted(message: wire.Message, data: st.DataObject) -> None:
    datagram = bytearray(tagged(message))
    bit = data.draw(st.integers(0, 8 * len(datagram) - 1))
    datagram[bit // 8] ^= 1 << bit % 8
    with pytest.raises(BadDatagram):
        wire.decode(bytes(datagram), KEY)


@given(MESSAGES)
def test_a_tag_is_not_taken_for_a_checksum_nor_another_keys(message: wire.Message) -> None:
    for data, key, cause in (
        (tagged(message), None, Cause.VERSION),
        (wire.encode(message), KEY, Cause.VERSION),
        (tagged(message), bytes(32), Cause.CHECKSUM),
    ):
        with pytest.raises(BadDatagram) as refused:
            wire.decode(data, key)
        assert refused.value.cause in (cause, Cause.LENGTH)


def test_a_nonce_goes_with_a_key_and_a_key_with_a_nonce() -> None:
    hello = wire.Hello(HEADER, bytes(32), 1, 1, 1, 1, 1)
    with pytest.raises(ValueError, match="nonce of 0 bytes with a key"):
        wire.encode(hello, KEY)
    with pytest.raises(ValueError, match="nonce of 16 bytes without a key"):
        wire.encode(replace(hello, nonce=NONCE))
    data = wire.encode(replace(hello, nonce=NONCE), KEY)
    assert data[-32:-16] == NONCE
    assert len(data) == 128
    assert data[4:6] == b"\x01\x01"
    assert data[-16:] == hashlib.blake2s(data[:-16], digest_size=16, key=KEY).digest()


def test_a_tagged_state_leaves_room_for_354_channels() -> None:
    wire.encode(wire.State(HEADER, StateFlag(0), np.zeros(354, np.float32)), KEY)
    with pytest.raises(ValueError, match="do not fit one datagram"):
        wire.encode(wire.State(HEADER, StateFlag(0), np.zeros(355, np.float32)), KEY)


def resealed(data: bytes) -> bytes:
    return data[:-4] + zlib.crc32(data[:-4]).to_bytes(4, "little")


@given(MESSAGES)
def test_every_message_survives_the_wire_bit_for_bit(message: wire.Message) -> None:
    data = wire.encode(message)
    assert len(data) <= wire.MAX_DATAGRAM
    back = wire.decode(data)
    assert type(back) is type(message)
    assert back.header == message.header
    assert wire.encode(back) == data
    if isinstance(message, (wire.State, wire.Command)):
        assert isinstance(back, (wire.State, wire.Command))
        assert back.values.tobytes() == message.values.tobytes()
    else:
        assert back == message


@given(st.binary(max_size=1600))
def test_noise_is_never_a_message(data: bytes) -> None:
    with pytest.raises(BadDatagram):
        wire.decode(data)


@given(MESSAGES, st.data())
def test_one_changed_bit_is_never_accepted(message: wire.Message, data: st.DataObject) -> None:
    datagram = bytearray(wire.encode(message))
    bit = data.draw(st.integers(0, 8 * len(datagram) - 1))
    datagram[bit // 8] ^= 1 << bit % 8
    with pytest.raises(BadDatagram):
        wire.decode(bytes(datagram))


@given(MESSAGES, st.data())
def test_what_is_accepted_after_any_change_under_a_right_checksum_is_canonical(
    message: wire.Message, data: st.DataObject
) -> None:
    datagram = bytearray(wire.encode(message))
    for _ in range(data.draw(st.integers(1, 4))):
        datagram[data.draw(st.integers(0, len(datagram) - 5))] = data.draw(U8)
    hostile = resealed(bytes(datagram))
    try:
        back = wire.decode(hostile)
    except BadDatagram:
        return
    assert wire.encode(back) == hostile


@pytest.mark.parametrize(
    ("at", "value", "cause"),
    [
        (0, b"ERLQ", Cause.MAGIC),
        (4, (2).to_bytes(2, "little"), Cause.VERSION),
        (6, (9).to_bytes(2, "little"), Cause.KIND),
        (8, bytes(8), Cause.SESSION),
        (32, (32).to_bytes(4, "little"), Cause.FIELD),
        (36, (3).to_bytes(2, "little"), Cause.LENGTH),
        (38, (1).to_bytes(2, "little"), Cause.FIELD),
    ],
)
def test_each_wrong_field_of_a_state_is_dropped_for_its_own_cause(at: int, value: bytes, cause: Cause) -> None:
    data = wire.encode(STATE)
    with pytest.raises(BadDatagram) as refused:
        wire.decode(resealed(data[:at] + value + data[at + len(value) :]))
    assert refused.value.cause is cause


@pytest.mark.parametrize("change", [lambda data: data[:-5] + data[-4:], lambda data: data + b"\0", lambda data: b""])
def test_a_datagram_of_another_length_is_dropped(change) -> None:
    with pytest.raises(BadDatagram) as refused:
        wire.decode(resealed(change(wire.encode(STATE))) if change(wire.encode(STATE)) else b"")
    assert refused.value.cause is Cause.LENGTH


def test_the_bytes_of_a_state_are_those_of_the_specification() -> None:
    data = wire.encode(STATE)
    assert data[:32].hex() == "45524c5001000400070000000000000003000000000000000b00000000000000"
    assert data[32:-4].hex() == "08000000020000000000c03f000000c0"
    assert data[-4:] == zlib.crc32(data[:-4]).to_bytes(4, "little")


def test_the_sizes_are_those_of_the_specification() -> None:
    digest, none = bytes(32), np.zeros(0, np.float32)
    assert len(wire.encode(wire.Hello(HEADER, digest, 1, 1, 1, 1, 1))) == 100
    assert len(wire.encode(wire.Welcome(HEADER, digest, 1, 0, WelcomeFlag(0)))) == 92
    assert len(wire.encode(wire.Refused(HEADER, Refusal.BUSY, ""))) == 40
    assert len(wire.encode(wire.State(HEADER, StateFlag(0), none))) == 44
    assert len(wire.encode(wire.Command(HEADER, 1, 1, 1, 0, 0, none))) == 68
    assert len(wire.encode(wire.Bye(HEADER, 0))) == 40
    assert (wire.MAX_STATE_CHANNELS, wire.MAX_COMMAND_CHANNELS) == (357, 351)


def test_our_own_mistakes_raise_instead_of_sending() -> None:
    with pytest.raises(ValueError, match=r"1472"):
        wire.encode(wire.State(HEADER, StateFlag(0), np.zeros(358, np.float32)))
    with pytest.raises(ValueError, match="float32"):
        wire.encode(wire.State(HEADER, StateFlag(0), np.zeros(3)))
    with pytest.raises(ValueError, match="SHA-256"):
        wire.encode(wire.Hello(HEADER, b"short", 1, 1, 1, 1, 1))
    with pytest.raises(ValueError, match="256"):
        wire.encode(wire.Refused(HEADER, Refusal.BUSY, "é" * 129))
    with pytest.raises(ValueError, match="64-bit"):
        wire.encode(wire.Bye(Header(-1, 0, 0), 0))
    with pytest.raises(ValueError, match="width"):
        wire.encode(wire.Bye(HEADER, 65536))


def test_a_reason_that_is_not_utf8_is_dropped() -> None:
    data = wire.encode(wire.Refused(HEADER, Refusal.BUSY, "ab"))
    with pytest.raises(BadDatagram) as refused:
        wire.decode(resealed(data[:36] + b"\xff\xfe" + data[38:]))
    assert refused.value.cause is Cause.FIELD


def test_the_layout_digest_is_the_one_in_the_specification() -> None:
    layout = Layout(
        state=(Channel("position.hip", "rad"), Channel("velocity.hip", "rad/s")),
        command=(Channel("torque.hip", "N m"),),
    )
    page = Path(__file__).parents[2].joinpath("docs", "robot-port.md").read_text()
    assert f"`{layout.sha256().hex()}`" in page
