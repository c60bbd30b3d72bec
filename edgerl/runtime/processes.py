"""Child processes that never outlive their supervisor.

Each child is the first of its own session, so that Ctrl-C in a terminal reaches the supervisor only, which then ends
the run in order. What a child says on stderr is kept for the message about its death.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO

import edgerl
from edgerl.runtime.notify import VARIABLES

_PR_SET_PDEATHSIG = 1
"""``linux/prctl.h``."""
_SAID_BYTES = 4000


class Child:
    """A started process.

    Args:
        name: For messages.
        arguments: Program and arguments.
        fds: Descriptors that it inherits, under the same numbers; all others are closed.
        environment: Added to this process's environment.
        output: Whether its stdout is read (as a pipe) or thrown away.
    """

    def __init__(
        self,
        name: str,
        arguments: list[str],
        *,
        fds: Iterable[int] = (),
        environment: Mapping[str, str] | None = None,
        output: bool = False,
    ) -> None:
        self.name = name
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  lives as long as the child
        self._process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if output else subprocess.DEVNULL,
            stderr=self._stderr,
            pass_fds=tuple(fds),
            start_new_session=True,
            env={name: value for name, value in os.environ.items() if name not in VARIABLES} | dict(environment or {}),
        )
        self.pid = self._process.pid
        self.pidfd = os.pidfd_open(self.pid)
        """Becomes readable when the process ends."""

    @property
    def stdout(self) -> IO[bytes]:
        """Its output, where it was asked for."""
        if self._process.stdout is None:
            raise ValueError(f"{self.name} was started without output")
        return self._process.stdout

    @property
    def alive(self) -> bool:
        """Whether it has not ended yet; a stopped process is alive."""
        return self._process.poll() is None

    @property
    def failed(self) -> bool:
        """Whether it has ended, and not with status 0."""
        return self._process.poll() not in (None, 0)

    def send(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens where it has ended."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    def wait(self, timeout_s: float) -> bool:
        """Wait for its end; False where it is still alive after ``timeout_s``."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def end(self, *, patience_s: float) -> None:
        """See it off: wait, then SIGTERM, then SIGKILL for it and whatever it started; returns when it has ended."""
        if not self.wait(patience_s):
            self.send(signal.SIGTERM)
            if not self.wait(min(0.5, patience_s + 0.1)):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.pid, signal.SIGKILL)
                self._process.wait()

    def close(self) -> None:
        """Kill it if it lives and free what belongs to it."""
        self.end(patience_s=0.0)
        os.close(self.pidfd)
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._stderr.close()

    def obituary(self) -> str:
        """Return how it ended, and its last words on stderr."""
        code = self._process.poll()
        if code is None:
            how = "is alive"
        elif code < 0:
            how = f"was killed by {signal.Signals(-code).name}"
        else:
            how = f"ended with status {code}"
        said = self._last_words()
        return f"{how}; it said: {said}" if said else how

    def _last_words(self) -> str:
        size = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, size - _SAID_BYTES))
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else ""


def python(module: str, arguments: Iterable[str]) -> list[str]:
    """Return the command that runs a module of edgerl in this interpreter."""
    return [sys.executable, "-m", module, *arguments]


def environment() -> dict[str, str]:
    """Return what a Python child needs to import the same edgerl, wherever that lies, installed or not."""
    root = str(Path(edgerl.__file__).parent.parent)
    path = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": os.pathsep.join([root, path] if path else [root])}


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the thread that started it ends; at once where it has ended already."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
