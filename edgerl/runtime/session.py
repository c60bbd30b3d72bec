"""The controller's side of the handshake: asks a robot for its session, and says goodbye at the end.

Here over a connected UDP socket, which is then the guardian's to read states from and write commands to: HELLO is sent
again until it is answered, and what is no answer is ignored. A robot behind shared memory is asked in
:mod:`edgerl.runtime.shm_session`; both give a :class:`Session`.
"""

from __future__ import annotations

import contextlib
import secrets
import select
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING, cast

from edgerl.errors import PortError
from edgerl.runtime import wire
from edgerl.runtime.enums import MAX_DRAIN, PortKind
from edgerl.runtime.layout import Layout
from edgerl.runtime.port_key import PortKey, SessionKeys, fresh_nonce
from edgerl.runtime.structs import Config
from edgerl.runtime.wire import Header, Refusal

if TYPE_CHECKING:
    from typing_extensions import Self

HELLO_EVERY_NS = 100_000_000
RECEIVE_BYTES = MAX_DRAIN * 4096
"""Room for states while the guardian is held up, with what the kernel adds to each: when it is full, the newest are
dropped, so it has to hold more than the guardian reads in a tick, which is how it knows that what it read is old."""
_KEEP_SEQUENCE = 1_000_000
"""Above those of the handshake's own HELLOs."""


@dataclass(frozen=True)
class Terms:
    """What the controller offers in its HELLO."""

    layout: Layout
    period_ns: int
    budget_ns: int
    valid_for_ns: int


