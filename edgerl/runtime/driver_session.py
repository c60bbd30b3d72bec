"""A driver process and one controller: the handshake over their socket, the session, and its end.

The robot is opened when a controller has come, with the channels that it names, and closed when it has gone. A second
one is refused while there is a first. That a controller went without BYE shows at the socket; its guardian may still
command, so the session goes on until no command has come for a while.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from edgerl.errors import DriverError, EdgerlError, PortError
from edgerl.runtime import wire
from edgerl.runtime.driver_lines import Leaving, SessionEnd
from edgerl.runtime.driver_loop import DriverLoop
from edgerl.runtime.enums import MAX_DATAGRAM
from edgerl.runtime.layout import Layout
from edgerl.runtime.realtime import be_ordinary, be_realtime
from edgerl.runtime.robot_port import RobotDescription, RobotPort
from edgerl.runtime.robot_side import RobotSide
from edgerl.runtime.unix_port import DriverMemory, map_for_driver, read_layout, receive_with
from edgerl.runtime.wire import Header, Hello, Refusal

ORPHANED_NS = 2_000_000_000
"""Without a supervisor, silence of the guardian that ends the session."""
BYE_FAULT = 2
_DESCRIPTORS = 3


@dataclass(frozen=True, eq=False)
class _Request:
    """What a controller asked for."""

    hello: Hello
    layout: Layout
    memory: DriverMemory


class DriverSession:
    """A controller that has the robot.

    Args:
        connection: Its socket.
        robot: Open.
        description: What the robot said of itself.
        request: What the controller asked for.
    """

    def __init__(
        self, connection: socket.socket, robot: RobotPort, description: RobotDescription, request: _Request
    ) -> None:
        self._connection = connection
        self._robot = robot
        self._period_ns = request.hello.period_ns
        self._alone = False
        self._side = RobotSide(request.hello.header.session, len(request.layout.command))
        self._loop = DriverLoop(
            robot, description, self._side, request.memory,
            layout=request.layout, period_ns=self._period_ns, over=self._over,
        )  # fmt: skip
        self._stop: Callable[[], bool] = lambda: False
        self._meanwhile: Callable[[], None] = lambda: None

    def live(
        self, *, priority: int = 0, stop: Callable[[], bool], meanwhile: Callable[[], None] = lambda: None
    ) -> SessionEnd:
        """Serve the controller until it has gone, then close the robot.

        Args:
            priority: SCHED_FIFO priority to try for.
            stop: Whether this process is to end.
            meanwhile: Called once a period.

        Raises:
            Exception: Whatever the driver raises; the robot has lapsed then, and the controller knows.
        """
        self._stop, self._meanwhile = stop, meanwhile
        granted = be_realtime(priority, limit_us=max(500_000, 10 * self._period_ns // 1000))
        try:
            left = self._loop.run()
        except BaseException:
            with contextlib.suppress(Exception):
                self._robot.lapse()
            self._say_bye()
            with contextlib.suppress(Exception):
                self._robot.close()
            raise
        be_ordinary()
        if left == "stopped":
            self._say_bye()
        self._robot.close()
        return SessionEnd(left, granted, self._loop.counts)

    def _over(self, last_command_ns: int) -> Leaving | None:
        self._meanwhile()
        if self._stop():
            return "stopped"
        if self._alone:
            return "orphaned" if time.monotonic_ns() - last_command_ns > ORPHANED_NS else None
        try:
            data = self._connection.recv(MAX_DATAGRAM + 1, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        if not data:
            self._alone = True
            return None
        with contextlib.suppress(wire.BadDatagram):
            message = wire.decode(data)
            if isinstance(message, wire.Bye) and message.header.session == self._side.session:
                return "left"
        return None

    def _say_bye(self) -> None:
        """Guardian and supervisor need not wait for time-outs."""
        self._loop.say_bye(BYE_FAULT)
        with contextlib.suppress(OSError):
            self._connection.send(self._side.bye(BYE_FAULT), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)


def greet(
    connection: socket.socket, robot: RobotPort, *, timeout_s: float, stop: Callable[[], bool]
) -> DriverSession | None:
    """Hear a controller's HELLO and open the robot for it; None where it was refused, went or was told to end.

    Args:
        connection: Connected Unix socket, SOCK_SEQPACKET.
        robot: Closed.
        timeout_s: How long the HELLO may take.
        stop: Whether this process is to end.

    Raises:
        Exception: Whatever the driver raises when it is opened, but for a :class:`~edgerl.errors.PortError`, which
            the controller is told.
    """
    heard = _hear(connection, time.monotonic() + timeout_s, stop)
    if heard is None:
        return None
    hello, fds = heard
    try:
        request = _read(hello, fds)
    except EdgerlError as error:
        _refuse(connection, hello, Refusal.LAYOUT_MISMATCH, str(error))
        return None
    finally:
        for fd in fds:
            os.close(fd)
    return _open(connection, robot, request)


def refuse_busy(connection: socket.socket) -> None:
    """Tell a controller whose HELLO is there that another one has the robot; never waits."""
    heard = _hear(connection, time.monotonic(), lambda: False)
    if heard is not None:
        hello, fds = heard
        for fd in fds:
            os.close(fd)
        _refuse(connection, hello, Refusal.BUSY, "another controller has this driver")


def _hear(connection: socket.socket, until: float, stop: Callable[[], bool]) -> tuple[Hello, list[int]] | None:
    while not stop():
        left_s = until - time.monotonic()
        if not select.select([connection], [], [], max(0.0, min(left_s, 0.1)))[0]:
            if left_s <= 0:
                return None
            continue
        try:
            data, fds = receive_with(connection, _DESCRIPTORS)
        except OSError:
            return None
        try:
            message = wire.decode(data)
        except wire.BadDatagram:
            message = None
        if isinstance(message, Hello):
            return message, fds
        for fd in fds:
            os.close(fd)
        if not data:
            return None
    return None


def _read(hello: Hello, fds: list[int]) -> _Request:
    if len(fds) != _DESCRIPTORS:
        raise PortError(f"{len(fds)} descriptors came with HELLO; two mailboxes and the names of the channels should.")
    layout = read_layout(fds[2])
    counts = len(layout.state), len(layout.command)
    if hello.layout_sha256 != layout.sha256() or (hello.state_count, hello.command_count) != counts:
        raise PortError("The names of the channels that came with HELLO have another digest than it says.")
    if not 0 < hello.period_ns <= hello.valid_for_ns:
        raise PortError(f"A period of {hello.period_ns} ns and commands that are valid for {hello.valid_for_ns} ns.")
    return _Request(hello, layout, map_for_driver(fds[0], fds[1]))


def _open(connection: socket.socket, robot: RobotPort, request: _Request) -> DriverSession | None:
    hello = request.hello
    try:
        description = robot.open(request.layout, hello.period_ns)
    except PortError as error:
        _refuse(connection, hello, Refusal.LAYOUT_MISMATCH, str(error))
        return None
    _check(description, robot)
    if description.period_ns not in (None, hello.period_ns):
        robot.close()
        said = f"the robot's period is {description.period_ns} ns"
        _refuse(connection, hello, Refusal.PERIOD_MISMATCH, said)
        return None
    header = Header(hello.header.session, 1, time.monotonic_ns())
    flags = wire.WelcomeFlag(int(description.lockstep_possible))
    timeout_ns = description.command_timeout_ns
    welcome = wire.Welcome(header, hello.layout_sha256, hello.period_ns, timeout_ns, flags)
    try:
        connection.send(wire.encode(welcome), socket.MSG_NOSIGNAL)
    except OSError:  # it went while the robot was opened
        robot.close()
        return None
    return DriverSession(connection, robot, description, request)


def _check(description: object, robot: RobotPort) -> None:
    what = f"{type(robot).__name__}.open()"
    if not isinstance(description, RobotDescription):
        raise DriverError(f"{what} returned {description!r}. Expected a RobotDescription.")
    timeout_ns = description.command_timeout_ns
    if not isinstance(timeout_ns, int) or not 0 <= timeout_ns < 2**63 or description.paced not in ("driver", "robot"):
        raise DriverError(
            f"{what} returned {description!r}. Valid: command_timeout_ns of at least 0, paced 'driver' or 'robot'."
        )


def _refuse(connection: socket.socket, hello: Hello, code: Refusal, reason: str) -> None:
    text = reason.encode()[: wire.MAX_REASON_BYTES].decode(errors="ignore")
    header = Header(hello.header.session, 1, time.monotonic_ns())
    with contextlib.suppress(OSError):
        connection.send(wire.encode(wire.Refused(header, code, text)), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
