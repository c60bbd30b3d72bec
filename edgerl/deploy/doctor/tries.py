"""What no file tells: whether the kernel grants it is only known by asking.

Everything is tried in a child process that ends at once, so nothing of it stays: no priority, no locked memory.
Descriptors that are opened are closed again without a write.
"""

from __future__ import annotations

import errno
import os
import platform
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edgerl.deploy.doctor.check import Unread
from edgerl.errors import EdgerlError

_TIMEOUT_S = 20.0
"""A Python without site packages starts in under 0.1 s; an emulated or starved one takes seconds."""

# A new process and not a fork of this one: forking with threads (ONNX Runtime has some) may deadlock.
_CHILD = """
import ctypes, mmap, os, sys
value = int(sys.argv[2])
if sys.argv[1] == "fifo":
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(value))
        refused = 0
    except OSError as error:
        refused = error.errno
else:
    area = mmap.mmap(-1, value)
    start = ctypes.addressof(ctypes.c_char.from_buffer(area))
    libc = ctypes.CDLL(None, use_errno=True)
    refused = ctypes.get_errno() if libc.mlock(ctypes.c_void_p(start), ctypes.c_size_t(value)) else 0
print(refused)
"""


@dataclass(frozen=True)
class Attempt:
    """What came of asking."""

    granted: bool
    why_not: str = ""
    """The kernel's or the library's own words; empty where it was granted."""


@dataclass(frozen=True)
class Limits:
    """This process's resource limits, soft ones; -1 for no limit."""

    realtime_priority: int
    locked_bytes: int
    root: bool
    """Whether it runs as root, for whom the first limit does not count."""


class Tries(Protocol):
    """Asks a machine; each may raise ``Unread`` where it cannot even ask."""

    def fifo(self, priority: int) -> Attempt:
        """Ask for real-time scheduling (SCHED_FIFO) at a priority."""

    def lock_memory(self, size: int) -> Attempt:
        """Ask to lock so many bytes into memory."""

    def open_for_writing(self, path: Path) -> Attempt:
        """Open a device for writing, and close it."""

    def limits(self) -> Limits:
        """Return the resource limits."""

    def clock_resolution_ns(self) -> int:
        """Return the resolution of the monotonic clock's timers in [ns]."""

    def free_bytes(self, folder: Path) -> int:
        """Return what this user can still write where the folder lies, in bytes."""

    def architecture(self) -> str:
        """Return the CPU's architecture, as the kernel names it."""

    def core_dir(self) -> Path:
        """Return the folder that holds the core's library and the guardian; an ``EdgerlError`` where there is none."""

    def load_core(self) -> Attempt:
        """Load the core's library."""

    def backend(self, name: str) -> Attempt:
        """Import a backend."""


class RealTries:
    """Asks the machine that this process runs on."""

    def fifo(self, priority: int) -> Attempt:  # noqa: D102  see Tries, here and below
        return _in_child("fifo", priority)

    def lock_memory(self, size: int) -> Attempt:  # noqa: D102
        return _in_child("lock", size)

    def open_for_writing(self, path: Path) -> Attempt:  # noqa: D102
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        except OSError as error:
            return Attempt(granted=False, why_not=_name(error.errno or 0))
        return Attempt(granted=True)

    def limits(self) -> Limits:  # noqa: D102
        priority, locked = (resource.getrlimit(one)[0] for one in (resource.RLIMIT_RTPRIO, resource.RLIMIT_MEMLOCK))
        return Limits(priority, locked, root=os.geteuid() == 0)

    def clock_resolution_ns(self) -> int:  # noqa: D102
        return round(time.clock_getres(time.CLOCK_MONOTONIC) * 1e9)

    def free_bytes(self, folder: Path) -> int:  # noqa: D102
        try:
            return shutil.disk_usage(folder).free
        except OSError as error:
            raise Unread(f"{folder}: {error.strerror}") from error

    def architecture(self) -> str:  # noqa: D102
        machine = platform.machine()
        if not machine:
            raise Unread("the kernel does not name the CPU's architecture")
        return machine

    def core_dir(self) -> Path:  # noqa: D102
        from edgerl.runtime import core  # noqa: PLC0415

        return core.core_dir()

    def load_core(self) -> Attempt:  # noqa: D102
        from edgerl.runtime import core  # noqa: PLC0415

        try:
            core.library()
        except (EdgerlError, AttributeError) as error:  # AttributeError: a function of this version is not in it
            return Attempt(granted=False, why_not=str(error))
        return Attempt(granted=True)

    def backend(self, name: str) -> Attempt:  # noqa: D102
        try:
            from edgerl.backends import find_backend  # noqa: PLC0415

            find_backend(name)
        except (EdgerlError, ImportError) as error:
            return Attempt(granted=False, why_not=str(error))
        return Attempt(granted=True)


def _in_child(what: str, value: int) -> Attempt:
    command = [sys.executable, "-I", "-S", "-c", _CHILD, what, str(value)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True)
        refused = int(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise Unread(f"the process that was to try it did not answer ({type(error).__name__})") from error
    return Attempt(granted=True) if refused == 0 else Attempt(granted=False, why_not=_name(refused))


def _name(number: int) -> str:
    return errno.errorcode.get(number, f"error {number}")
