"""The robot's end of a guardian's port, as a socket or as two mailboxes; both have a socket's methods."""

from __future__ import annotations

import ctypes
import mmap
import os
import socket
import time

from edgerl.runtime import core
from edgerl.runtime.enums import MAX_DATAGRAM, Result
from edgerl.runtime.unix_port import MAILBOX_BYTES


class UdpLink:
    """Two connected sockets."""

    def __init__(self) -> None:
        self._robot, self._controller = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        self._robot.bind(("127.0.0.1", 0))
        self._controller.bind(("127.0.0.1", 0))
        self._robot.connect(self._controller.getsockname())
        self._controller.connect(self._robot.getsockname())
        self.fds = [self._controller.fileno()]
        self.send, self.recv, self.settimeout = self._robot.send, self._robot.recv, self._robot.settimeout

    def address(self) -> tuple[str, int]:
        """Where the guardian hears."""
        name: tuple[str, int] = self._controller.getsockname()
        return name

    def close(self) -> None:
        self._robot.close()
        self._controller.close()


class ShmLink:
    """Two mailboxes."""

    def __init__(self) -> None:
        self.fds, self.maps = [], []
        for name in ("state", "command"):
            descriptor = os.memfd_create(name)
            os.ftruncate(descriptor, MAILBOX_BYTES)
            mapped = mmap.mmap(descriptor, MAILBOX_BYTES)
            core.create_datagram_mailbox(core.address(mapped))
            self.fds.append(descriptor)
            self.maps.append(mapped)
        self.state, self.command = (core.address(mapped) for mapped in self.maps)
        self._seen = ctypes.c_uint32(0)
        self._buffer = ctypes.create_string_buffer(MAX_DATAGRAM + 1)
        self._timeout_s = 5.0

    def settimeout(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s

    def send(self, data: bytes) -> None:
        assert core.post_datagram(self.state, data) == Result.OK

    def recv(self, _: int) -> bytes:
        until_ns = time.monotonic_ns() + round(self._timeout_s * 1e9)
        data = core.take_datagram(self.command, self._seen, self._buffer, until_ns)
        if not data:
            raise TimeoutError
        return data

    def close(self) -> None:
        for descriptor in self.fds:
            os.close(descriptor)
