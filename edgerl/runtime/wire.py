"""The datagrams between controller and robot, as ``docs/robot-port.md`` specifies them byte by byte.

Little-endian, no padding, one datagram within an MTU; at its end a CRC-32 or, with a key, a tag. A datagram is data
from a stranger: every length, number and reserved field is checked before a value is used, and what does not fit raises
:class:`BadDatagram` with its cause, so that the receiver can drop and count it. Each message has exactly one encoding,
and one for each key.

Nothing here opens a socket or reads a clock. The guardian has the same format in C; the shared tests compare the two.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum, IntEnum, IntFlag
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

MAGIC = b"ERLP"
VERSION = 1
VERSION_AUTHENTICATED = 0x0101
"""The same version, of a datagram that ends in a tag."""
KEY_BYTES, TAG_BYTES, NONCE_BYTES = 32, 16, 16
MAX_DATAGRAM = 1472
"""Ethernet's 1500 bytes less 20 of IPv4 and 8 of UDP: never fragmented."""
MAX_REASON_BYTES = 256

_HEADER = struct.Struct("<4sHHQQQ")
_CRC = struct.Struct("<I")
_HELLO = struct.Struct("<32sQQQHHI")
_WELCOME = struct.Struct("<32sQQII")
_REFUSED = struct.Struct("<HH")
_STATE = struct.Struct("<IHH")
_COMMAND = struct.Struct("<QQQBBHHH")
_BYE = struct.Struct("<HH")
_FLOAT = np.dtype("<f4")

MAX_STATE_CHANNELS = (MAX_DATAGRAM - _HEADER.size - _STATE.size - _CRC.size) // _FLOAT.itemsize
"""357; three less in an authenticated session."""
MAX_COMMAND_CHANNELS = (MAX_DATAGRAM - _HEADER.size - _COMMAND.size - _CRC.size) // _FLOAT.itemsize
"""351."""

Floats: TypeAlias = npt.NDArray[np.float32]


class Kind(IntEnum):
    """What a datagram is."""

    HELLO = 1
    WELCOME = 2
    REFUSED = 3
    STATE = 4
    COMMAND = 5
    BYE = 6


class Refusal(IntEnum):
    """Why a robot refuses a session."""

    LAYOUT_MISMATCH = 1
    BUSY = 2
    PERIOD_MISMATCH = 3
    VERSION = 4
    KEY = 5


class StateFlag(IntFlag):
    """Flags of a STATE."""

    EPISODE_START = 1
    LOCKSTEP = 2
    ESTOP = 4
    WAITING = 8
    DONE = 16


class WelcomeFlag(IntFlag):
    """Flags of a WELCOME."""

    LOCKSTEP_POSSIBLE = 1


class Cause(Enum):
    """Why a datagram is dropped; robot and controller count by these."""

    LENGTH = "length"
    MAGIC = "magic"
    VERSION = "version"
    KIND = "kind"
    CHECKSUM = "checksum"
    FIELD = "field"
    SESSION = "session"
    SEQUENCE = "sequence"
    SENDER = "sender"


class BadDatagram(Exception):
    """A datagram is not one of ours; it is dropped and counted, never shown to a user."""

    def __init__(self, cause: Cause, detail: str) -> None:
        self.cause = cause
        super().__init__(f"{cause.value}: {detail}")


@dataclass(frozen=True)
class Header:
    """Opens every datagram."""

    session: int
    """Random, not 0, chosen by the controller; 64 bits."""
    sequence: int
    """The sender's own count of this kind of datagram; 64 bits."""
    stamp_ns: int
    """The sender's own monotonic clock; [ns]."""


@dataclass(frozen=True)
class Hello:
    """Controller to robot: asks for the session."""

    header: Header
    layout_sha256: bytes
    """Digest of the channel layout, 32 bytes."""
    period_ns: int
    budget_ns: int
    """The command is sent at most this long after the controller's tick began."""
    valid_for_ns: int
    """How long each command will be valid."""
    state_count: int
    command_count: int
    nonce: bytes = b""
    """The controller's fresh random number, 16 bytes; empty in a session without a key."""


@dataclass(frozen=True)
class Welcome:
    """Robot to controller: the session is yours."""

    header: Header
    layout_sha256: bytes
    period_ns: int
    command_timeout_ns: int
    """The robot's own watchdog; 0 where it declares none."""
    flags: WelcomeFlag
    nonce: bytes = b""
    """The robot's fresh random number, 16 bytes; empty in a session without a key."""


@dataclass(frozen=True)
class Refused:
    """Robot to controller: no session."""

    header: Header
    code: Refusal
    reason: str
    """For people; at most 256 bytes of UTF-8."""


@dataclass(frozen=True, eq=False)
class State:
    """Robot to controller: what was measured."""

    header: Header
    flags: StateFlag
    values: Floats
    """Shape (state_count,), in layout order, in the layout's units. May hold NaN: judging that is the guardian's."""


