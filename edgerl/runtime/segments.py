"""The shared memory of one run: sealed memfds passed by descriptor, which nobody else can open, grow or shrink.

The supervisor creates them. The configuration is sealed against everything before the guardian sees it. The others can
change content only; once the guardian has mapped them, the observation mailbox and the ring take no new writer either,
so that the policy process can map them for reading only.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass

from edgerl.errors import PlatformError
from edgerl.runtime import core
from edgerl.runtime.enums import POLICY_SLOTS
from edgerl.runtime.structs import ActionMailbox, Config, ObservationMailbox, Requests, StatusBlock

_ADD_SEALS, _GET_SEALS = 1033, 1034
"""``F_ADD_SEALS`` of linux/fcntl.h, and its seals below; written out, so that other systems can import this module."""
_SEAL_SEAL, _SEAL_SHRINK, _SEAL_GROW = 0x1, 0x2, 0x4
_SEAL_FUTURE_WRITE = 0x10
"""Since Linux 5.1: no new mapping for writing and no write(); mappings that exist stay writeable."""
RING_BYTES = 2 * 1024 * 1024
"""The guardian locks its segments into memory; 2 MiB keep them under the 4 MiB that a robot's limits allow."""


@dataclass(frozen=True, eq=False)
class Segment:
    """One memfd and the supervisor's mapping of it."""

    fd: int
    memory: mmap.mmap

    @property
    def address(self) -> int:
        """Address of the first byte."""
        return core.address(self.memory)


@dataclass(frozen=True, eq=False)
class SharedMemory:
    """All segments of one run."""

    config: int
    """Descriptor; nobody writes it any more."""
    status: Segment
    requests: Segment
    observation: Segment
    ring: Segment
    actions: tuple[Segment, ...]
    """One action mailbox per policy slot."""

    def seal_against_new_writers(self) -> None:
        """Let nobody map what the guardian alone writes for writing; after the guardian has mapped it."""
        for segment in (self.observation, self.ring, self.status):
            seal_against_new_writers(segment)
        for segment in (self.requests, *self.actions):
            _seal(segment.fd, _SEAL_SEAL)


@contextlib.contextmanager
def share(config: Config) -> Iterator[SharedMemory]:
    """Make the segments of a run; the descriptors are closed at the end, the kernel frees them with the last process.

    Raises:
        GuardianError: A value of the configuration that the guardian would refuse.
        PlatformError: The kernel has no sealed memfds.
    """
    core.check_config(config)
    with contextlib.ExitStack() as stack:
        segments = [
            new_segment(stack, name, size)
            for name, size in (
                ("status", ctypes.sizeof(StatusBlock)),
                ("requests", ctypes.sizeof(Requests)),
                ("observation", ctypes.sizeof(ObservationMailbox)),
                ("ring", core.ring_bytes(config)),
                *((f"action-{slot}", ctypes.sizeof(ActionMailbox)) for slot in range(POLICY_SLOTS)),
            )
        ]
        status, requests, observation, ring, *actions = segments
        core.create_segments(
            config,
            status=status.address,
            requests=requests.address,
            observation=observation.address,
            actions=[action.address for action in actions],
            ring=ring.address,
        )
        fd = sealed(stack, "config", bytes(config))
        yield SharedMemory(fd, status, requests, observation, ring, tuple(actions))


def sealed(stack: contextlib.ExitStack, name: str, content: bytes) -> int:
    """Return the descriptor of a memfd that holds ``content`` and can never change.

    Raises:
        PlatformError: The kernel has no sealed memfds.
    """
    fd = _memfd(stack, name, len(content))
    written = 0
    while written < len(content):
        written += os.pwrite(fd, content[written : written + 2**30], written)
    # Not F_SEAL_WRITE: before Linux 6.7 that forbids shared mappings for reading, too. Nobody has one for writing.
    _seal(fd, _SEAL_SHRINK | _SEAL_GROW | _SEAL_FUTURE_WRITE | _SEAL_SEAL)
    return fd


def new_segment(stack: contextlib.ExitStack, name: str, size: int) -> Segment:
    """Return memory of zeros that nobody can resize; ``stack`` closes its descriptor.

    Raises:
        PlatformError: The kernel has no sealed memfds.
    """
    fd = _memfd(stack, name, size)
    _seal(fd, _SEAL_SHRINK | _SEAL_GROW)
    return Segment(fd, mmap.mmap(fd, size))


def seal_against_new_writers(segment: Segment) -> None:
    """Let nobody map this memory for writing any more; whoever has it mapped already goes on."""
    _seal(segment.fd, _SEAL_FUTURE_WRITE | _SEAL_SEAL)


def is_sealed(fd: int) -> bool:
    """Return whether a descriptor is of memory that nobody can shrink: it can be read without fear of SIGBUS."""
    import fcntl  # noqa: PLC0415  not on every system

    try:
        return bool(fcntl.fcntl(fd, _GET_SEALS) & _SEAL_SHRINK)
    except OSError:  # no memfd
        return False


def read_only(stack: contextlib.ExitStack, fd: int) -> int:
    """Return a descriptor of the same memory that cannot be mapped for writing; ``stack`` closes it.

    Raises:
        PlatformError: ``/proc`` is not mounted.
    """
    try:
        again = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise PlatformError(f"/proc is not mounted ({error.strerror}); memory that is shared needs it.") from error
    stack.callback(os.close, again)
    return again


def ring_capacity(record_bytes: int) -> int:
    """Return how many records the ring holds."""
    return max(64, RING_BYTES // record_bytes)


def _seal(fd: int, seals: int) -> None:
    import fcntl  # noqa: PLC0415  not on every system

    fcntl.fcntl(fd, _ADD_SEALS, seals)


def _memfd(stack: contextlib.ExitStack, name: str, size: int) -> int:
    try:
        fd = os.memfd_create(f"edgerl-{name}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except (AttributeError, OSError) as error:
        raise PlatformError(
            f"This kernel makes no sealed memory ({error}). The control loop needs Linux 5.1."
        ) from error
    stack.callback(os.close, fd)
    os.ftruncate(fd, size)
    return fd
