"""The robot's side of the robot port: one owner, its session, its commands; everything else dropped and counted.

Follows ``docs/robot-port.md``. Knows nothing of Gymnasium, so it is also a start for a robot of your own in Python.
Time is ``time.monotonic_ns``. It never raises for what arrives.
"""

from __future__ import annotations

import select
import socket
import time
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from edgerl.runtime import wire
from edgerl.runtime.layout import Layout
from edgerl.runtime.port_key import PortKey, SessionKeys, fresh_nonce
from edgerl.runtime.robot_side import RobotSide
from edgerl.runtime.wire import Cause, Header, Refusal

Address = tuple[str, int]
Leaving = Literal["left", "silent"]

SESSION_TIMEOUT_NS = 2_000_000_000
"""Silence that frees the session; the least that the protocol allows."""
FIRST_COMMAND_NS = 20_000_000_000
"""Silence between WELCOME and the first command that frees it: a controller may have died while it was starting."""
MAX_CLAIMS = 8
"""Controllers that were welcomed and have not confirmed yet; each costs memory, and anybody can replay a HELLO."""
_HELLO = wire.Kind.HELLO.to_bytes(2, "little")


@dataclass(frozen=True, eq=False)
class Owner:
    """The controller that has the session."""

    address: Address
    session: int
    period_ns: int
    side: RobotSide


@dataclass(frozen=True, eq=False)
class Arrival:
    """An accepted command and when it came."""

    command: wire.Command
    arrived_ns: int


@dataclass(frozen=True, eq=False)
class _Claim:
    """A controller that knows the key and has not yet shown that it knows the session's."""

    hello: wire.Hello
    nonce: bytes
    keys: SessionKeys


