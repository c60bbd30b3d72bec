"""The handshake of the frame port: three packets over a Unix socket, byte by byte as ``docs/frame-port.md`` says.

HELLO (controller to camera) names a frame and brings the descriptor of its mailbox; WELCOME or REFUSED answers it.
Little-endian, no padding, no optional fields. Nothing here sends or receives.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TypeAlias

from edgerl.errors import FrameError
from edgerl.runtime.enums import FRAME_MAGIC, FRAME_VERSION, Dtype
from edgerl.runtime.layout import FrameChannel

MAX_RANK = 8
MAX_NAME_BYTES = 128
MAX_REASON_BYTES = 256
MAX_PACKET = 512
_HELLO_KIND, _WELCOME_KIND, _REFUSED_KIND = 1, 2, 3
_HEAD = struct.Struct("<IHHQ")
_HELLO = struct.Struct(f"<QII{MAX_RANK}I{MAX_NAME_BYTES}s")
_REFUSED = struct.Struct("<I")
_DTYPES = {"float32": Dtype.FLOAT32, "int32": Dtype.INT32, "uint8": Dtype.UINT8}


class BadPacket(Exception):
    """Not a packet of this version."""


@dataclass(frozen=True)
class FrameHello:
    """A controller wants this frame, and has a mailbox for it."""

    epoch: int
    """Of the writer that this makes of the other side, from 1; a later one ends it."""
    channel: FrameChannel


@dataclass(frozen=True)
class FrameWelcome:
    """The frames of this epoch will come."""

    epoch: int


@dataclass(frozen=True)
class FrameRefused:
    """They will not."""

    epoch: int
    reason: str
    """For people."""


Packet: TypeAlias = FrameHello | FrameWelcome | FrameRefused


def encode(packet: Packet) -> bytes:
    """Return the bytes of a packet.

    Raises:
        FrameError: The frame's name or shape does not fit one.
    """
    if isinstance(packet, FrameHello):
        return _head(_HELLO_KIND, packet.epoch) + _hello_body(packet.channel)
    if isinstance(packet, FrameWelcome):
        return _head(_WELCOME_KIND, packet.epoch)
    text = packet.reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore").encode()
    return _head(_REFUSED_KIND, packet.epoch) + _REFUSED.pack(len(text)) + text


def decode(data: bytes) -> Packet:
    """Return the packet in ``data``.

    Raises:
        BadPacket: There is none of this version.
    """
    if len(data) < _HEAD.size:
        raise BadPacket(f"{len(data)} bytes")
    magic, version, kind, epoch = _HEAD.unpack_from(data)
    if (magic, version) != (FRAME_MAGIC, FRAME_VERSION):
        raise BadPacket(f"magic {magic:#x}, version {version}; expected {FRAME_MAGIC:#x}, {FRAME_VERSION}")
    body = data[_HEAD.size :]
    if kind == _HELLO_KIND and len(body) == _HELLO.size:
        return FrameHello(epoch, _read_channel(body))
    if kind == _WELCOME_KIND and not body:
        return FrameWelcome(epoch)
    if kind == _REFUSED_KIND and len(body) >= _REFUSED.size:
        return FrameRefused(epoch, _read_reason(body))
    raise BadPacket(f"kind {kind} with {len(body)} bytes")


def _head(kind: int, epoch: int) -> bytes:
    return _HEAD.pack(FRAME_MAGIC, FRAME_VERSION, kind, epoch)


def _hello_body(channel: FrameChannel) -> bytes:
    name, rank = channel.name.encode(), len(channel.shape)
    if len(name) > MAX_NAME_BYTES or not 0 < rank <= MAX_RANK:
        raise FrameError(
            f"{channel.name} of shape {channel.shape} cannot be asked for: a frame's name has at most "
            f"{MAX_NAME_BYTES} bytes and its shape at most {MAX_RANK} axes. Train the policy with other observations."
        )
    shape = (*channel.shape, *(0,) * (MAX_RANK - rank))
    return _HELLO.pack(channel.nbytes, _DTYPES[channel.dtype], rank, *shape, name)


def _read_channel(body: bytes) -> FrameChannel:
    nbytes, dtype, rank, *rest = _HELLO.unpack(body)
    name = rest.pop().rstrip(b"\0")
    names = {number: known for known, number in _DTYPES.items()}
    if dtype not in names or not 0 < rank <= MAX_RANK or 0 in rest[:rank] or any(rest[rank:]):
        raise BadPacket(f"dtype {dtype}, shape {rest[:MAX_RANK]} of rank {rank}")
    try:
        channel = FrameChannel(name.decode(), tuple(rest[:rank]), names[dtype])  # type: ignore[arg-type]
    except UnicodeDecodeError as error:
        raise BadPacket(f"a name that is no text ({error})") from error
    if channel.nbytes != nbytes:
        raise BadPacket(f"{nbytes} bytes for {channel}")
    return channel


def _read_reason(body: bytes) -> str:
    (length,) = _REFUSED.unpack_from(body)
    text = body[_REFUSED.size :]
    if len(text) != length or length > MAX_REASON_BYTES:
        raise BadPacket(f"a reason of {length} bytes in {len(text)}")
    return "".join(letter if letter.isprintable() else "?" for letter in text.decode(errors="replace"))
