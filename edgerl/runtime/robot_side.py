"""One session as the robot sees it: what it sends is numbered, and what it accepts answers that.

Every robot needs these rules, however its datagrams travel: over UDP (:mod:`edgerl.hil.port`) or through shared memory
(:mod:`edgerl.runtime.driver_process`). Nothing here opens a socket; the clock is ``time.monotonic_ns``.
"""

from __future__ import annotations

import time
from collections import Counter

import numpy as np

from edgerl.runtime import wire
from edgerl.runtime.port_key import SessionKeys
from edgerl.runtime.wire import BadDatagram, Cause, Header, Kind

REMEMBERED = 256
"""States that a command may answer; an older one is long invalid."""


class RobotSide:
    """The robot's half of one session.

    Args:
        session: Its number.
        command_count: Values of a command.
        keys: Where its datagrams carry tags.
    """

    def __init__(self, session: int, command_count: int, keys: SessionKeys | None = None) -> None:
        self.session = session
        self.keys = keys
        self._count = command_count
        self._sends = keys.to_controller if keys else None
        self._hears = keys.to_robot if keys else None
        self._sent: Counter[Kind] = Counter()
        self._stamps: dict[int, int] = {}
        self._last_command = 0

    def header(self, kind: Kind, stamp_ns: int | None = None) -> Header:
        """Return the header of the next datagram of this kind."""
        self._sent[kind] += 1
        return Header(self.session, self._sent[kind], time.monotonic_ns() if stamp_ns is None else stamp_ns)

    def state(self, values: wire.Floats, flags: int, stamp_ns: int) -> tuple[int, bytes]:
        """Return the sequence and the datagram of a new STATE."""
        header = self.header(Kind.STATE, stamp_ns)
        self._stamps[header.sequence] = stamp_ns
        self._stamps.pop(header.sequence - REMEMBERED, None)
        return header.sequence, wire.encode(wire.State(header, wire.StateFlag(flags), values), self._sends)

    def bye(self, reason: int) -> bytes:
        """Return the datagram of a BYE."""
        return wire.encode(wire.Bye(self.header(Kind.BYE), reason), self._sends)

    def decode(self, data: bytes) -> wire.Message:
        """Return the message of a datagram in this session's form.

        Raises:
            BadDatagram: It is none.
        """
        return wire.decode(data, self._hears)

    def accept(self, message: wire.Message) -> wire.Command | wire.Bye:
        """Return a message of this session that the robot must obey.

        Raises:
            BadDatagram: It is another session's, nothing that a controller says, older than the last one, or it answers
                no state of this robot.
        """
        if message.header.session != self.session:
            raise BadDatagram(Cause.SESSION, f"{message.header.session:016x}")
        if isinstance(message, wire.Bye):
            return message
        if not isinstance(message, wire.Command):
            raise BadDatagram(Cause.KIND, type(message).__name__)
        if message.values.size != self._count or not np.isfinite(message.values).all():
            raise BadDatagram(Cause.FIELD, f"{message.values.size} values")
        if message.header.sequence <= self._last_command:
            raise BadDatagram(Cause.SEQUENCE, f"{message.header.sequence} after {self._last_command}")
        if self._stamps.get(message.state_sequence) != message.state_stamp_ns:
            raise BadDatagram(Cause.SEQUENCE, f"it answers no state ({message.state_sequence})")
        self._last_command = message.header.sequence
        return message