class Session(ABC):
    """A robot that is ours until :meth:`leave`.

    Attributes:
        id: The session's random number, not 0.
        welcome: What the robot said of itself.
    """

    def __init__(self, session: int, welcome: wire.Welcome) -> None:
        self.id = session
        self.welcome = welcome

    @property
    @abstractmethod
    def fds(self) -> tuple[int, ...]:
        """Descriptors that the guardian gets, in the order of its last arguments."""

    @abstractmethod
    def configure(self, config: Config) -> None:
        """Tell a guardian's configuration how the session's datagrams travel."""

    @abstractmethod
    def guardian_has_mapped(self) -> None:
        """Called once the guardian is ready."""

    @abstractmethod
    def keep(self) -> None:
        """Show that we are there while nothing is commanded, so that the robot does not free the session."""

    @abstractmethod
    def leave(self, reason: int = 0) -> None:
        """Say BYE and close; the robot frees the session. Harmless when called again."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()


class UdpSession(Session):
    """A session over a connected, non-blocking UDP socket, which the guardian gets a copy of."""

    def __init__(
        self,
        robot: socket.socket,
        hello: wire.Hello,
        welcome: wire.Welcome,
        keys: SessionKeys | None = None,
    ) -> None:
        super().__init__(hello.header.session, welcome)
        self.socket = robot
        self._hello = hello
        self._keys = keys
        self._kept = 0

    @property
    def fds(self) -> tuple[int, ...]:
        """The socket."""
        return (self.socket.fileno(),)

    def configure(self, config: Config) -> None:
        """Session, UDP, and the keys where there are any."""
        config.session, config.port = self.id, PortKind.UDP
        if self._keys is not None:
            config.authenticated = 1
            config.receive_key[:] = self._keys.to_controller
            config.send_key[:] = self._keys.to_robot

    def guardian_has_mapped(self) -> None:
        """Nothing is mapped."""

    def keep(self) -> None:
        """Say HELLO once more; another one may get through where this is lost."""
        self._kept += 1
        header = Header(self.id, _KEEP_SEQUENCE + self._kept, time.monotonic_ns())
        again = wire.encode(replace(self._hello, header=header), self._keys.to_robot if self._keys else None)
        with contextlib.suppress(OSError):
            self.socket.send(again)

    def leave(self, reason: int = 0) -> None:
        """Say BYE and close; the robot frees the session. Harmless when called again."""
        if self.socket.fileno() >= 0:
            _say_bye(self.socket, self.id, reason, self._keys)
            self.socket.close()


def new_session_id() -> int:
    """Return a number that no session had before."""
    return secrets.randbelow(2**64 - 1) + 1


def open_session(
    address: tuple[str, int],
    terms: Terms,
    *,
    key: PortKey | None = None,
    timeout_s: float = 5.0,
    meanwhile: Callable[[], None] = lambda: None,
) -> UdpSession:
    """Take the session of the robot at ``address``.

    Args:
        address: Host and port.
        terms: What is offered.
        key: What the robot shares with us; None for a robot that wants none.
        timeout_s: How long the robot may take to answer.
        meanwhile: Called about every 100 ms; what it raises ends the wait.

    Raises:
        PortError: It did not answer in time, refused, or answered with another layout or period.
    """
    where = f"{address[0]}:{address[1]}"
    robot = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asking = _Asking(robot, terms, key, time.monotonic_ns() + round(timeout_s * 1e9), meanwhile)
    try:
        robot.settimeout(0.0)
        robot.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        robot.connect(address)
        answer = asking.ask()
        if answer is None:
            raise PortError(
                f"The robot at {where} did not answer within {timeout_s:g} s. Expected one that speaks "
                f"docs/robot-port.md on UDP; check that it runs and that the address is right.{asking.hint}"
            )
        if isinstance(answer, wire.Refused):
            raise PortError(f"The robot at {where} refused: {describe_refusal(answer)}")
        check_welcome(answer, terms, f"The robot at {where}")
        if not asking.confirm(answer):
            raise PortError(
                f"The robot at {where} welcomed the session and sent no state within {timeout_s:g} s that is tagged "
                "with the session's key. Its side of the port does not follow docs/robot-port.md."
            )
    except OSError as error:
        robot.close()
        raise PortError(f"The robot at {where} cannot be reached ({error}). Expected IPv4 HOST:PORT.") from error
    except BaseException:
        _say_bye(robot, asking.session, 0, asking.keys)  # it may have taken us as its owner without our knowing
        robot.close()
        raise
    return UdpSession(robot, asking.hello(), answer, asking.keys)


class _Asking:
    """One attempt to get a session."""

    def __init__(
        self,
        robot: socket.socket,
        terms: Terms,
        key: PortKey | None,
        until_ns: int,
        meanwhile: Callable[[], None],
    ) -> None:
        self.session = new_session_id()
        self.keys: SessionKeys | None = None
        """Once the robot has given its part of them."""
        self.hint = ""
        """What somebody without the key said, for people."""
        self._robot = robot
        self._terms = terms
        self._key = key
        self._nonce = fresh_nonce() if key else b""
        self._until_ns = until_ns
        self._meanwhile = meanwhile
        self._sequence = 0

    def hello(self) -> wire.Hello:
        """Return the next HELLO."""
        self._sequence += 1
        return hello_of(Header(self.session, self._sequence, time.monotonic_ns()), self._terms, self._nonce)

    def ask(self) -> wire.Welcome | wire.Refused | None:
        """Repeat HELLO until the robot answers it; None: it did not."""
        first = self._key.hello() if self._key else None
        answer = self._key.answer(self._nonce) if self._key else None
        found = self._repeat(first, answer, (wire.Welcome, wire.Refused))
        if isinstance(found, wire.Welcome) and self._key:
            self.keys = self._key.session(self.session, self._nonce, found.nonce)
        return cast("wire.Welcome | wire.Refused | None", found)

    def confirm(self, welcome: wire.Welcome) -> bool:
        """Show that we know the session's key, so that a recorded HELLO opens nothing; True: the robot sends states."""
        if self.keys is None or not welcome.nonce:
            return self._key is None
        return self._repeat(self.keys.to_robot, self.keys.to_controller, (wire.State,)) is not None

    def _repeat(
        self, key: bytes | None, answer: bytes | None, kinds: tuple[type[wire.Message], ...]
    ) -> wire.Message | None:
        while (now_ns := time.monotonic_ns()) < self._until_ns:
            self._meanwhile()
            with contextlib.suppress(ConnectionRefusedError):  # nobody listened to the last one: it may be starting
                self._robot.send(wire.encode(self.hello(), key))
            found = self._listen(answer, kinds, min(self._until_ns, now_ns + HELLO_EVERY_NS))
            if found is not None:
                return found
        return None

    def _listen(self, key: bytes | None, kinds: tuple[type[wire.Message], ...], until_ns: int) -> wire.Message | None:
        while (left_ns := until_ns - time.monotonic_ns()) > 0:
            if not select.select([self._robot], [], [], left_ns * 1e-9)[0]:
                return None
            try:
                data = self._robot.recv(65536)
                message = wire.decode(data, key)
            except ConnectionRefusedError:
                time.sleep(max(0.0, (until_ns - time.monotonic_ns()) * 1e-9))
                return None
            except wire.BadDatagram:
                self._note(data)
                continue
            if message.header.session == self.session and type(message) in kinds:
                return message
        return None

    def _note(self, data: bytes) -> None:
        """A refusal without a tag proves nothing, but may be what a person needs to know."""
        if self._key is None:
            return
        with contextlib.suppress(wire.BadDatagram):
            message = wire.decode(data)
            if isinstance(message, wire.Refused) and message.header.session == self.session:
                self.hint = f" Somebody there, without the key, refused: {describe_refusal(message)}"