@dataclass(frozen=True, eq=False)
class Command:
    """Controller to robot: what to do, and for how long at most."""

    header: Header
    state_sequence: int
    """Sequence of the STATE that this answers."""
    state_stamp_ns: int
    """The robot's stamp of that STATE; ``valid_for_ns`` counts from it, in the robot's clock."""
    valid_for_ns: int
    mode: int
    """The guardian's mode, see ``edgerl modes``."""
    source: int
    """Where the command comes from: policy, hold or safe."""
    values: Floats
    """Shape (command_count,), in layout order."""


@dataclass(frozen=True)
class Bye:
    """Either side: the session is over."""

    header: Header
    reason: int


Message: TypeAlias = Hello | Welcome | Refused | State | Command | Bye


def encode(message: Message, key: bytes | None = None) -> bytes:
    """Return the datagram of a message.

    Args:
        message: With a nonce exactly where it is HELLO or WELCOME and there is a key.
        key: 32 bytes, for a tag at the end; None: a CRC-32.

    Raises:
        ValueError: The message does not fit the format (our own mistake, such as too many channels).
    """
    kind, body = _body(message)
    header = message.header
    version = VERSION if key is None else VERSION_AUTHENTICATED
    if isinstance(message, (Hello, Welcome)):
        if len(message.nonce) != (0 if key is None else NONCE_BYTES):
            raise ValueError(f"a nonce of {len(message.nonce)} bytes {'without' if key is None else 'with'} a key")
        body += message.nonce
    try:
        head = _HEADER.pack(MAGIC, version, kind, header.session, header.sequence, header.stamp_ns)
    except struct.error as error:
        raise ValueError(f"{header} does not fit 64-bit fields") from error
    data = head + body
    data += _end_of(data, key)
    if len(data) > MAX_DATAGRAM:
        raise ValueError(f"{len(data)} bytes do not fit one datagram of {MAX_DATAGRAM}")
    return data


def decode(data: bytes, key: bytes | None = None) -> Message:
    """Return the message of a datagram; its float arrays are read-only views of ``data``.

    Args:
        data: As it arrived.
        key: The one whose tag it must carry; None: it must carry a CRC-32.

    Raises:
        BadDatagram: It is not exactly one datagram of this version and form.
    """
    size = len(data)
    end = _CRC.size if key is None else TAG_BYTES
    if not _HEADER.size + end <= size <= MAX_DATAGRAM:
        raise BadDatagram(Cause.LENGTH, f"{size} bytes")
    magic, version, kind, session, sequence, stamp_ns = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise BadDatagram(Cause.MAGIC, repr(magic))
    if version != (VERSION if key is None else VERSION_AUTHENTICATED):
        raise BadDatagram(Cause.VERSION, str(version))
    if kind not in _DECODERS:
        raise BadDatagram(Cause.KIND, str(kind))
    content = data[: size - end]
    if not hmac.compare_digest(_end_of(content, key), data[size - end :]):
        raise BadDatagram(Cause.CHECKSUM, "the CRC-32 or the tag does not fit the bytes")
    if session == 0:
        raise BadDatagram(Cause.SESSION, "0 is nobody's session")
    nonce = b""
    if key is not None and kind in (Kind.HELLO, Kind.WELCOME):
        if len(content) < _HEADER.size + NONCE_BYTES:
            raise BadDatagram(Cause.LENGTH, f"{size} bytes")
        content, nonce = content[:-NONCE_BYTES], content[-NONCE_BYTES:]
    message = _DECODERS[kind](Header(session, sequence, stamp_ns), content)
    return replace(message, nonce=nonce) if isinstance(message, (Hello, Welcome)) else message


def _end_of(content: bytes, key: bytes | None) -> bytes:
    if key is None:
        return _CRC.pack(zlib.crc32(content))
    return hashlib.blake2s(content, digest_size=TAG_BYTES, key=key).digest()


def _body(message: Message) -> tuple[Kind, bytes]:
    try:
        return _ENCODERS[type(message)](message)
    except struct.error as error:
        raise ValueError(f"{type(message).__name__}: a field does not fit its width ({error})") from error


def _encode_hello(message: Hello) -> tuple[Kind, bytes]:
    m = message
    counts = (m.state_count, m.command_count, 0)
    return Kind.HELLO, _HELLO.pack(_sha(m.layout_sha256), m.period_ns, m.budget_ns, m.valid_for_ns, *counts)


def _encode_welcome(message: Welcome) -> tuple[Kind, bytes]:
    m = message
    return Kind.WELCOME, _WELCOME.pack(_sha(m.layout_sha256), m.period_ns, m.command_timeout_ns, m.flags, 0)


def _encode_refused(message: Refused) -> tuple[Kind, bytes]:
    text = message.reason.encode()
    if len(text) > MAX_REASON_BYTES:
        raise ValueError(f"a reason of {len(text)} bytes, the limit is {MAX_REASON_BYTES}")
    return Kind.REFUSED, _REFUSED.pack(message.code, len(text)) + text


def _encode_state(message: State) -> tuple[Kind, bytes]:
    return Kind.STATE, _STATE.pack(message.flags, message.values.size, 0) + _floats(message.values)


