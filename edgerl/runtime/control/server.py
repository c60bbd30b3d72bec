"""The run's end of its control socket: a thread that serves clients, so that neither can hold up the other.

The loop is asked through :meth:`ControlServer.take`, at its own time. Only the e-stop goes past it, straight to the
guardian, so that it works while the supervisor loads, writes to a slow disk or waits. A client that babbles, does not
read its answers or sends what is no request is cut off; when there are too many, the one that was silent longest is.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Protocol

from edgerl.runtime.control.listener import ControlOptions, Listener
from edgerl.runtime.control.messages import (
    MAX_REQUEST_BYTES,
    VERSION,
    Ask,
    BadRequest,
    LoopStatus,
    Reply,
    RunStatus,
    decode_ask,
    encode_reply,
)
from edgerl.runtime.control.owner import Ownership, Peer, owner_of

MAX_CLIENTS = 16
MAX_WAITING = 16
"""Requests that the loop has not taken yet."""
RATE_HZ, BURST = 200.0, 100.0
"""A teleoperator asks 50 times a second, a display 10 times."""
_PEER = struct.Struct("3i")
_INT = struct.Struct("i")


@dataclass(frozen=True, eq=False)
class Asked:
    """A request that waits for the loop; answered with :meth:`ControlServer.answer`."""

    ask: Ask
    peer: Peer
    client: _Client
    file: int | None = None
    """Descriptor that came with it; whoever takes the request closes it."""

    @property
    def who(self) -> str:
        """Who asked, for people."""
        return f"{owner_of(self.ask, self.peer).name} (uid {self.peer.uid}, pid {self.peer.pid})"


@dataclass(eq=False)
class _Client:
    socket: socket.socket
    peer: Peer
    heard_s: float
    allowance: float = BURST
    waits: bool = False
    """Whether the loop owes it an answer; meanwhile it may ask for nothing else but an e-stop and the status."""


class Wires(Protocol):
    """What goes past the loop, straight to the guardian; called from the server's thread."""

    def estop(self) -> None:
        """Stop the robot."""

    def operate(self, values: tuple[float, ...], *, dead_man: bool, at_ns: int) -> None:
        """Say what the operator wants."""


