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

import numpy as np

from edgerl.runtime import wire
from edgerl.runtime.layout import Layout
from edgerl.runtime.wire import Cause, Header, Refusal

Address = tuple[str, int]
Leaving = Literal["left", "silent"]

SESSION_TIMEOUT_NS = 2_000_000_000
"""Silence that frees the session; the least that the protocol allows."""
FIRST_COMMAND_NS = 20_000_000_000
"""Silence between WELCOME and the first command that frees it: a controller may have died while it was starting."""


@dataclass(frozen=True)
class Owner:
    """The controller that has the session."""

    address: Address
    session: int
    period_ns: int


@dataclass(frozen=True, eq=False)
class Arrival:
    """An accepted command and when it came."""

    command: wire.Command
    arrived_ns: int


class RobotPort:
    """A UDP socket that gives itself to one controller at a time.

    Args:
        address: Host and port to listen on; port 0 for any.
        layout: The robot's channels.
        period_ns: The robot's control period; None adopts the controller's.
        lockstep_possible: Whether the robot may wait for commands.
    """

    def __init__(self, address: Address, layout: Layout, period_ns: int | None, *, lockstep_possible: bool) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.settimeout(0.0)
        self.address: Address = self._socket.getsockname()
        self._layout = layout
        self._period_ns = period_ns
        self._flags = wire.WelcomeFlag.LOCKSTEP_POSSIBLE if lockstep_possible else wire.WelcomeFlag(0)
        self.owner: Owner | None = None
        self.left: Leaving | None = None
        """How the last owner went; None while there is one or was none."""
        self.accepted = 0
        self.dropped: Counter[Cause] = Counter()
        self.refused: Counter[Refusal] = Counter()
        self._sent: Counter[wire.Kind] = Counter()
        self._stamps: dict[int, int] = {}
        self._last_command = 0
        self._free_at_ns = 0

    def close(self) -> None:
        """Tell the owner and close the socket."""
        if self.owner is not None:
            self._send(wire.Bye(self._header(wire.Kind.BYE, self.owner.session), 0), self.owner.address)
        self._socket.close()

    def claim(self, until_ns: int) -> Owner | None:
        """Wait for a controller to take the session."""
        while self.owner is None and self._readable(until_ns):
            self._take()
        return self.owner

    def publish(self, values: wire.Floats, flags: wire.StateFlag, stamp_ns: int) -> int:
        """Send a STATE to the owner and return its sequence; nothing is sent where there is no owner."""
        owner = self.owner
        if owner is None:
            return 0
        header = self._header(wire.Kind.STATE, owner.session, stamp_ns)
        self._stamps[header.sequence] = stamp_ns
        self._stamps.pop(header.sequence - 256, None)
        self._send(wire.State(header, flags, values), owner.address)
        return header.sequence

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
            message = wire.decode(data)
        except wire.BadDatagram as error:
            if error.cause is Cause.VERSION:
                self._answer_version(data, sender)
            self.dropped[error.cause] += 1
            return None
        if isinstance(message, wire.Hello):
            self._greet(message, sender)
            return None
        return self._from_owner(message, sender, arrived_ns)

    def _from_owner(self, message: wire.Message, sender: Address, arrived_ns: int) -> Arrival | None:
        if self.owner is None or message.header.session != self.owner.session:
            self.dropped[Cause.SESSION] += 1
        elif sender != self.owner.address:
            self.dropped[Cause.SENDER] += 1
        elif isinstance(message, wire.Bye):
            self._free("left")
        elif not isinstance(message, wire.Command):
            self.dropped[Cause.KIND] += 1
        else:
            cause = self._fault_of(message)
            if cause is None:
                self.accepted += 1
                self._last_command = message.header.sequence
                self._free_at_ns = arrived_ns + SESSION_TIMEOUT_NS
                return Arrival(message, arrived_ns)
            self.dropped[cause] += 1
        return None

    def _fault_of(self, command: wire.Command) -> Cause | None:
        if command.values.size != len(self._layout.command) or not np.isfinite(command.values).all():
            return Cause.FIELD
        if command.header.sequence <= self._last_command:
            return Cause.SEQUENCE
        if self._stamps.get(command.state_sequence) != command.state_stamp_ns:
            return Cause.SEQUENCE
        return None

    def _greet(self, hello: wire.Hello, sender: Address) -> None:
        owner, layout = self.owner, self._layout
        session = hello.header.session
        if owner is not None and (owner.session, owner.address) != (session, sender):
            self._refuse(session, sender, Refusal.BUSY, f"{owner.address[0]}:{owner.address[1]} has the session")
        elif (hello.layout_sha256, hello.state_count, hello.command_count) != (
            layout.sha256(),
            len(layout.state),
            len(layout.command),
        ):
            self._refuse(session, sender, Refusal.LAYOUT_MISMATCH, _describe(layout))
        elif self._period_ns not in (None, hello.period_ns):
            self._refuse(session, sender, Refusal.PERIOD_MISMATCH, f"the robot's period is {self._period_ns} ns")
        else:
            if owner is None:
                self._adopt(hello, sender)
            else:
                self._free_at_ns = max(self._free_at_ns, time.monotonic_ns() + SESSION_TIMEOUT_NS)
            header = self._header(wire.Kind.WELCOME, session)
            self._send(wire.Welcome(header, layout.sha256(), hello.period_ns, 0, self._flags), sender)

    def _adopt(self, hello: wire.Hello, sender: Address) -> None:
        self.owner = Owner(sender, hello.header.session, hello.period_ns)
        self.left = None
        self._stamps.clear()
        self._sent.clear()
        self._last_command = 0
        self._free_at_ns = time.monotonic_ns() + FIRST_COMMAND_NS

    def _free(self, how: Leaving) -> None:
        self.owner = None
        self.left = how

    def _free_if_silent(self) -> None:
        """A controller that has not commanded yet may still be starting; one that has must go on."""
        if self.owner is not None and time.monotonic_ns() > self._free_at_ns:
            self._free("silent")

    def _refuse(self, session: int, sender: Address, code: Refusal, reason: str) -> None:
        self.refused[code] += 1
        text = reason.encode()[: wire.MAX_REASON_BYTES].decode(errors="ignore")
        self._send(wire.Refused(self._header(wire.Kind.REFUSED, session), code, text), sender)

    def _answer_version(self, data: bytes, sender: Address) -> None:
        session = int.from_bytes(data[8:16], "little")
        if data[6:8] == wire.Kind.HELLO.to_bytes(2, "little") and session:
            self._refuse(session, sender, Refusal.VERSION, f"this robot speaks version {wire.VERSION}")

    def _header(self, kind: wire.Kind, session: int, stamp_ns: int | None = None) -> Header:
        self._sent[kind] += 1
        return Header(session, self._sent[kind], time.monotonic_ns() if stamp_ns is None else stamp_ns)

    def _send(self, message: wire.Message, to: Address) -> None:
        try:
            self._socket.sendto(wire.encode(message), to)
        except OSError:  # full buffers or a lost route: to the controller it is one lost datagram
            return


def _describe(layout: Layout) -> str:
    names = ", ".join(channel.name for channel in layout.command[:4])
    return f"the robot has {len(layout.state)} state and {len(layout.command)} command channels ({names}…)"
