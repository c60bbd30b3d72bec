"""The records of an MCAP file as bytes. Knows the container only, not what edgerl keeps in it.

Little-endian; a record is an opcode, a 64-bit length and its content. Strings and maps have 32-bit lengths before them.

Reference: https://mcap.dev/spec.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

MAGIC = b"\x89MCAP0\r\n"
"""Of the format's major version 0, at the beginning and at the end."""


class Op(IntEnum):
    """Opcodes."""

    HEADER = 0x01
    FOOTER = 0x02
    SCHEMA = 0x03
    CHANNEL = 0x04
    MESSAGE = 0x05
    CHUNK = 0x06
    MESSAGE_INDEX = 0x07
    CHUNK_INDEX = 0x08
    STATISTICS = 0x0B
    METADATA = 0x0C
    METADATA_INDEX = 0x0D
    SUMMARY_OFFSET = 0x0E
    DATA_END = 0x0F


HEAD = struct.Struct("<BQ")
"""Opcode and length of a record."""
MESSAGE_HEAD = struct.Struct("<HIQQ")
"""Channel, sequence, log time, publish time; the message's data follow to the record's end."""
CHUNK_HEAD = struct.Struct("<QQQIIQ")
"""Earliest and latest log time, size, CRC-32, length of the compression's name (0: none), size of the records."""
INDEX_HEAD = struct.Struct("<HI")
"""Channel and bytes of the entries."""
FOOTER = struct.Struct("<QQI")
DATA_END = struct.Struct("<I")
INDEX_ENTRY = np.dtype([("time", "<u8"), ("offset", "<u8")])
CHUNK_ENTRY = np.dtype([("start", "<u8"), ("end", "<u8"), ("offset", "<u8"), ("rows", "<u8")])
"""What a writer remembers of a chunk: its log times, its offset in the file, messages in each channel."""

Chunks = npt.NDArray[Any]
"""Of the dtype ``CHUNK_ENTRY``."""


def record(op: Op, content: bytes) -> bytes:
    """Return one record."""
    return HEAD.pack(op, len(content)) + content


def header(library: str) -> bytes:
    """Return the first record; no profile, since edgerl follows none."""
    return record(Op.HEADER, text("") + text(library))


def schema(number: int, name: str, data: bytes) -> bytes:
    """Return a protobuf schema's record."""
    content = struct.pack("<H", number) + text(name) + text("protobuf") + struct.pack("<I", len(data)) + data
    return record(Op.SCHEMA, content)


def channel(number: int, topic: str, notes: Mapping[str, str]) -> bytes:
    """Return a channel's record; its schema has its own number, its messages are protobuf."""
    content = struct.pack("<HH", number, number) + text(topic) + text("protobuf") + _map(notes)
    return record(Op.CHANNEL, content)


def metadata(name: str, entries: Mapping[str, str]) -> bytes:
    """Return a metadata record."""
    return record(Op.METADATA, text(name) + _map(entries))


def chunk_head(times: tuple[int, int], size: int, crc: int) -> bytes:
    """Return what stands before the records of a chunk, uncompressed.

    Args:
        times: Earliest and latest log time.
        size: Of the records in it, in bytes.
        crc: Their CRC-32.
    """
    return HEAD.pack(Op.CHUNK, CHUNK_HEAD.size + size) + CHUNK_HEAD.pack(*times, size, crc, 0, size)


def message_index(number: int, entries: npt.NDArray[Any]) -> bytes:
    """Return where one channel's messages stand in the chunk before; ``entries`` have the dtype ``INDEX_ENTRY``."""
    size = entries.nbytes
    return HEAD.pack(Op.MESSAGE_INDEX, INDEX_HEAD.size + size) + INDEX_HEAD.pack(number, size) + entries.tobytes()


def message_index_bytes(count: int) -> int:
    """Return the size of the index of ``count`` messages."""
    return HEAD.size + INDEX_HEAD.size + count * INDEX_ENTRY.itemsize


def chunk_indexes(chunks: Chunks, block: int, channels: int) -> bytes:
    """Return one record for each chunk that says where it and its message indexes stand.

    Args:
        chunks: Each with the same channels 1, 2, …, and as many messages in each.
        block: Size of one message of every channel together.
        channels: How many there are.
    """
    offset = np.dtype([("channel", "<u2"), ("offset", "<u8")])
    names = ("start", "end", "chunk", "length", "map", "offsets", "indexes", "compression", "compressed", "size")
    kinds = ("<u8", "<u8", "<u8", "<u8", "<u4", (offset, (channels,)), "<u8", "<u4", "<u8", "<u8")
    form = np.dtype([("op", "u1"), ("content", "<u8"), *zip(names, kinds, strict=True)])
    size = chunks["rows"] * np.uint64(block)
    index = chunks["rows"] * np.uint64(INDEX_ENTRY.itemsize) + np.uint64(message_index_bytes(0))
    out = np.zeros(len(chunks), form)
    out["op"], out["content"] = Op.CHUNK_INDEX, form.itemsize - HEAD.size
    out["start"], out["end"], out["chunk"] = chunks["start"], chunks["end"], chunks["offset"]
    out["length"] = size + np.uint64(HEAD.size + CHUNK_HEAD.size)
    out["map"] = channels * offset.itemsize
    for place in range(channels):
        out["offsets"]["channel"][:, place] = place + 1
        out["offsets"]["offset"][:, place] = out["chunk"] + out["length"] + np.uint64(place) * index
    out["indexes"] = index * np.uint64(channels)
    out["compressed"] = out["size"] = size
    return out.tobytes()


def statistics(chunks: Chunks, channels: int) -> bytes:
    """Return how much there is, in a file with one schema for each channel and one metadata record."""
    rows = int(chunks["rows"].sum())
    counts = b"".join(struct.pack("<HQ", place + 1, rows) for place in range(channels))
    times = (int(chunks["start"][0]), int(chunks["end"][-1])) if len(chunks) else (0, 0)
    fixed = struct.pack("<QHIIIIQQI", rows * channels, channels, channels, 0, 1, len(chunks), *times, len(counts))
    return record(Op.STATISTICS, fixed + counts)


def metadata_index(offset: int, length: int, name: str) -> bytes:
    """Return where a metadata record stands."""
    return record(Op.METADATA_INDEX, struct.pack("<QQ", offset, length) + text(name))


def ending(at: int, groups: Mapping[Op, bytes]) -> bytes:
    """Return everything after the data: the groups of the summary, where each stands, the footer and the magic.

    Args:
        at: Offset of the first group.
        groups: Records by their opcode.
    """
    summary, offsets = b"", b""
    for op, content in groups.items():
        if content:
            offsets += record(Op.SUMMARY_OFFSET, struct.pack("<BQQ", op, at + len(summary), len(content)))
            summary += content
    footer = HEAD.pack(Op.FOOTER, FOOTER.size) + struct.pack("<QQ", at, at + len(summary))
    whole = summary + offsets + footer
    return whole + struct.pack("<I", zlib.crc32(whole)) + MAGIC


def data_end(crc: int) -> bytes:
    """Return the end of the data; ``crc`` is of all bytes before it."""
    return record(Op.DATA_END, DATA_END.pack(crc))


def text(value: str) -> bytes:
    """Return a string."""
    data = value.encode()
    return struct.pack("<I", len(data)) + data


def _map(entries: Mapping[str, str]) -> bytes:
    content = b"".join(text(key) + text(value) for key, value in entries.items())
    return struct.pack("<I", len(content)) + content
