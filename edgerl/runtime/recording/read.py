"""Reads a recording. The file is foreign data: every length is bounded by the file, every checksum is compared.

It reads what :mod:`edgerl.runtime.recording.write` writes and nothing else: an MCAP file of another program, or one
that another program rewrote, is refused. A file that ends early is read up to its last whole tick; only the ticks of a
chunk that was cut off have no checksum.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.lib.recfunctions import repack_fields

from edgerl import canonical
from edgerl.errors import DamagedRecording, SchemaTooNew, SpecError
from edgerl.runtime.enums import MAX_COMMANDS, MAX_STATES
from edgerl.runtime.recording import SCHEMA, Header, Recording, Records, container
from edgerl.runtime.recording.container import CHUNK_ENTRY, CHUNK_HEAD, DATA_END, HEAD, MAGIC, Op
from edgerl.runtime.recording.form import ENUMS, Bytes, Form
from edgerl.runtime.recording.write import CHUNK_BYTES, CRC, METADATA, Preamble, crc_of, ending_of, preamble_of

MAX_HEADER_BYTES = 1024 * 1024
"""Names of all channels take under 64 KiB."""
MAX_ARRAYS = 16
_LIBRARY_BYTES = 1024
_GROUP_BYTES = 8 * 1024 * 1024
"""So much is decoded at once: enough for numpy's speed, and little beside the records."""


def read_recording(path: Path, arrays: Collection[str] | None = None) -> Recording:
    """Read a recording; one that was cut off up to its last whole tick.

    Args:
        path: The file.
        arrays: Names of the arrays that are wanted, such as ``"command"``; None: all. A long recording takes less
            memory without the others.

    Raises:
        DamagedRecording: It is no recording of edgerl, or a byte of it has changed.
        SchemaTooNew: Written by a newer edgerl.
    """
    try:
        with path.open("rb") as file:
            return _read(_Source(path, file), arrays)
    except OSError as error:
        raise DamagedRecording(path, f"it cannot be read ({error})") from error


class _Source:
    """A file that is read once from its beginning."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self._file = file
        self.size = os.fstat(file.fileno()).st_size
        self.at = 0
        self.crc = 0
        """Of everything before ``at``."""

    def take(self, size: int) -> bytes:
        """Return the next ``size`` bytes; fewer where the file ends."""
        data = self._file.read(max(0, min(size, self.size - self.at)))
        self.at += len(data)
        self.crc = zlib.crc32(data, self.crc)
        return data

    def record(self, op: Op, limit: int) -> bytes:
        """Return the content of the next record, which must be of this kind and not larger than ``limit``."""
        head = self.take(HEAD.size)
        found, size = HEAD.unpack(head) if len(head) == HEAD.size else (op, 0)
        if found != op or size > limit:
            raise self.damage("it is an MCAP file, but not one that edgerl wrote")
        content = self.take(size)
        if len(head) < HEAD.size or len(content) < size:
            raise self.damage("it is cut off within its header")
        return content

    def damage(self, what: str, whole: int | None = None) -> DamagedRecording:
        return DamagedRecording(self.path, what, whole)


@dataclass(frozen=True)
class _Chunk:
    blocks: Bytes
    """Of whole ticks, shape (ticks, block_bytes)."""
    times: tuple[int, int]
    at: int
    cut: bool


def _read(source: _Source, arrays: Collection[str] | None) -> Recording:
    header, begin = _read_header(source)
    form = Form.of(header)
    preamble = preamble_of(header, form)
    expected = bytes(preamble)
    found = source.take(len(expected) - len(preamble.metadata))
    if found != expected[len(preamble.metadata) :]:
        cut = expected[len(preamble.metadata) :].startswith(found)
        raise source.damage("it is cut off within its header" if cut else "a byte of its topics has changed")
    names = [name for name in form.dtype.names or () if _wanted(name, header, arrays)]
    dtype = form.dtype if len(names) == len(form.dtype.names or ()) else repack_fields(form.dtype[names])
    rows = np.empty(source.size // form.block_bytes, dtype)
    chunks, complete = _read_chunks(source, form, rows)
    rows = rows[: sum(chunk[3] for chunk in chunks)]
    if complete:
        _check_ending(source, preamble, form, begin=begin, chunks=chunks)
    if len(rows) and not np.all(np.diff(rows["tick"].astype(np.int64)) > 0):
        raise source.damage("its ticks do not advance")
    if any(len(rows) and int(rows[name].max()) >= len(enum) for name, enum in ENUMS.items()):
        raise source.damage("its ticks have modes, sources or events that this version does not know")
    return Recording(header, rows, complete)


def _wanted(name: str, header: Header, arrays: Collection[str] | None) -> bool:
    return arrays is None or name in arrays or all(name != array.name for array in header.arrays)


def _read_header(source: _Source) -> tuple[Header, int]:
    """Return the header, and where its record begins."""
    magic = source.take(len(MAGIC))
    if magic != MAGIC:
        raise source.damage(f"it begins with {magic!r}, not with {MAGIC!r}")
    source.record(Op.HEADER, _LIBRARY_BYTES)
    begin = source.at
    entries = _entries(source, source.record(Op.METADATA, MAX_HEADER_BYTES))
    if entries.get(CRC) != str(crc_of(entries)):
        raise source.damage("a byte of its header has changed")
    schema = entries.get("schema", "")[:9]
    if schema.isdecimal() and int(schema) > SCHEMA:
        raise SchemaTooNew(str(source.path), int(schema), SCHEMA)
    text = ",".join(f"{json.dumps(name)}:{value}" for name, value in entries.items() if name != CRC)
    try:
        header = canonical.loads(Header, f"{{{text}}}", str(source.path))
    except SpecError as error:
        raise source.damage(f"its header is not valid ({error})") from error
    names = [array.name for array in header.arrays]
    good = len(set(names)) == len(names) <= MAX_ARRAYS and all(name.isascii() and name.isalpha() for name in names)
    good &= all(len(array.channels) <= max(MAX_STATES, MAX_COMMANDS) for array in header.arrays)
    if header.schema != SCHEMA or not good:
        raise source.damage("its header describes no records of edgerl")
    return header, begin


def _entries(source: _Source, content: bytes) -> dict[str, str]:
    """Return the entries of a metadata record, which must be edgerl's."""
    name = container.text(METADATA)
    if not content.startswith(name):
        raise source.damage("it is an MCAP file, but not one that edgerl wrote")
    at, texts = len(name) + 4, []
    try:
        while at < len(content):
            (size,) = struct.unpack_from("<I", content, at)
            texts.append(content[at + 4 : at + 4 + size].decode())
            at += 4 + size
    except (struct.error, UnicodeDecodeError) as error:
        raise source.damage("a byte of its header has changed") from error
    return dict(zip(texts[::2], texts[1::2], strict=False))


