"""The two datagram mailboxes of a robot behind shared memory: who makes them, who may write which, how they travel.

The controller makes both, and a text with the names of the channels, and passes their descriptors with its HELLO over a
Unix socket (SOCK_SEQPACKET). No side can resize them; each has only its own open for writing, and is sealed against new
writers once that one has it mapped. ``docs/robot-port.md`` specifies all of it.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import mmap
import os
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from edgerl import canonical
from edgerl.errors import PortError
from edgerl.runtime import core
from edgerl.runtime.enums import DATAGRAM_MAGIC, DATAGRAM_VERSION, MAX_DATAGRAM
from edgerl.runtime.layout import Layout
from edgerl.runtime.segments import is_sealed, new_segment, read_only, seal_against_new_writers, sealed
from edgerl.runtime.structs import DatagramMailbox

MAILBOX_BYTES = ctypes.sizeof(DatagramMailbox)
MAX_LAYOUT_BYTES = 262_144
_PEER = struct.Struct("3i")


class ControllerMemory:
    """What the controller makes for one session; its descriptors are closed by ``stack``.

    Raises:
        PlatformError: The kernel has no sealed memory, or ``/proc`` is not there.
    """

    def __init__(self, stack: contextlib.ExitStack, layout: Layout) -> None:
        self._state = new_segment(stack, "state", MAILBOX_BYTES)
        self._command = new_segment(stack, "command", MAILBOX_BYTES)
        for mailbox in (self._state, self._command):
            core.create_datagram_mailbox(mailbox.address)
        names = sealed(stack, "layout", canonical.dumps(layout).encode())
        self.for_driver = (self._state.fd, read_only(stack, self._command.fd), names)
        """State mailbox to write, command mailbox to read, names of the channels."""
        self.for_guardian = (read_only(stack, self._state.fd), self._command.fd)

    def driver_has_mapped(self) -> None:
        """Let nobody else write states."""
        seal_against_new_writers(self._state)

    def guardian_has_mapped(self) -> None:
        """Let nobody else write commands."""
        seal_against_new_writers(self._command)


@dataclass(frozen=True, eq=False)
class DriverMemory:
    """The driver's mappings of one session."""

    state: mmap.mmap
    command: mmap.mmap

    @property
    def state_address(self) -> int:
        """Address of the mailbox to write."""
        return core.address(self.state)

    @property
    def command_address(self) -> int:
        """Address of the mailbox to read."""
        return core.address(self.command)


def map_for_driver(state: int, command: int) -> DriverMemory:
    """Return the mappings of two descriptors that came with a HELLO.

    Raises:
        PortError: They are no mailboxes, or somebody could still shrink them under their reader.
    """
    for fd in (state, command):
        if not is_sealed(fd) or os.fstat(fd).st_size < MAILBOX_BYTES:
            raise PortError("A descriptor that came with HELLO is no sealed mailbox of a whole datagram.")
    try:
        memory = DriverMemory(mmap.mmap(state, MAILBOX_BYTES), mmap.mmap(command, MAILBOX_BYTES, prot=mmap.PROT_READ))
    except OSError as error:
        raise PortError(f"A mailbox that came with HELLO cannot be mapped ({error.strerror}).") from error
    for mapped in (memory.state, memory.command):
        if struct.unpack_from("<II", mapped) != (DATAGRAM_MAGIC, DATAGRAM_VERSION):
            raise PortError("A descriptor that came with HELLO is a mailbox of another version.")
    return memory


def read_layout(fd: int) -> Layout:
    """Return the names of the channels that came with a HELLO.

    Raises:
        PortError: It is none.
        SpecError: Of another form.
    """
    size = os.fstat(fd).st_size
    if not 0 < size <= MAX_LAYOUT_BYTES:
        raise PortError(
            f"The names of the channels that came with HELLO have {size:,} bytes; at most "
            f"{MAX_LAYOUT_BYTES:,} are read."
        )
    return canonical.loads(Layout, os.pread(fd, size, 0), "the layout that came with HELLO")


def send_with(connection: socket.socket, datagram: bytes, fds: Sequence[int]) -> None:
    """Send a datagram together with descriptors."""
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
    connection.sendmsg([datagram], rights, socket.MSG_NOSIGNAL)


def receive_with(connection: socket.socket, count: int) -> tuple[bytes, list[int]]:
    """Return a packet and at most ``count`` descriptors that came with it; the caller closes them."""
    fds = array.array("i")
    room = socket.CMSG_SPACE(count * fds.itemsize)
    datagram, rights, _, _ = connection.recvmsg(MAX_DATAGRAM + 1, room, socket.MSG_CMSG_CLOEXEC)
    for level, kind, data in rights:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return datagram, list(fds)


def peer_uid(connection: socket.socket) -> int:
    """Return the user at the other end, as the kernel says."""
    _, uid, _ = _PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    return int(uid)
