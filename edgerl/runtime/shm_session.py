"""A session with a driver process, whose datagrams travel through shared memory.

The handshake is that of UDP, over a connected Unix socket that loses nothing: HELLO with the descriptors of the two
mailboxes, then WELCOME or REFUSED. The socket stays open; its end is the end of the other side.
"""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Callable

from edgerl.errors import PortError
from edgerl.runtime import wire
from edgerl.runtime.enums import MAX_DATAGRAM, PortKind
from edgerl.runtime.session import Session, Terms, check_welcome, describe_refusal, hello_of, new_session_id
from edgerl.runtime.structs import Config
from edgerl.runtime.unix_port import ControllerMemory, send_with
from edgerl.runtime.wire import Header

_LOOK_S = 0.1


class ShmSession(Session):
    """A driver's session."""

    def __init__(
        self,
        connection: socket.socket,
        session: int,
        welcome: wire.Welcome,
        memory: ControllerMemory,
        stack: contextlib.ExitStack,
    ) -> None:
        super().__init__(session, welcome)
        self.socket = connection
        self._memory = memory
        self._stack = stack

    @property
    def fds(self) -> tuple[int, ...]:
        """The mailbox to read and the mailbox to write."""
        return self._memory.for_guardian

    def configure(self, config: Config) -> None:
        """Session and shared memory."""
        config.session, config.port = self.id, PortKind.SHM

    def guardian_has_mapped(self) -> None:
        """Let nobody else write commands."""
        self._memory.guardian_has_mapped()

    def keep(self) -> None:
        """The open socket says it."""

    def leave(self, reason: int = 0) -> None:
        """Say BYE and close; the driver frees the session. Harmless when called again."""
        if self.socket.fileno() >= 0:
            _say_bye(self.socket, self.id, reason)
            self.socket.close()
            self._stack.close()


def open_shm_session(
    connection: socket.socket,
    terms: Terms,
    who: str,
    *,
    timeout_s: float,
    meanwhile: Callable[[], None] = lambda: None,
) -> ShmSession:
    """Take the session of the driver at the other end of ``connection``, which is then the session's.

    Args:
        connection: Unix socket, SOCK_SEQPACKET.
        terms: What is offered.
        who: The driver, for messages.
        timeout_s: How long it may take: importing it and connecting to its robot are part of that.
        meanwhile: Called about every 100 ms; what it raises ends the wait.

    Raises:
        PortError: It did not answer in time, refused, went away, or answered with another layout or period.
        PlatformError: This kernel has no sealed memory.
    """
    session = new_session_id()
    with contextlib.ExitStack() as stack:
        stack.callback(connection.close)
        memory = ControllerMemory(stack, terms.layout)
        stack.callback(_say_bye, connection, session, 0)
        connection.settimeout(0.0)
        datagram = wire.encode(hello_of(Header(session, 1, time.monotonic_ns()), terms))
        try:
            send_with(connection, datagram, memory.for_driver)
            answer = _answer(connection, session, who, time.monotonic() + timeout_s, meanwhile)
        except OSError as error:
            raise PortError(f"{who} went away during the handshake ({error.strerror}). See what it printed.") from error
        if answer is None:
            raise PortError(
                f"{who} did not answer within {timeout_s:g} s. Its open() may wait for a robot that is not there."
            )
        if isinstance(answer, wire.Refused):
            raise PortError(f"{who} refused: {describe_refusal(answer)}")
        check_welcome(answer, terms, who)
        memory.driver_has_mapped()
        keep = stack.pop_all()
    return ShmSession(connection, session, answer, memory, keep)


def _answer(
    connection: socket.socket, session: int, who: str, until: float, meanwhile: Callable[[], None]
) -> wire.Welcome | wire.Refused | None:
    while (left_s := until - time.monotonic()) > 0:
        meanwhile()
        if not select.select([connection], [], [], min(left_s, _LOOK_S))[0]:
            continue
        data = connection.recv(MAX_DATAGRAM + 1)
        if not data:
            raise PortError(f"{who} closed the connection before it had answered. See what it printed.")
        try:
            message = wire.decode(data)
        except wire.BadDatagram as error:
            raise PortError(f"{who} answered with what is no datagram ({error}).") from error
        if message.header.session == session and isinstance(message, (wire.Welcome, wire.Refused)):
            return message
    return None


def _say_bye(connection: socket.socket, session: int, reason: int) -> None:
    bye = wire.encode(wire.Bye(Header(session, 1, time.monotonic_ns()), reason))
    with contextlib.suppress(OSError):  # the driver may be gone
        connection.send(bye, socket.MSG_NOSIGNAL)
