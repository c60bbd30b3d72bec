"""Tells systemd how a service stands, with the datagrams of ``sd_notify(3)``: ready, status, watchdog, stopping.

Outside systemd there is nobody to tell and every call does nothing. Nothing here waits or raises: a service manager
that does not listen must not hold up a robot.

Reference:
    https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping

STATUS_EVERY_NS = 500_000_000
VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
"""What systemd gives to the main process of a service; its children are not to use it."""


class Notifier:
    """One service's line to its manager.

    Args:
        address: Of the manager's datagram socket, as ``NOTIFY_SOCKET`` says it; None: there is none.
        watchdog_ns: The manager's watchdog; 0: it has none.
    """

    def __init__(self, address: str | None = None, watchdog_ns: int = 0) -> None:
        # An @ stands for the zero byte with which Linux's abstract addresses begin.
        self._address = "\0" + address[1:] if address and address[0] == "@" else address
        self._every_ns = watchdog_ns // 3
        self._stroke_at_ns = 0
        self._status = ""
        self._status_at_ns = 0
        self._ready = False
        self._stopping = False
        self._socket: socket.socket | None = None
        if self._address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)  # noqa: FBT003

    @classmethod
    def of(cls, environ: Mapping[str, str], pid: int | None = None) -> Notifier:
        """Return the notifier that a service's environment asks for."""
        address = environ.get("NOTIFY_SOCKET", "")
        if address[:1] not in ("/", "@"):
            return cls()
        meant = environ.get("WATCHDOG_PID", "")
        mine = not meant or meant == str(os.getpid() if pid is None else pid)
        usec = environ.get("WATCHDOG_USEC", "")
        return cls(address, int(usec) * 1000 if mine and usec.isascii() and usec.isdigit() else 0)

    def ready(self) -> None:
        """Say once that the service does its work from now on."""
        if not self._ready:
            self._ready = True
            self._send("READY=1")

    def say(self, status: str, now_ns: int) -> None:
        """Say in one line how it stands, where that has changed; twice a second at most."""
        if status != self._status and now_ns >= self._status_at_ns:
            self._status = status
            self._status_at_ns = now_ns + STATUS_EVERY_NS
            self._send("STATUS=" + " ".join(status.split()))

    def stroke(self, now_ns: int) -> None:
        """Keep the manager's watchdog from acting, where it has one; three times in its time-out."""
        if self._every_ns and now_ns >= self._stroke_at_ns:
            self._stroke_at_ns = now_ns + self._every_ns
            self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """Say once that the service ends by itself; from then on no watchdog of the manager acts."""
        if not self._stopping:
            self._stopping = True
            self._send("STOPPING=1")

    def close(self) -> None:
        """Close the line."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, text: str) -> None:
        if self._socket is not None and self._address is not None:
            with contextlib.suppress(OSError):
                self._socket.sendto(text.encode(), self._address)
