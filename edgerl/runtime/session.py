"""The controller's side of the handshake: asks a robot for its session, over a connected UDP socket.

The socket is then the guardian's, which reads states and writes commands; the supervisor keeps a descriptor only to say
BYE at the end. Resends HELLO until answered; what is not an answer is ignored.
"""

from __future__ import annotations

import contextlib
import secrets
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from edgerl.errors import PortError
from edgerl.runtime import wire
from edgerl.runtime.layout import Layout
from edgerl.runtime.wire import Header, Refusal

HELLO_EVERY_NS = 100_000_000
_KEEP_SEQUENCE = 1_000_000
"""Above those of the handshake's own HELLOs."""


@dataclass(frozen=True)
class Terms:
    """What the controller offers in its HELLO."""

    layout: Layout
    period_ns: int
    budget_ns: int
    valid_for_ns: int


class Session:
    """A robot that is ours until :meth:`leave`.

    Attributes:
        socket: Connected, non-blocking UDP socket.
        id: The session's random number, not 0.
        welcome: What the robot said of itself.
    """

    def __init__(self, robot: socket.socket, session: int, welcome: wire.Welcome, terms: Terms) -> None:
        self.socket = robot
        self.id = session
        self.welcome = welcome
        self._terms = terms
        self._kept = 0

    def keep(self) -> None:
        """Say HELLO once more, so that the robot does not free a session in which nothing is commanded."""
        self._kept += 1
        header = Header(self.id, _KEEP_SEQUENCE + self._kept, time.monotonic_ns())
        with contextlib.suppress(OSError):  # the next one may get through; without any the robot frees the session
            self.socket.send(_hello(header, self._terms))

    def leave(self, reason: int = 0) -> None:
        """Say BYE and close; the robot frees the session. Harmless when called again."""
        if self.socket.fileno() < 0:
            return
        _say_bye(self.socket, self.id, reason)
        self.socket.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()


def open_session(
    address: tuple[str, int], terms: Terms, *, timeout_s: float = 5.0, meanwhile: Callable[[], None] = lambda: None
) -> Session:
    """Take the session of the robot at ``address``.

    Args:
        address: Host and port.
        terms: What is offered.
        timeout_s: How long the robot may take to answer.
        meanwhile: Called about every 100 ms; what it raises ends the wait.

    Raises:
        PortError: It did not answer in time, refused, or answered with another layout or period.
    """
    host, port = address
    session = secrets.randbelow(2**64 - 1) + 1
    robot = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        robot.settimeout(0.0)
        robot.connect(address)
        answer = _ask(robot, session, terms, timeout_s, meanwhile)
        if answer is None:
            raise PortError(
                f"The robot at {host}:{port} did not answer within {timeout_s:g} s. "
                "Expected one that speaks docs/robot-port.md on UDP; check that it runs and that the address is right."
            )
        if isinstance(answer, wire.Refused):
            raise PortError(f"The robot at {host}:{port} refused: {_refusal(answer)}")
        _check(answer, terms, f"{host}:{port}")
    except OSError as error:
        robot.close()
        raise PortError(f"The robot at {host}:{port} cannot be reached ({error}). Expected IPv4 HOST:PORT.") from error
    except BaseException:
        _say_bye(robot, session, 0)  # it may have taken us as its owner without our knowing
        robot.close()
        raise
    return Session(robot, session, answer, terms)


def _say_bye(robot: socket.socket, session: int, reason: int) -> None:
    bye = wire.encode(wire.Bye(Header(session, 1, time.monotonic_ns()), reason))
    with contextlib.suppress(OSError):  # the robot's end may be closed already
        robot.send(bye)
        robot.send(bye)  # UDP may lose one; without BYE the robot waits for its session time-out


def _ask(
    robot: socket.socket, session: int, terms: Terms, timeout_s: float, meanwhile: Callable[[], None]
) -> wire.Welcome | wire.Refused | None:
    until_ns = time.monotonic_ns() + round(timeout_s * 1e9)
    sequence = 0
    while (now_ns := time.monotonic_ns()) < until_ns:
        meanwhile()
        sequence += 1
        with contextlib.suppress(ConnectionRefusedError):  # nobody listened to the last one: it may be starting
            robot.send(_hello(Header(session, sequence, now_ns), terms))
        answer = _listen(robot, session, min(until_ns, now_ns + HELLO_EVERY_NS))
        if answer is not None:
            return answer
    return None


def _listen(robot: socket.socket, session: int, until_ns: int) -> wire.Welcome | wire.Refused | None:
    while (left_ns := until_ns - time.monotonic_ns()) > 0:
        if not select.select([robot], [], [], left_ns * 1e-9)[0]:
            return None
        try:
            message = wire.decode(robot.recv(65536))
        except ConnectionRefusedError:
            time.sleep(max(0.0, (until_ns - time.monotonic_ns()) * 1e-9))
            return None
        except wire.BadDatagram:
            continue
        if message.header.session == session and isinstance(message, (wire.Welcome, wire.Refused)):
            return message
    return None


def _hello(header: Header, terms: Terms) -> bytes:
    layout = terms.layout
    counts = len(layout.state), len(layout.command)
    times = terms.period_ns, terms.budget_ns, terms.valid_for_ns
    return wire.encode(wire.Hello(header, layout.sha256(), *times, *counts))


def _refusal(answer: wire.Refused) -> str:
    reason = "".join(letter if letter.isprintable() else "?" for letter in answer.reason)
    advice = {
        Refusal.LAYOUT_MISMATCH: "Its channels (names, order, units) must be those of the bundle; "
        "compare with edgerl inspect.",
        Refusal.BUSY: "Another controller has it; stop that one first, or wait until its session times out.",
        Refusal.PERIOD_MISMATCH: "Export the policy with the robot's period (period_s in the file for --spec).",
        Refusal.VERSION: "Update edgerl or the robot's side of the port.",
    }
    return f"{answer.code.name.lower().replace('_', ' ')} ({reason}). {advice[answer.code]}"


def _check(welcome: wire.Welcome, terms: Terms, where: str) -> None:
    """A robot that welcomes what it should have refused is broken in the one place that protects the motors."""
    if welcome.layout_sha256 != terms.layout.sha256() or welcome.period_ns != terms.period_ns:
        raise PortError(
            f"The robot at {where} welcomed a session with another layout or period ({welcome.period_ns} ns, ours is "
            f"{terms.period_ns} ns). Its side of the port must refuse that; mend it before anything moves."
        )
    if 0 < welcome.command_timeout_ns < terms.valid_for_ns:
        raise PortError(
            f"The robot's own time-out is {welcome.command_timeout_ns} ns, commands would claim to be valid for "
            f"{terms.valid_for_ns} ns. Lower valid_for to at most the robot's time-out."
        )
