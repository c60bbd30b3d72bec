"""The recording of a run: every tick as the guardian wrote it, in a file that can be read up to where it was cut off.

Form, little-endian: ``ERLREC01`` · u32 length and canonical JSON of :class:`Header` · u32 CRC-32 of that JSON ·
records · end mark. A record is the ring's (``erl_tick_header``, then float32 state, action and command, padded to 8
bytes) and its u32 CRC-32. The end mark ``ERLREND1`` · u64 number of records · u32 CRC-32 of both says that nothing is
missing. A file that ends early is read up to its last whole record; one with a changed byte is refused.

It writes what it is given and computes nothing; :mod:`edgerl.runtime.result` does.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from edgerl import canonical
from edgerl.errors import DamagedRecording, OutputError, SchemaTooNew, SpecError
from edgerl.runtime.enums import MAX_COMMANDS, MAX_STATES
from edgerl.runtime.layout import Layout
from edgerl.runtime.structs import Config, TickHeader

MAGIC = b"ERLREC01"
END = b"ERLREND1"
SCHEMA = 1
MAX_HEADER_BYTES = 1024 * 1024
"""Names of all channels take under 64 KiB."""

_U32 = struct.Struct("<I")
_END = struct.Struct("<8sQ")

Records = npt.NDArray[Any]
"""Structured array, one row a tick: the fields of ``TickHeader``, then ``state``, ``action``, ``command``, ``crc``."""


@dataclass(frozen=True)
class Machine:
    """What ran the loop."""

    processor: str
    """Model, as the kernel names it; empty where it does not."""
    kernel: str
    architecture: str
    cpus: int
    python: str


@dataclass(frozen=True)
class Header:
    """What the records mean and where they come from."""

    schema: int
    bundle: str
    """SHA-256 of the bundle that was run."""
    spec: str
    """SHA-256 of the policy's canonical spec."""
    robot: str
    """As given to ``--robot``."""
    session: str
    """The robot port's session, 16 hexadecimal digits."""
    started_unix_ns: int
    machine: Machine
    guardian: Mapping[str, int]
    """The guardian's configuration, times in [ns]."""
    same_clock: bool
    """Whether the robot's stamps and the guardian's times are of one clock, so that latency can be computed."""
    layout: Layout
    record_bytes: int
    fields: tuple[str, ...]
    """Names of a record's fields, in order."""