def _read_chunks(source: _Source, form: Form, rows: Records) -> tuple[list[tuple[int, int, int, int]], bool]:
    """Fill ``rows``; return the chunks as ``CHUNK_ENTRY`` has them, and whether the end of the data was reached."""
    chunks: list[tuple[int, int, int, int]] = []
    count, waiting = 0, 0
    group: list[Bytes] = []
    while True:
        chunk = _read_chunk(source, form)
        if isinstance(chunk, _Chunk) and len(chunk.blocks):
            chunks.append((*chunk.times, chunk.at, len(chunk.blocks)))
            group.append(chunk.blocks)
            waiting += chunk.blocks.nbytes
        over = not isinstance(chunk, _Chunk) or chunk.cut
        if group and (over or waiting >= _GROUP_BYTES):
            blocks = np.concatenate(group)
            if form.framed(blocks) < len(blocks):
                raise source.damage("a chunk of it does not hold the messages of ticks")
            form.rows(blocks, rows[count : count + len(blocks)])
            count, waiting, group = count + len(blocks), 0, []
        if over:
            return chunks, chunk is True


def _read_chunk(source: _Source, form: Form) -> _Chunk | bool:
    """Return the next chunk; True at the end of the data, False where the file ends before."""
    at, crc = source.at, source.crc
    head = source.take(HEAD.size)
    if len(head) < HEAD.size:
        return False
    op, length = HEAD.unpack(head)
    if op == Op.DATA_END and length == DATA_END.size:
        end = source.take(DATA_END.size)
        if len(end) == DATA_END.size and end != DATA_END.pack(crc):
            raise source.damage("a byte of it has changed")
        return len(end) == DATA_END.size
    told = source.take(CHUNK_HEAD.size) if op == Op.CHUNK else bytes(CHUNK_HEAD.size)
    if len(told) < CHUNK_HEAD.size:
        return False
    first, last, size, content_crc, compression, again = CHUNK_HEAD.unpack(told)
    ticks, odd = divmod(size, form.block_bytes)
    most = max(CHUNK_BYTES, form.block_bytes)
    if (length, again, odd, compression) != (CHUNK_HEAD.size + size, size, 0, 0) or not 0 < size <= most:
        raise source.damage(f"what stands at byte {at:,} is no chunk of ticks", at)
    content = source.take(size)
    if len(content) < size:
        ticks = len(content) // form.block_bytes
    elif zlib.crc32(content) != content_crc:
        raise source.damage(f"a byte of the {ticks:,} ticks at byte {at:,} has changed", at)
    blocks = np.frombuffer(content, np.uint8, ticks * form.block_bytes).reshape(ticks, form.block_bytes)
    if len(content) < size:
        return _Chunk(blocks[: form.framed(blocks)], (first, last), at, cut=True)
    indexes = len(form.topics) * container.message_index_bytes(ticks)
    return _Chunk(blocks, (first, last), at, cut=len(source.take(indexes)) < indexes)


def _check_ending(
    source: _Source, preamble: Preamble, form: Form, *, begin: int, chunks: list[tuple[int, int, int, int]]
) -> None:
    """Compare the index with what it must be; it may be cut off, since nothing but other programs need it."""
    expected = ending_of(preamble, form, begin=begin, at=source.at, chunks=np.array(chunks, CHUNK_ENTRY))
    if not expected.startswith(source.take(len(expected) + 1)):
        raise source.damage("a byte of its index has changed")