@dataclass(eq=False)
class _Shared:
    """What loop and thread both touch, under one lock."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    waiting: deque[Asked] = field(default_factory=deque)
    answers: deque[tuple[Asked, str]] = field(default_factory=deque)
    wires: Wires | None = None
    estop_by: str = ""
    estop_early: bool = False
    closing: bool = False


class ControlServer:
    """Serves a run's control socket from its start to its end.

    Args:
        options: Where, and for whom.
        about: What is known of the run before its loop; name, owner, clients and loop are filled in.

    Raises:
        ControlError: The socket cannot be made.
    """

    def __init__(self, options: ControlOptions, about: RunStatus) -> None:
        self._listener = Listener(options)
        self.path = self._listener.path
        self._about = replace(about, name=self._listener.name)
        self._loop = about.loop
        self._ownership = Ownership()
        self._clients: set[_Client] = set()
        self._shared = _Shared()
        self._asked = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener.socket, selectors.EVENT_READ)
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._serve, name="control", daemon=True)
        self._thread.start()

    @property
    def fds(self) -> tuple[int, ...]:
        """Descriptors that become readable when a request waits for the loop."""
        return (self._asked,)

    @property
    def alive(self) -> bool:
        """Whether the thread serves."""
        return self._thread.is_alive()

    @property
    def estop_by(self) -> str:
        """Who asked for the last e-stop; empty where nobody did."""
        return self._shared.estop_by

    def publish(self, loop: LoopStatus) -> None:
        """Say how the loop stands."""
        self._loop = loop

    def take(self) -> tuple[Asked, ...]:
        """Return the requests that came since the last call; each has to be answered."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._asked)
        with self._shared.lock:
            taken = tuple(self._shared.waiting)
            self._shared.waiting.clear()
        return taken

    def answer(self, asked: Asked, refusal: str = "") -> None:
        """Answer a request: done, or why not."""
        with self._shared.lock:
            self._shared.answers.append((asked, refusal))
        os.eventfd_write(self._wake, 1)

    @contextlib.contextmanager
    def wired(self, wires: Wires) -> Iterator[None]:
        """Meanwhile e-stops and operator values go to the guardian; an e-stop that came before is done now."""
        self._wire(wires)
        try:
            yield
        finally:
            self._wire(None)

    def close(self) -> None:
        """Cut everybody off and remove the socket."""
        if not self._shared.closing:
            self._shared.closing = True
            os.eventfd_write(self._wake, 1)
            self._thread.join()
            for client in tuple(self._clients):
                self._cut(client)
            self._selector.close()
            self._listener.close()
            os.close(self._asked)
            os.close(self._wake)

    def __enter__(self) -> ControlServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _wire(self, wires: Wires | None) -> None:
        with self._shared.lock:
            self._shared.wires = wires
            if wires is not None and self._shared.estop_early:
                self._shared.estop_early = False
                wires.estop()

    def _serve(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # they are the main thread's to hear
        while not self._shared.closing:
            for key, _ in self._selector.select():
                if key.fileobj is self._listener.socket:
                    self._accept()
                elif key.fileobj == self._wake:
                    with contextlib.suppress(BlockingIOError):
                        os.eventfd_read(self._wake)
                    self._deliver()
                elif key.data in self._clients:
                    self._hear(key.data)
        self._deliver()

    def _accept(self) -> None:
        try:
            connected, _ = self._listener.socket.accept()
            connected.setblocking(False)  # noqa: FBT003
            peer = Peer(*_PEER.unpack(connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)))
        except OSError:  # gone again, or no descriptor is left; then it would come again at once
            time.sleep(0.01)
            return
        if len(self._clients) >= MAX_CLIENTS:
            silent = min(self._clients, key=lambda client: client.heard_s)
            self._cut(silent, "Too many clients are connected, and this one was silent longest.")
        client = _Client(connected, peer, time.monotonic())
        self._clients.add(client)
        self._selector.register(connected, selectors.EVENT_READ, client)

    def _hear(self, client: _Client) -> None:
        try:
            packet, ancillary, flags, _ = client.socket.recvmsg(
                MAX_REQUEST_BYTES, socket.CMSG_LEN(_INT.size), socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return
        except OSError:
            packet, ancillary, flags = b"", [], 0
        file = _file_in(ancillary)
        try:
            taken = self._heed(client, packet, file, whole=not flags & socket.MSG_TRUNC)
        finally:
            client.heard_s = time.monotonic()
        if file is not None and not taken:
            os.close(file)

    def _heed(self, client: _Client, packet: bytes, file: int | None, *, whole: bool) -> bool:
        """Return whether the loop has the request now, and what came with it."""
        if not packet:  # the end; an empty packet is no request either
            self._cut(client)
            return False
        too_much = self._too_much(client)
        try:
            if not whole:
                raise BadRequest(f"The request has more than {MAX_REQUEST_BYTES} bytes.")
            asked = Asked(decode_ask(packet), client.peer, client, file)
        except BadRequest as error:
            self._cut(client, str(error))
            return False
        if asked.ask.do == "estop":
            self._estop(asked)
        if too_much:
            self._cut(client, f"More than {RATE_HZ:g} requests a second came.")
            return False
        return self._judge(asked)

    def _judge(self, asked: Asked) -> bool:
        ask, client = asked.ask, asked.client
        refusal = self._ownership.admit(ask, asked.peer)
        if ask.do == "operate":
            refusal = refusal or self._operate(ask)
        if refusal or ask.do in ("status", "estop", "own", "release", "operate"):
            self._say(client, ask.do, refusal)
        elif client.waits:
            self._cut(client, f"{ask.do} came before the request before it was answered.")
        elif not self._put(asked):
            self._say(client, ask.do, f"{ask.do} was not done: too many requests wait already.")
        else:
            client.waits = True
            os.eventfd_write(self._asked, 1)
            return ask.do == "load"
        return False

    def _put(self, asked: Asked) -> bool:
        with self._shared.lock:
            if len(self._shared.waiting) >= MAX_WAITING:
                return False
            self._shared.waiting.append(asked)
            return True

    def _operate(self, ask: Ask) -> str:
        """Past the loop, too: what a person wants is old after half a second."""
        takes, now_ns = self._about.operator, time.monotonic_ns()
        if takes is None:
            return "operate was not done: the policy observes nothing of an operator, and no dead-man switch is needed."
        if len(ask.values) != len(takes.values):
            return f"operate was not done: {len(ask.values)} values came; the run takes {len(takes.values)}."
        with self._shared.lock:
            if self._shared.wires is None:
                return "operate was not done: the run is starting or has ended."
            self._shared.wires.operate(ask.values, dead_man=ask.dead_man, at_ns=min(ask.at_ns or now_ns, now_ns))
        return ""

    def _estop(self, asked: Asked) -> None:
        with self._shared.lock:
            self._shared.estop_by = asked.who
            if self._shared.wires is not None:
                self._shared.wires.estop()
            else:
                self._shared.estop_early = True

    def _deliver(self) -> None:
        with self._shared.lock:
            answers = tuple(self._shared.answers)
            self._shared.answers.clear()
        for asked, refusal in answers:
            asked.client.waits = False
            if asked.client in self._clients:
                self._say(asked.client, asked.ask.do, refusal)

    def _say(self, client: _Client, do: str, refusal: str) -> None:
        status = replace(self._about, owner=self._ownership.owner, clients=len(self._clients), loop=self._loop)
        packet = encode_reply(Reply(VERSION, do, "refused" if refusal else "", refusal, status))
        try:
            client.socket.send(packet, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except OSError:  # it does not read what it asked for, or is gone
            self._cut(client)

    def _cut(self, client: _Client, why: str = "") -> None:
        if client not in self._clients:
            return
        if why:
            packet = encode_reply(Reply(VERSION, "", "bad", why, None))
            with contextlib.suppress(OSError):
                client.socket.send(packet, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        self._clients.discard(client)
        self._selector.unregister(client.socket)
        client.socket.close()

    @staticmethod
    def _too_much(client: _Client) -> bool:
        now_s = time.monotonic()
        client.allowance = min(BURST, client.allowance + (now_s - client.heard_s) * RATE_HZ) - 1.0
        return client.allowance < 0.0


def _file_in(ancillary: list[tuple[int, int, bytes]]) -> int | None:
    """Return the one descriptor that came with a packet; the kernel has closed any further ones."""
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS) and len(data) >= _INT.size:
            return int(_INT.unpack_from(data)[0])
    return None
