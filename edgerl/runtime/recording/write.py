"""Writes a recording: an MCAP file that is readable at every moment up to the last chunk, and indexed at its end.

A chunk goes to the kernel in one write. What does not fit on the disk is taken back, so that the file ends with a whole
chunk whatever happens. When chunks are made and flushed is the recorder's business.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from edgerl import canonical
from edgerl.errors import OutputError
from edgerl.runtime.recording import Header, Records, container
from edgerl.runtime.recording.container import CHUNK_ENTRY, INDEX_ENTRY, Op
from edgerl.runtime.recording.form import Form

METADATA = "edgerl.recording"
"""Name of the metadata record that is the header: each field's canonical JSON, and the CRC-32 of all of them."""
CRC = "crc"
CHUNK_BYTES = 1024 * 1024
"""A chunk is not larger, so that a reader needs little memory and seeks quickly."""


@dataclass(frozen=True)
class Preamble:
    """What stands before the first chunk, except for the magic and the library's name."""

    metadata: bytes
    schemas: bytes
    channels: bytes

    def __bytes__(self) -> bytes:
        return self.metadata + self.schemas + self.channels


def preamble_of(header: Header, form: Form) -> Preamble:
    """Return the records that a file with this header begins with."""
    entries = {name: canonical.dumps(value) for name, value in canonical.to_plain(header).items()}
    entries[CRC] = str(crc_of(entries))
    topics = list(enumerate(form.topics, 1))
    return Preamble(
        container.metadata(METADATA, entries),
        b"".join(container.schema(number, topic.message, topic.schema) for number, topic in topics),
        b"".join(container.channel(number, topic.name, topic.notes) for number, topic in topics),
    )


def ending_of(preamble: Preamble, form: Form, *, begin: int, at: int, chunks: container.Chunks) -> bytes:
    """Return what follows the end of the data.

    Args:
        preamble: Of the file.
        form: Of the file.
        begin: Offset of the preamble.
        at: Offset of what is returned.
        chunks: All of the file.
    """
    count = len(form.topics)
    groups = {
        Op.SCHEMA: preamble.schemas,
        Op.CHANNEL: preamble.channels,
        Op.STATISTICS: container.statistics(chunks, count),
        Op.CHUNK_INDEX: container.chunk_indexes(chunks, form.block_bytes, count),
        Op.METADATA_INDEX: container.metadata_index(begin, len(preamble.metadata), METADATA),
    }
    return container.ending(at, groups)


def crc_of(entries: Mapping[str, str]) -> int:
    """Return the CRC-32 of a header's entries, in the order of their names, without their own."""
    entries = {name: value for name, value in entries.items() if name != CRC}
    return zlib.crc32(json.dumps(entries, sort_keys=True, ensure_ascii=False).encode())


class RecordingWriter:
    """Appends ticks to a new file.

    Args:
        path: Must not exist.
        header: What the file says of itself.

    Raises:
        OutputError: The file exists or cannot be written.
    """

    def __init__(self, path: Path, header: Header) -> None:
        self.path = path
        self.form = Form.of(header)
        self.count = 0
        """Ticks in the file."""
        self.bytes = 0
        """Size of the file."""
        self._chunks = bytearray()
        self._crc = 0
        self._preamble = preamble_of(header, self.form)
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except FileExistsError as error:
            raise OutputError(f"{path} exists already; a recording is never overwritten. Give another path.") from error
        except OSError as error:
            raise OutputError(
                f"{path} cannot be written ({error.strerror}). Give a path in a writeable folder."
            ) from error
        try:
            self._write(container.MAGIC + container.header(f"edgerl {_version()}"))
            self._begin = self.bytes
            self._write(bytes(self._preamble))
        except OutputError:
            os.close(self._fd)
            path.unlink(missing_ok=True)
            raise

    def append(self, rows: Records) -> None:
        """Write ticks, in as many chunks as they need.

        Raises:
            OutputError: The disk is full or gone; the file ends with the chunk before.
        """
        most = max(1, CHUNK_BYTES // self.form.block_bytes)
        for first in range(0, len(rows), most):
            self._append_chunk(rows[first : first + most])

    def sync(self) -> None:
        """Bring what was written to the disk, so that it survives a power cut. Takes as long as the disk takes.

        Raises:
            OutputError: The disk is gone.
        """
        try:
            os.fsync(self._fd)
        except OSError as error:
            raise self._trouble(error) from error

    def close(self) -> None:
        """Write the index and bring everything to the disk. Harmless when called again.

        Raises:
            OutputError: The disk is full or gone; the file is readable up to its last chunk.
        """
        if self._fd < 0:
            return
        try:
            self._write(container.data_end(self._crc))
            chunks = np.frombuffer(self._chunks, CHUNK_ENTRY)
            self._write(ending_of(self._preamble, self.form, begin=self._begin, at=self.bytes, chunks=chunks))
            self.sync()
        finally:
            fd, self._fd = self._fd, -1
            with suppress(OSError):  # what closing could report, sync has
                os.close(fd)

    def __enter__(self) -> RecordingWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _append_chunk(self, rows: Records) -> None:
        times = self.form.log_times(rows)
        blocks = self.form.blocks(rows)
        content = blocks.tobytes()
        ends = int(times[0]), int(times[-1])
        entry = np.array([(*ends, self.bytes, len(rows))], CHUNK_ENTRY)
        self._write(container.chunk_head(ends, len(content), zlib.crc32(content)) + content + self._indexes(times))
        self._chunks += entry.tobytes()
        self.count += len(rows)

    def _indexes(self, times: Any) -> bytes:  # noqa: ANN401  an array of uint64
        entries = np.empty(len(times), INDEX_ENTRY)
        entries["time"] = times
        rows = np.arange(len(times), dtype=np.uint64) * np.uint64(self.form.block_bytes)
        out = b""
        for number, topic in enumerate(self.form.topics, 1):
            entries["offset"] = rows + np.uint64(topic.at)
            out += container.message_index(number, entries)
        return out

    def _write(self, data: bytes) -> None:
        """Write all of it or nothing."""
        view, written = memoryview(data), 0
        try:
            while written < len(view):
                written += os.write(self._fd, view[written:])
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._fd, self.bytes)
                os.lseek(self._fd, self.bytes, os.SEEK_SET)
            raise self._trouble(error) from error
        self._crc = zlib.crc32(data, self._crc)
        self.bytes += len(data)

    def _trouble(self, error: OSError) -> OutputError:
        return OutputError(
            f"{self.path} cannot be written ({error.strerror}); what was recorded so far is kept. Make room there."
        )


def _version() -> str:
    try:
        return version("edgerl")
    except PackageNotFoundError:
        return "of a checkout"