def _encode_command(message: Command) -> tuple[Kind, bytes]:
    m = message
    fixed = _COMMAND.pack(
        m.state_sequence, m.state_stamp_ns, m.valid_for_ns, m.mode, m.source, 0, m.values.size, 0
    )  # the zero before the count is the reserved flags field
    return Kind.COMMAND, fixed + _floats(m.values)


def _encode_bye(message: Bye) -> tuple[Kind, bytes]:
    return Kind.BYE, _BYE.pack(message.reason, 0)


def _decode_hello(header: Header, data: bytes) -> Hello:
    _exact(data, _HELLO.size)
    sha, period_ns, budget_ns, valid_for_ns, states, commands, zero = _HELLO.unpack_from(data, _HEADER.size)
    _zero(zero)
    return Hello(header, sha, period_ns, budget_ns, valid_for_ns, states, commands)


def _decode_welcome(header: Header, data: bytes) -> Welcome:
    _exact(data, _WELCOME.size)
    sha, period_ns, timeout_ns, flags, zero = _WELCOME.unpack_from(data, _HEADER.size)
    _zero(zero)
    return Welcome(header, sha, period_ns, timeout_ns, WelcomeFlag(_known_flags(flags, _ALL_WELCOME_FLAGS)))


def _decode_refused(header: Header, data: bytes) -> Refused:
    _at_least(data, _REFUSED.size)
    code, length = _REFUSED.unpack_from(data, _HEADER.size)
    _exact(data, _REFUSED.size + length)
    if length > MAX_REASON_BYTES:
        raise BadDatagram(Cause.LENGTH, f"a reason of {length} bytes")
    start = _HEADER.size + _REFUSED.size
    try:
        return Refused(header, Refusal(code), data[start : start + length].decode())
    except ValueError as error:  # an unknown code, or not UTF-8
        raise BadDatagram(Cause.FIELD, str(error)) from error


def _decode_state(header: Header, data: bytes) -> State:
    _at_least(data, _STATE.size)
    flags, count, zero = _STATE.unpack_from(data, _HEADER.size)
    _zero(zero)
    values = _read_floats(data, _STATE.size, count)
    return State(header, StateFlag(_known_flags(flags, _ALL_STATE_FLAGS)), values)


def _decode_command(header: Header, data: bytes) -> Command:
    _at_least(data, _COMMAND.size)
    sequence, stamp_ns, valid_for_ns, mode, source, flags, count, zero = _COMMAND.unpack_from(data, _HEADER.size)
    _zero(flags)
    _zero(zero)
    values = _read_floats(data, _COMMAND.size, count)
    return Command(header, sequence, stamp_ns, valid_for_ns, mode, source, values)


def _decode_bye(header: Header, data: bytes) -> Bye:
    _exact(data, _BYE.size)
    reason, zero = _BYE.unpack_from(data, _HEADER.size)
    _zero(zero)
    return Bye(header, reason)


def _sha(digest: bytes) -> bytes:
    if len(digest) != 32:  # struct would pad a shorter one silently
        raise ValueError(f"a digest of {len(digest)} bytes, SHA-256 has 32")
    return digest


def _floats(values: Floats) -> bytes:
    if values.ndim != 1 or values.dtype != np.float32:
        raise ValueError(f"expected a flat float32 array, got {values.dtype} of shape {values.shape}")
    return values.astype(_FLOAT, copy=False).tobytes()


def _read_floats(data: bytes, fixed: int, count: int) -> Floats:
    _exact(data, fixed + count * _FLOAT.itemsize)
    return np.frombuffer(data, _FLOAT, count, _HEADER.size + fixed)


def _at_least(data: bytes, body: int) -> None:
    """Header and body, without the end."""
    if len(data) < _HEADER.size + body:
        raise BadDatagram(Cause.LENGTH, f"{len(data)} bytes")


def _exact(data: bytes, body: int) -> None:
    if len(data) != _HEADER.size + body:
        raise BadDatagram(Cause.LENGTH, f"{len(data)} bytes, {_HEADER.size + body} expected")


def _zero(reserved: int) -> None:
    if reserved != 0:
        raise BadDatagram(Cause.FIELD, f"a reserved field holds {reserved}")


def _known_flags(flags: int, known: int) -> int:
    if flags & ~known:
        raise BadDatagram(Cause.FIELD, f"unknown flags 0x{flags & ~known:x}")
    return flags


_ALL_STATE_FLAGS = 0x1F
_ALL_WELCOME_FLAGS = 0x01
_ENCODERS: dict[type[Message], Callable[..., tuple[Kind, bytes]]] = {
    Hello: _encode_hello,
    Welcome: _encode_welcome,
    Refused: _encode_refused,
    State: _encode_state,
    Command: _encode_command,
    Bye: _encode_bye,
}
_DECODERS: dict[int, Callable[[Header, bytes], Message]] = {
    Kind.HELLO: _decode_hello,
    Kind.WELCOME: _decode_welcome,
    Kind.REFUSED: _decode_refused,
    Kind.STATE: _decode_state,
    Kind.COMMAND: _decode_command,
    Kind.BYE: _decode_bye,
}