class UdpRobotSide:
    """A UDP socket that gives itself to one controller at a time.

    Args:
        address: Host and port to listen on; port 0 for any.
        layout: The robot's channels.
        period_ns: The robot's control period; None adopts the controller's.
        lockstep_possible: Whether the robot may wait for commands.
        key: What a controller must know; None lets anybody have the robot.
    """

    def __init__(
        self,
        address: Address,
        layout: Layout,
        period_ns: int | None,
        *,
        lockstep_possible: bool,
        key: PortKey | None = None,
    ) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.settimeout(0.0)
        self.address: Address = self._socket.getsockname()
        self._layout = layout
        self._period_ns = period_ns
        self._flags = wire.WelcomeFlag.LOCKSTEP_POSSIBLE if lockstep_possible else wire.WelcomeFlag(0)
        self._key = key
        self._claims: dict[tuple[int, Address], _Claim] = {}
        self.owner: Owner | None = None
        self.left: Leaving | None = None
        """How the last owner went; None while there is one or was none."""
        self.accepted = 0
        self.dropped: Counter[Cause] = Counter()
        self.refused: Counter[Refusal] = Counter()
        self._answered: Counter[wire.Kind] = Counter()
        self._free_at_ns = 0
        self._last_hello = 0

    def close(self) -> None:
        """Tell the owner and close the socket."""
        if self.owner is not None:
            self._send(self.owner.side.bye(0), self.owner.address)
        self._socket.close()

    def claim(self, until_ns: int) -> Owner | None:
        """Wait for a controller to take the session."""
        while self.owner is None and self._readable(until_ns):
            self._take()
        return self.owner

    def publish(self, values: wire.Floats, flags: wire.StateFlag, stamp_ns: int) -> int:
        """Send a STATE to the owner and return its sequence; nothing is sent where there is no owner."""
        if self.owner is None:
            return 0
        sequence, datagram = self.owner.side.state(values, flags, stamp_ns)
        self._send(datagram, self.owner.address)
        return sequence

    def receive(self, until_ns: int) -> Arrival | None:
        """Return the next accepted command, or None when ``until_ns`` has come or the owner is gone."""
        while self.owner is not None and self._readable(until_ns):
            arrival = self._take()
            if arrival is not None:
                return arrival
            self._free_if_silent()
        self._free_if_silent()
        return None

    def _readable(self, until_ns: int) -> bool:
        """Wait for a datagram; select() has microseconds where poll() rounds up to milliseconds."""
        timeout_s = max(0, until_ns - time.monotonic_ns()) * 1e-9
        return bool(select.select([self._socket], [], [], timeout_s)[0])

    def _take(self) -> Arrival | None:
        try:
            data, sender = self._socket.recvfrom(65536)
        except OSError:  # a checksum that failed in the kernel, or an ICMP report of a controller that is gone
            return None
        arrived_ns = time.monotonic_ns()
        try:
            message = self._decode(data, sender)
            if isinstance(message, wire.Hello):
                self._greet(message, sender)
                return None
            return self._from_owner(message, sender, arrived_ns)
        except wire.BadDatagram as error:
            if error.cause is Cause.VERSION:
                self._answer_version(data, sender)
            self.dropped[error.cause] += 1
            return None

    def _decode(self, data: bytes, sender: Address) -> wire.Message:
        """Which key a datagram must be tagged with depends on how far its sender has come."""
        if self._key is None:
            return wire.decode(data)
        if data[6:8] != _HELLO:
            if self.owner is None:
                raise wire.BadDatagram(Cause.SESSION, "nobody has the session")
            return self.owner.side.decode(data)
        if self.owner is not None and (self.owner.session, self.owner.address) == (_session_of(data), sender):
            return self.owner.side.decode(data)
        claim = self._claims.get((_session_of(data), sender))
        if claim is not None:
            try:
                confirmed = wire.decode(data, claim.keys.to_robot)
            except wire.BadDatagram:
                pass  # its first HELLO again: the WELCOME was lost
            else:
                self._adopt(claim.hello, sender, claim.keys)
                return confirmed
        return wire.decode(data, self._key.hello())

    def _from_owner(self, message: wire.Message, sender: Address, arrived_ns: int) -> Arrival | None:
        owner = self.owner
        if owner is None or message.header.session != owner.session:
            raise wire.BadDatagram(Cause.SESSION, f"{message.header.session:016x}")
        if sender != owner.address:
            raise wire.BadDatagram(Cause.SENDER, f"{sender[0]}:{sender[1]}")
        accepted = owner.side.accept(message)
        if isinstance(accepted, wire.Bye):
            self._free("left")
            return None
        self.accepted += 1
        self._free_at_ns = arrived_ns + SESSION_TIMEOUT_NS
        return Arrival(accepted, arrived_ns)

    def _greet(self, hello: wire.Hello, sender: Address) -> None:
        owner, layout = self.owner, self._layout
        if owner is not None and (owner.session, owner.address) != (hello.header.session, sender):
            self._refuse(hello, sender, Refusal.BUSY, f"{owner.address[0]}:{owner.address[1]} has the session")
        elif (hello.layout_sha256, hello.state_count, hello.command_count) != (
            layout.sha256(),
            len(layout.state),
            len(layout.command),
        ):
            self._refuse(hello, sender, Refusal.LAYOUT_MISMATCH, _describe(layout))
        elif self._period_ns not in (None, hello.period_ns):
            self._refuse(hello, sender, Refusal.PERIOD_MISMATCH, f"the robot's period is {self._period_ns} ns")
        elif owner is not None:
            self._keep(hello)
            if self._key is None:
                self._welcome(hello, sender, b"")
        elif self._key is None:
            self._adopt(hello, sender, None)
            self._welcome(hello, sender, b"")
        else:
            self._welcome(hello, sender, self._claim(hello, sender, self._key).nonce)

    def _keep(self, hello: wire.Hello) -> None:
        """The owner is there and commands nothing; a HELLO of its that was recorded says nothing."""
        if hello.header.sequence > self._last_hello:
            self._last_hello = hello.header.sequence
            self._free_at_ns = max(self._free_at_ns, time.monotonic_ns() + SESSION_TIMEOUT_NS)

    def _claim(self, hello: wire.Hello, sender: Address, key: PortKey) -> _Claim:
        """An old HELLO that somebody recorded gets no further than this."""
        known = self._claims.get((hello.header.session, sender))
        if known is not None and known.hello.nonce == hello.nonce:
            return known
        while len(self._claims) >= MAX_CLAIMS:
            self._claims.pop(next(iter(self._claims)))
        nonce = fresh_nonce()
        claim = _Claim(hello, nonce, key.session(hello.header.session, hello.nonce, nonce))
        self._claims[hello.header.session, sender] = claim
        return claim

    def _welcome(self, hello: wire.Hello, sender: Address, nonce: bytes) -> None:
        header = self._header(wire.Kind.WELCOME, hello.header.session)
        welcome = wire.Welcome(header, self._layout.sha256(), hello.period_ns, 0, self._flags, nonce)
        self._send(wire.encode(welcome, self._answer_key(hello)), sender)

    def _adopt(self, hello: wire.Hello, sender: Address, keys: SessionKeys | None) -> None:
        session = hello.header.session
        side = RobotSide(session, len(self._layout.command), keys)
        self.owner = Owner(sender, session, hello.period_ns, side)
        self.left = None
        self._claims.clear()
        self._last_hello = hello.header.sequence
        self._free_at_ns = time.monotonic_ns() + FIRST_COMMAND_NS

    def _free(self, how: Leaving) -> None:
        self.owner = None
        self.left = how

    def _free_if_silent(self) -> None:
        """A controller that has not commanded yet may still be starting; one that has must go on."""
        if self.owner is not None and time.monotonic_ns() > self._free_at_ns:
            self._free("silent")

    def _refuse(self, hello: wire.Hello, sender: Address, code: Refusal, reason: str) -> None:
        self._say_refused(hello.header.session, sender, code, reason, self._answer_key(hello))

    def _answer_version(self, data: bytes, sender: Address) -> None:
        """In the plain form, which every controller can read."""
        session = _session_of(data)
        if data[6:8] == _HELLO and session:
            plain = self._key is not None and data[4:6] == wire.VERSION.to_bytes(2, "little")
            code = Refusal.KEY if plain else Refusal.VERSION
            said = "this robot takes only a controller that has its key" if plain else f"version {wire.VERSION}"
            self._say_refused(session, sender, code, said, None)

    def _say_refused(self, session: int, sender: Address, code: Refusal, reason: str, key: bytes | None) -> None:
        self.refused[code] += 1
        text = reason.encode()[: wire.MAX_REASON_BYTES].decode(errors="ignore")
        self._send(wire.encode(wire.Refused(self._header(wire.Kind.REFUSED, session), code, text), key), sender)

    def _answer_key(self, hello: wire.Hello) -> bytes | None:
        return self._key.answer(hello.nonce) if self._key is not None else None

    def _header(self, kind: wire.Kind, session: int) -> Header:
        self._answered[kind] += 1
        return Header(session, self._answered[kind], time.monotonic_ns())

    def _send(self, datagram: bytes, to: Address) -> None:
        try:
            self._socket.sendto(datagram, to)
        except OSError:  # full buffers or a lost route: to the controller it is one lost datagram
            return


def _session_of(data: bytes) -> int:
    return int.from_bytes(data[8:16], "little")


def _describe(layout: Layout) -> str:
    names = ", ".join(channel.name for channel in layout.command[:4])
    return f"the robot has {len(layout.state)} state and {len(layout.command)} command channels ({names}…)"
