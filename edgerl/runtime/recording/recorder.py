"""Records a run beside the supervisor: takes ticks at once, writes them when the disk is ready.

The supervisor hands over what it took from the guardian's ring and goes on; a thread makes chunks, writes and flushes.
So a slow, stalled or full disk costs ticks in the file, never the supervisor's sign of life. Every 0.1 s what has come
goes to the kernel as one chunk, which survives the death of every process here; every second it is flushed to the disk,
which survives a power cut.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

from edgerl.errors import OutputError
from edgerl.runtime.recording import Header, Records, record_dtype
from edgerl.runtime.recording.dumps import FaultDumps
from edgerl.runtime.recording.write import RecordingWriter
from edgerl.runtime.tally import Tally

CHUNK_S = 0.1
"""What the death of the supervisor costs at most."""
SYNC_S = 1.0
"""What a power cut costs at most, on a disk that keeps up."""
WAITING_BYTES = 64 * 1024 * 1024
"""Of memory for ticks that the disk is not ready for: a minute of a usual robot at 1 kHz."""
FREE_BYTES = 64 * 1024 * 1024
"""Recording stops when no more is free, so that dumps, logs and the file's own index still fit."""


@dataclass(frozen=True)
class Keep:
    """What is kept of a run."""

    ticks: bool = True
    """Every tick, in the recording. False: the dumps of faults only."""
    limit_bytes: int | None = None
    """The recording stops when it is so large; the run, and the dumps of faults, go on. None: no limit."""
    before_fault_s: float = 5.0
    """The dump of a fault begins so long before it."""


@dataclass(frozen=True)
class Kept:
    """What was kept of a run."""

    recording: str
    """Path; empty where there is none."""
    ticks: int
    """In the recording."""
    dumps: tuple[str, ...]
    """Paths of the dumps of faults, oldest first."""
    trouble: tuple[str, ...]
    """Why the recording or a dump is missing or ends early, one sentence each; empty where nothing is."""


class Recorder:
    """Takes the ticks of one run; use it as a context.

    Args:
        path: New file for all ticks; dumps of faults get names like it.
        header: What the files say of themselves.
        keep: What is written.

    Attributes:
        dtype: Of the ticks that it takes.
        tally: What the ticks come to, for reading after :meth:`close`.

    Raises:
        OutputError: The file exists or cannot be written.
    """

    def __init__(self, path: Path, header: Header, keep: Keep | None = None) -> None:
        keep = keep or Keep()
        self.dtype = record_dtype(header.arrays)
        self.tally = Tally(len(header.channels("command")), same_clock=header.same_clock)
        self._file = _File(path, header, keep.limit_bytes) if keep.ticks else None
        self._dumps = FaultDumps(path, header, round(keep.before_fault_s * 1e9))
        self._waiting: list[Records] = []
        self._waiting_bytes = 0
        self._dropped = 0
        self._trips: list[str] = []
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._broken: BaseException | None = None
        self._thread = threading.Thread(target=self._write, name="recorder", daemon=True)
        self._thread.start()

    def take(self, rows: Records) -> None:
        """Take the next ticks, which are the recorder's from now on. Never waits for the disk, never raises."""
        with self._lock:
            if self._waiting_bytes + rows.nbytes > WAITING_BYTES:
                self._dropped += len(rows)
                return
            self._waiting.append(rows)
            self._waiting_bytes += rows.nbytes

    @property
    def waiting(self) -> bool:
        """Whether something was taken that the thread has not begun to write."""
        with self._lock:
            return bool(self._waiting)

    def trip(self, what: str) -> None:
        """Dump the last seconds for a fault that no tick tells of."""
        with self._lock:
            self._trips.append(what)

    def close(self) -> Kept:
        """Write what is left and end the files; waits for the disk. Harmless when called again."""
        self._closing.set()
        self._thread.join()
        if self._broken is not None:
            raise RuntimeError("the recorder has a defect") from self._broken
        troubles = [self._file.trouble if self._file else None, self._dumps.trouble]
        if self._dropped:
            troubles.append(f"The disk was too slow: {self._dropped:,} ticks were not recorded.")
        ticks = self._file.writer.count if self._file else 0
        return Kept(
            recording=str(self._file.writer.path) if self._file and ticks else "",
            ticks=ticks,
            dumps=tuple(map(str, self._dumps.written)),
            trouble=tuple(trouble for trouble in troubles if trouble),
        )

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self) -> None:
        try:
            closing = False
            while not closing:
                closing = self._closing.wait(CHUNK_S)
                self._write_waiting()
            self._dumps.close()
            if self._file:
                self._file.close()
        except BaseException as error:  # noqa: BLE001  raised in close(): the run must not end by it
            self._broken = error

    def _write_waiting(self) -> None:
        with self._lock:
            waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
            trips, self._trips = self._trips, []
        if waiting:
            rows = np.concatenate(waiting)
            self.tally.add(rows)
            self._dumps.feed(rows)
            if self._file:
                self._file.append(rows)
        for what in trips:
            self._dumps.trip(what)
        if self._file:
            self._file.sync()


class _File:
    """The recording itself: ends early, with one sentence on why, where its disk or its limit is full."""

    def __init__(self, path: Path, header: Header, limit_bytes: int | None) -> None:
        self.writer = RecordingWriter(path, header)
        self.trouble: str | None = None
        self._limit_bytes = limit_bytes
        self._synced = time.monotonic()
        self._synced_bytes = 0
        self._open = True

    def append(self, rows: Records) -> None:
        if not self._open:
            return
        limit = self._limit_bytes
        if limit is not None and self.writer.bytes + len(rows) * self.writer.form.tick_bytes > limit:
            self._stop(f"Recording stopped at its limit of {limit:,} bytes.")
            return
        try:
            self.writer.append(rows)
        except OutputError as error:
            self._stop(f"Recording stopped: {error}")

    def sync(self) -> None:
        if not self._open or time.monotonic() - self._synced < SYNC_S or self.writer.bytes == self._synced_bytes:
            return
        try:
            self.writer.sync()
            room = os.statvfs(self.writer.path.parent)
        except (OutputError, OSError) as error:
            self._stop(f"Recording stopped: {error}")
            return
        self._synced, self._synced_bytes = time.monotonic(), self.writer.bytes
        free = room.f_bavail * room.f_frsize
        if free < FREE_BYTES:
            self._stop(f"Recording stopped: only {free:,} bytes are free where {self.writer.path} is. Make room there.")

    def close(self) -> None:
        """End the file; one in which nothing was recorded is not left behind."""
        if self._open:
            self._open = False
            try:
                self.writer.close()
            except OutputError as error:
                self.trouble = str(error)
        if not self.writer.count:
            self.writer.path.unlink(missing_ok=True)

    def _stop(self, why: str) -> None:
        self.trouble = why
        self._open = False
        with suppress(OutputError):  # what was recorded is readable without an index, too
            self.writer.close()
