"""The dumps of faults: what happened just before each fault, and after it until the fallback ladder has ended.

The last seconds are kept in memory, within a bound, whether the run is recorded or not. A dump is written under another
name while the ladder runs, and gets its own when it is whole and on the disk.
"""

from __future__ import annotations

import secrets
from collections import deque
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgerl.errors import OutputError
from edgerl.files import sync_folder
from edgerl.runtime.enums import Event, Mode
from edgerl.runtime.recording import SUFFIX, Header, Records
from edgerl.runtime.recording.write import RecordingWriter

WINDOW_BYTES = 64 * 1024 * 1024
"""Of memory: 5 s of the largest robot at 2 kHz; the window is shorter where its ticks need more."""
TAIL_NS = 500_000_000
"""A dump goes on for so long after the ladder's end."""
LONGEST_NS = 60_000_000_000
"""A dump ends so long after its fault, wherever the ladder is."""
MOST_DUMPS = 20
"""A robot that is set up again after every fault must not fill its disk."""


class FaultDumps:
    """Writes a dump for every fault in the ticks that it is given.

    Args:
        path: Of the run's recording, whether there is one or not; dumps are named after it.
        header: Of the run's recording.
        before_ns: A dump begins so long before its fault.

    Attributes:
        written: Files, oldest first.
        trouble: Why dumps are missing; None: none is.
    """

    def __init__(self, path: Path, header: Header, before_ns: int) -> None:
        self._path = path
        self._header = header
        self._before_ns = before_ns
        self._window: deque[Records] = deque()
        self._window_bytes = 0
        self._writer: RecordingWriter | None = None
        self._place = path
        self._fault_ns = 0
        self._settled_ns: int | None = None
        self.written: list[Path] = []
        self.trouble: str | None = None

    def feed(self, rows: Records) -> None:
        """Take the next ticks."""
        while len(rows):
            taken = self._go_on(rows) if self._writer else self._watch(rows)
            rows = rows[taken:]

    def trip(self, what: str) -> None:
        """Dump the window for a fault that no tick tells of, and let no later tick be part of it."""
        if self._writer is None and self._window:
            self._begin(what, int(self._window[-1]["start_ns"][-1]))
        self.close()

    def close(self) -> None:
        """Finish the dump that is being written."""
        if self._writer is None:
            return
        writer, self._writer = self._writer, None
        try:
            writer.close()
            writer.path.rename(self._place)
            sync_folder(self._place.parent)
        except (OutputError, OSError) as error:
            self._give_up(writer, error)
        else:
            self.written.append(self._place)

    def _watch(self, rows: Records) -> int:
        """Remember ticks up to the first fault, which begins a dump; return how many."""
        faults = _faults(rows)
        if not faults.any():
            self._remember(rows)
            return len(rows)
        place = int(np.argmax(faults))
        self._remember(rows[: place + 1])
        tick = rows[place]
        name = Event(int(tick["event"])).name.lower().replace("_", "-")
        self._begin(f"{name} in tick {int(tick['tick'])}", int(tick["start_ns"]))
        return place + 1

    def _go_on(self, rows: Records) -> int:
        """Write ticks up to the dump's end; return how many."""
        count = self._until_settled(rows)
        self._remember(rows[:count])
        self._write(rows[:count])
        if count < len(rows):
            self.close()
        return count

    def _until_settled(self, rows: Records) -> int:
        """Return how many ticks belong to the dump: until the ladder has been over for :data:`TAIL_NS`."""
        times, worse = rows["start_ns"], (rows["mode"] == Mode.FALLBACK) | _faults(rows)
        latest = int(np.searchsorted(times, np.uint64(self._fault_ns + LONGEST_NS)))
        at = 0
        while at < latest:
            if self._settled_ns is None:
                calm = np.flatnonzero(~worse[at:latest])
                if not calm.size:
                    break
                at += int(calm[0])
                self._settled_ns = int(times[at])
            ends = min(latest, int(np.searchsorted(times, np.uint64(self._settled_ns + TAIL_NS))))
            again = np.flatnonzero(worse[at:ends])
            if not again.size:
                return ends
            at += int(again[0])
            self._settled_ns = None
        return latest

    def _begin(self, what: str, fault_ns: int) -> None:
        self._fault_ns, self._settled_ns = fault_ns, None
        if len(self.written) >= MOST_DUMPS:
            self.trouble = self.trouble or f"Only the first {MOST_DUMPS} faults were dumped."
            return
        self._place = _free_place(self._path)
        part = self._place.with_name(f".{self._place.name}.{secrets.token_hex(4)}.part")
        try:
            self._writer = RecordingWriter(part, replace(self._header, fault=what))
        except OutputError as error:
            self.trouble = self.trouble or str(error)
            return
        for rows in self._window:
            self._write(rows)

    def _write(self, rows: Records) -> None:
        if self._writer is None:
            return
        try:
            self._writer.append(rows)
        except OutputError as error:
            writer, self._writer = self._writer, None
            self._give_up(writer, error)

    def _give_up(self, writer: RecordingWriter, error: Exception) -> None:
        """Leave what there is under the name that it has: it is readable, but it is not the dump."""
        with suppress(OutputError):
            writer.close()
        self.trouble = self.trouble or f"A fault could not be dumped. What there is of it is in {writer.path}. {error}"

    def _remember(self, rows: Records) -> None:
        if not len(rows):
            return
        self._window.append(rows)
        self._window_bytes += rows.nbytes
        begin = int(rows["start_ns"][-1]) - self._before_ns
        while self._window_bytes > WINDOW_BYTES or int(self._window[0]["start_ns"][-1]) < begin:
            self._window_bytes -= self._window.popleft().nbytes
            if not self._window:
                return


def _faults(rows: Records) -> npt.NDArray[np.bool_]:
    """Return which ticks led to FALLBACK or STOPPED; a run that is ended in order is no fault."""
    down, was_down = (np.isin(rows[name], (Mode.FALLBACK, Mode.STOPPED)) for name in ("mode", "from_mode"))
    return np.asarray(down & ~was_down & (rows["event"] != Event.QUIT), np.bool_)


def _free_place(path: Path) -> Path:
    number = 1
    while (place := path.with_name(f"{path.name.removesuffix(SUFFIX)}.fault-{number}{SUFFIX}")).exists():
        number += 1
    return place
