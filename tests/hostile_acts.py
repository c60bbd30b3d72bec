"""What a policy that has gone mad, or was made so, could try against those beside it, and how the kernel answers.

Everything that an act needs is found when the engine is loaded, as an attacker would; only the act itself is judged.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import resource
import signal
import socket
from collections.abc import Callable
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
_PTRACE_SEIZE = 0x4206
_IO_URING_SETUP, _PIDFD_GETFD, _PIDFD_SEND_SIGNAL = 425, 438, 424
_F_SETOWN = 8
_SCRATCH = ctypes.create_string_buffer(256)
_FILES = resource.getrlimit(resource.RLIMIT_NOFILE)
REFUSALS = (errno.EPERM, errno.EACCES)


def _call(name: str, *arguments: object) -> None:
    """Call libc; an error is an OSError."""
    if getattr(_LIBC, name)(*arguments) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _syscall(number: int, *arguments: int) -> None:
    _call("syscall", ctypes.c_long(number), *(ctypes.c_long(value) for value in arguments))


def _children(pid: int) -> dict[str, int]:
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                command = (folder / "cmdline").read_bytes().partition(b"\0")[0].decode()
            except OSError:
                continue
            if parent == pid:
                found[Path(command).name] = int(folder.name)
    return found


def _descriptor(pid: int | str, name: str) -> int:
    """Return the number of a memfd in a process."""
    links = Path(f"/proc/{pid}/fd")
    return next(int(link.name) for link in links.iterdir() if f"memfd:edgerl-{name}" in str(link.readlink()))


def _mapping(name: str) -> tuple[int, int]:
    """Return address and size of a mapping of this process."""
    line = next(line for line in Path("/proc/self/maps").read_text().splitlines() if f"memfd:edgerl-{name}" in line)
    first, last = (int(number, 16) for number in line.split()[0].split("-"))
    return first, last - first


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))


def harmless_acts(folder: Path) -> dict[str, Callable[[], object]]:
    """Return acts that succeed where nobody forbids them, and harm nobody in a test."""
    supervisor = os.getppid()
    requests = f"/proc/{supervisor}/fd/{_descriptor(supervisor, 'requests')}"
    niceness = os.getpriority(os.PRIO_PROCESS, supervisor)
    victim, renamed = folder / "victim", folder / "renamed"
    victim.write_text("mine")
    return {
        "open the requests for writing": lambda: os.close(os.open(requests, os.O_RDWR)),
        "open the requests for reading": lambda: os.close(os.open(requests, os.O_RDONLY)),
        "write a file": lambda: os.close(os.open(folder / "new", os.O_WRONLY | os.O_CREAT)),
        "read a file": lambda: os.close(os.open(victim, os.O_RDONLY)),
        "change a mode": lambda: victim.chmod(0o600),
        "rename a file": lambda: victim.rename(renamed),
        "remove a file": renamed.unlink,
        "make a folder": (folder / "folder").mkdir,
        "a UDP socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close(),
        "a Unix socket": lambda: socket.socket(socket.AF_UNIX, socket.SOCK_STREAM).close(),
        "another process's existence": lambda: os.kill(supervisor, 0),
        "another process's descriptor": lambda: os.close(os.pidfd_open(supervisor)),
        "change another's niceness": lambda: os.setpriority(os.PRIO_PROCESS, supervisor, niceness),
        "change a limit": lambda: resource.prlimit(supervisor, resource.RLIMIT_NOFILE, _FILES),
    }


def acts(folder: Path) -> dict[str, Callable[[], object]]:
    """Return all acts; each raises an OSError that says how it was refused."""
    supervisor = os.getppid()
    guardian = _children(supervisor)["edgerl-guardian"]
    observation, observations = _mapping("observation"), _descriptor("self", "observation")
    pidfd = os.pidfd_open(guardian)
    local, remote = _Iovec(ctypes.addressof(_SCRATCH), 8), _Iovec(observation[0], 8)
    address, size = ctypes.c_void_p(observation[0]), ctypes.c_size_t(observation[1])

    def fork() -> None:
        if os.fork() == 0:
            os._exit(0)

    return {
        **harmless_acts(folder),
        "map observations for writing": lambda: mmap.mmap(observations, 4096),
        "write observations": lambda: os.write(observations, b"mine"),
        "make observations writable": lambda: _call("mprotect", address, size, mmap.PROT_READ | mmap.PROT_WRITE),
        "open the guardian's memory": lambda: os.close(os.open(f"/proc/{guardian}/mem", os.O_RDWR)),
        "write the guardian's memory": lambda: _call(
            "process_vm_writev", guardian, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0
        ),
        "trace the guardian": lambda: _call("ptrace", _PTRACE_SEIZE, guardian, None, None),
        "take the guardian's descriptor": lambda: _syscall(_PIDFD_GETFD, pidfd, 0, 0),
        "signal the guardian's pidfd": lambda: _syscall(_PIDFD_SEND_SIGNAL, pidfd, signal.SIGSTOP, 0, 0),
        "stop the guardian": lambda: os.kill(guardian, signal.SIGSTOP),
        "kill the guardian": lambda: os.kill(guardian, signal.SIGKILL),
        "stop the supervisor": lambda: os.kill(supervisor, signal.SIGSTOP),
        "slow the guardian": lambda: os.sched_setscheduler(guardian, os.SCHED_IDLE, os.sched_param(0)),
        "go before the guardian": lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(99)),
        "move the guardian": lambda: os.sched_setaffinity(guardian, {0}),
        "limit the guardian": lambda: resource.prlimit(guardian, resource.RLIMIT_CPU, (1, 1)),
        "have the kernel signal the guardian": lambda: _call("fcntl", 2, _F_SETOWN, guardian),
        "have the kernel do it all": lambda: _syscall(_IO_URING_SETUP, 4, ctypes.addressof(_SCRATCH)),
        "start a process": fork,
        "start a program": lambda: os.execv("/bin/true", ["true"]),
    }


def not_refused(tried: dict[str, Callable[[], object]]) -> list[str]:
    """Do everything, and return what was not refused for want of the right."""
    return [f"{name}: {how}" for name, how in ((name, _outcome(act)) for name, act in tried.items()) if how]


def _outcome(act: Callable[[], object]) -> str:
    try:
        act()
    except OSError as error:
        return "" if error.errno in REFUSALS else str(error.strerror)
    return "done"