def _say_bye(robot: socket.socket, session: int, reason: int, keys: SessionKeys | None) -> None:
    header = Header(session, 1, time.monotonic_ns())
    bye = wire.encode(wire.Bye(header, reason), keys.to_robot if keys else None)
    with contextlib.suppress(OSError):  # the robot's end may be closed already
        robot.send(bye)
        robot.send(bye)  # UDP may lose one; without BYE the robot waits for its session time-out


def hello_of(header: Header, terms: Terms, nonce: bytes = b"") -> wire.Hello:
    """Return the HELLO that offers ``terms``."""
    layout = terms.layout
    counts = len(layout.state), len(layout.command)
    times = terms.period_ns, terms.budget_ns, terms.valid_for_ns
    return wire.Hello(header, layout.sha256(), *times, *counts, nonce)


def describe_refusal(answer: wire.Refused) -> str:
    """Return what a robot said and what to do about it, for people."""
    reason = "".join(letter if letter.isprintable() else "?" for letter in answer.reason)
    advice = {
        Refusal.LAYOUT_MISMATCH: "Its channels (names, order, units) must be those of the bundle; "
        "compare with edgerl inspect.",
        Refusal.BUSY: "Another controller has it; stop that one first, or wait until its session times out.",
        Refusal.PERIOD_MISMATCH: "Export the policy with the robot's period (period_s in the file for --spec).",
        Refusal.VERSION: "Update edgerl or the robot's side of the port; a robot without a key takes no --key.",
        Refusal.KEY: "Give the robot's key with --key FILE.",
    }
    return f"{answer.code.name.lower().replace('_', ' ')} ({reason}). {advice[answer.code]}"


def check_welcome(welcome: wire.Welcome, terms: Terms, who: str) -> None:
    """Refuse a robot that welcomes what it should have refused: it is broken in the place that protects the motors.

    Raises:
        PortError: It did.
    """
    if welcome.layout_sha256 != terms.layout.sha256() or welcome.period_ns != terms.period_ns:
        raise PortError(
            f"{who} welcomed a session with another layout or period ({welcome.period_ns} ns, ours is "
            f"{terms.period_ns} ns). Its side of the port must refuse that; mend it before anything moves."
        )
    if 0 < welcome.command_timeout_ns < terms.valid_for_ns:
        raise PortError(
            f"The robot's own time-out is {welcome.command_timeout_ns} ns, commands would claim to be valid for "
            f"{terms.valid_for_ns} ns. Lower valid_for to at most the robot's time-out."
        )