def this_machine() -> Machine:
    """Return what is known of this machine."""
    system = platform.release(), platform.machine(), os.cpu_count() or 0
    return Machine(_processor(), *system, platform.python_version())


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return ""
    named = (line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model", "Hardware")))
    return next(named, "")[:256]


def record_bytes(state_count: int, command_count: int, action_count: int, operator_count: int) -> int:
    """Return the size of one ring record."""
    floats = state_count + command_count + 2 * action_count + operator_count
    return -(-(ctypes.sizeof(TickHeader) + 4 * floats) // 8) * 8


def record_size(config: Config) -> int:
    """Return the size of one ring record of a guardian with this configuration."""
    return record_bytes(config.state_count, config.command_count, config.action_count, config.operator_count)


def record_dtype(state_count: int, command_count: int, action_count: int, operator_count: int) -> np.dtype[Any]:
    """Return the structured dtype of one record in the file: the ring's and its ``crc``."""
    header = dict(np.dtype(TickHeader).fields or {})
    columns = [(name, column[0], int(column[1])) for name, column in header.items()]
    columns = [column for column in columns if column[0] != "reserved"]
    at = ctypes.sizeof(TickHeader)
    arrays = {
        "state": state_count,
        "action": action_count,
        "command": command_count,
        "shadow": action_count,
        "operator": operator_count,
    }
    for name, count in arrays.items():
        columns.append((name, np.dtype((np.float32, (count,))), at))
        at += 4 * count
    size = record_bytes(state_count, command_count, action_count, operator_count)
    columns.append(("crc", np.dtype(np.uint32), size))
    names, formats, offsets = (list(column) for column in zip(*columns, strict=True))
    form: Any = {"names": names, "formats": formats, "offsets": offsets, "itemsize": size + _U32.size}
    return cast("np.dtype[Any]", np.dtype(form))


class RecordingWriter:
    """Appends records to a new file.

    Raises:
        OutputError: The file exists or cannot be written.
    """

    def __init__(self, path: Path, header: Header) -> None:
        self.path = path
        self.count = 0
        text = canonical.dumps(header).encode()
        try:
            self._file = path.open("xb", buffering=256 * 1024)
            self._file.write(MAGIC + _U32.pack(len(text)) + text + _U32.pack(zlib.crc32(text)))
            self._file.flush()
        except FileExistsError as error:
            raise OutputError(f"{path} exists already; a recording is never overwritten. Give another path.") from error
        except OSError as error:
            raise OutputError(
                f"{path} cannot be written ({error.strerror}). Give a path in a writeable folder."
            ) from error

    def append(self, record: bytes | bytearray | memoryview) -> None:
        """Write one ring record.

        Raises:
            OutputError: The disk is full or gone.
        """
        try:
            self._file.write(record)
            self._file.write(_U32.pack(zlib.crc32(record)))
        except OSError as error:
            raise OutputError(
                f"{self.path} cannot be written ({error.strerror}); what was recorded so far is kept. Make room there."
            ) from error
        self.count += 1

    def flush(self) -> None:
        """Hand everything to the kernel: what was recorded survives the death of this process.

        Raises:
            OutputError: The disk is full or gone.
        """
        try:
            self._file.flush()
        except OSError as error:
            raise OutputError(f"{self.path} cannot be written ({error}); what was recorded so far is kept.") from error

    def close(self) -> None:
        """Write the end mark and bring everything to the disk."""
        if self._file.closed:
            return
        try:
            mark = _END.pack(END, self.count)
            self._file.write(mark + _U32.pack(zlib.crc32(mark)))
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise OutputError(
                f"{self.path} cannot be written ({error.strerror}); its last records may be missing. Make room there."
            ) from error
        finally:
            with suppress(OSError):  # closing writes once more what a full disk did not take
                self._file.close()

    def __enter__(self) -> RecordingWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True, eq=False)
class Recording:
    """A recording that was read."""

    header: Header
    records: Records
    complete: bool
    """False: the file was cut off, or its run was not ended in order; later ticks are missing."""

    @cached_property
    def lost(self) -> int:
        """Ticks that the guardian made and the supervisor could not save in time."""
        ticks = self.records["tick"]
        return int(ticks[-1]) + 1 - len(ticks) if len(ticks) else 0


def read_recording(path: Path) -> Recording:
    """Read a recording; one that was cut off up to its last whole record.

    Raises:
        DamagedRecording: It is no recording, or a byte of it has changed.
        SchemaTooNew: Written by a newer edgerl.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DamagedRecording(path, f"it cannot be read ({error})") from error
    header, start = _read_header(path, data)
    states, commands = len(header.layout.state), len(header.layout.command)
    form = record_dtype(states, commands, commands, 0)
    rest = memoryview(data)[start:]
    complete, count = _read_end(path, rest, form.itemsize)
    rows = np.frombuffer(rest, form, count)
    _check_rows(path, rest, rows)
    return Recording(header, rows, complete)


def _read_header(path: Path, data: bytes) -> tuple[Header, int]:
    if not (data.startswith(MAGIC[:6]) and data[6:8].isdigit() and int(data[6:8]) >= SCHEMA):
        raise DamagedRecording(path, f"it begins with {data[:8]!r}, not with {MAGIC!r}")
    if not data.startswith(MAGIC):
        raise SchemaTooNew(str(path), int(data[6:8]), SCHEMA)
    size = _U32.unpack_from(data, 8)[0] if len(data) >= 12 else MAX_HEADER_BYTES + 1
    start = 12 + size + 4
    if size > MAX_HEADER_BYTES or len(data) < start:
        raise DamagedRecording(path, "it is cut off within its header")
    text = data[12 : 12 + size]
    if _U32.unpack_from(data, 12 + size)[0] != zlib.crc32(text):
        raise DamagedRecording(path, "a byte of its header has changed")
    try:
        header = canonical.loads(Header, text, str(path))
    except SpecError as error:
        raise DamagedRecording(path, f"its header is not valid ({error})") from error
    states, commands = len(header.layout.state), len(header.layout.command)
    fits = 1 <= states <= MAX_STATES and 1 <= commands <= MAX_COMMANDS
    form = (
        (record_bytes(states, commands, commands, 0), record_dtype(states, commands, commands, 0).names)
        if fits
        else (0, ())
    )
    if header.schema != SCHEMA or (header.record_bytes, header.fields) != form:
        raise DamagedRecording(path, f"its records of {header.record_bytes} bytes are not of this form")
    return header, start


def _read_end(path: Path, rest: memoryview, itemsize: int) -> tuple[bool, int]:
    mark_size = _END.size + _U32.size
    if len(rest) >= mark_size and (len(rest) - mark_size) % itemsize == 0:
        mark = rest[-mark_size:]
        tag, count = _END.unpack_from(mark)
        if tag == END:
            whole = (len(rest) - mark_size) // itemsize
            if count != whole or _U32.unpack_from(mark, _END.size)[0] != zlib.crc32(mark[: _END.size]):
                raise DamagedRecording(path, f"its end mark says {count} records, there are {whole}")
            return True, whole
    return False, len(rest) // itemsize


def _check_rows(path: Path, rest: memoryview, rows: Records) -> None:
    size = rows.dtype.itemsize
    for index, crc in enumerate(rows["crc"].tolist()):
        if zlib.crc32(rest[index * size : (index + 1) * size - 4]) != crc:
            raise DamagedRecording(path, f"a byte of record {index} of {len(rows)} has changed")
    if len(rows) and not np.all(np.diff(rows["tick"].astype(np.int64)) > 0):
        raise DamagedRecording(path, "its ticks do not advance")
