"""A run that goes on while a test asks things of it, from this process or from the command line."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edgerl.errors import NoSuchRun
from edgerl.runtime.control.client import Control, connect
from edgerl.runtime.control.listener import ControlOptions
from edgerl.runtime.control.messages import RunStatus
from edgerl.runtime.load import Load
from edgerl.runtime.result import RunResult
from edgerl.runtime.run import RunOptions, run_load
from tests import loop_parts

OPTIONS = RunOptions(control=ControlOptions("robot"), timeouts=loop_parts.impatient())


class Going:
    """A run in a thread of its own, and a client of it."""

    def __init__(self, load: Load, robot: str, path: Path, options: RunOptions, shadow: Load | None = None) -> None:
        self.result: RunResult | None = None
        self.error: BaseException | None = None
        self._arguments = (load, robot, path, options)
        self._shadow = shadow
        self._thread = threading.Thread(target=self._live)
        self._thread.start()
        self.client = self._connect()

    def _live(self) -> None:
        try:
            self.result = run_load(*self._arguments, shadow=self._shadow)
        except BaseException as error:  # noqa: BLE001  the test looks at it
            self.error = error

    def _connect(self) -> Control:
        while True:
            try:
                return connect("robot")
            except NoSuchRun:  # noqa: PERF203
                if not self._thread.is_alive():
                    raise
                time.sleep(0.005)

    def until(
        self,
        reached: Callable[[RunStatus], bool],
        timeout_s: float = 20.0,
        every: Callable[[], object] = lambda: None,
    ) -> RunStatus:
        """Look at the status, and do something every time, until it is reached."""
        end = time.monotonic() + timeout_s
        while not reached(status := self.client.status()):
            assert time.monotonic() < end, status
            every()
            time.sleep(0.02)
        return status

    def stage(self, name: str) -> RunStatus:
        return self.until(lambda status: status.loop.stage == name)

    def end(self) -> RunResult:
        self._thread.join(20.0)
        assert self.error is None, self.error
        assert self.result is not None
        return self.result


@contextmanager
def going(
    load: Load, robot: str, path: Path, options: RunOptions = OPTIONS, shadow: Load | None = None
) -> Iterator[Going]:
    """A run that is ended at the end, however the test went."""
    run = Going(load, robot, path, options, shadow)
    try:
        yield run
    finally:
        if run._thread.is_alive():
            with connect("robot") as other:
                other.own(take=True)
                other.stop()
        run._thread.join(20.0)
        run.client.close()


def policies() -> list[int]:
    """Return the process ids of this process's policies."""
    found = []
    for folder in Path("/proc").iterdir():
        with suppress(OSError):
            if folder.name.isdecimal() and b"edgerl.runtime.policy_process" in (folder / "cmdline").read_bytes():
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                found += [int(folder.name)] if parent == os.getpid() else []
    return found


def command(*words: str) -> subprocess.CompletedProcess[str]:
    """Call the command line in a process of its own."""
    return subprocess.run([sys.executable, "-m", "edgerl", *words], capture_output=True, text=True, check=False)
