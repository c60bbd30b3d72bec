"""The periods of a driver process: measure, post, act on what the guardian answers, and lapse when nothing is valid.

A command is acted on at most as long as it says, counted in this process's clock from the stamp of the state that it
answers. So it does not matter why none comes: a dead guardian, a dead supervisor and a late one look the same here.
Nothing is logged, and nothing is caught of what the driver raises.
"""

from __future__ import annotations

import ctypes
import time
from collections import Counter
from collections.abc import Callable

import numpy as np

from edgerl.errors import DriverError
from edgerl.runtime import core
from edgerl.runtime.driver_lines import DriverCounts, Leaving
from edgerl.runtime.enums import MAX_DATAGRAM, Mode, Source
from edgerl.runtime.layout import Layout
from edgerl.runtime.robot_port import RobotCommand, RobotDescription, RobotPort, RobotState
from edgerl.runtime.robot_side import RobotSide
from edgerl.runtime.unix_port import DriverMemory
from edgerl.runtime.wire import BadDatagram, Bye, Cause, Command, StateFlag

ANSWER_SHARE = 0.9
"""A robot that sets the pace gets its next ``read`` after this share of a period at the latest."""
PATIENCE_NS = 1_000_000_000
"""Simulated time goes on without an answer after this."""
KEPT_NS = 1_000_000_000
"""A guardian that sends nothing answers nothing: an e-stop that was released is said for so long, and no longer."""
_STICKY = int(StateFlag.EPISODE_START | StateFlag.ESTOP)
_ESTOP = int(StateFlag.ESTOP)
_LOCKSTEP = int(StateFlag.LOCKSTEP)
_KNOWN = sum(StateFlag)
_MODES, _SOURCES = frozenset(map(int, Mode)), frozenset(map(int, Source))


class DriverLoop:
    """One session of a robot that is open.

    Args:
        robot: Open.
        description: What it said when it was opened.
        side: The session's numbers and rules.
        memory: The two mailboxes.
        layout: The channels.
        period_ns: Of the controller.
        over: Says every period whether the session is over, and how.
    """

    def __init__(
        self,
        robot: RobotPort,
        description: RobotDescription,
        side: RobotSide,
        memory: DriverMemory,
        *,
        layout: Layout,
        period_ns: int,
        over: Callable[[int], Leaving | None],
    ) -> None:
        self._robot = robot
        self._paced_here = description.paced == "driver"
        self._side = side
        self._memory = memory
        self._state_mailbox, self._command_mailbox = memory.state_address, memory.command_address
        self._period_ns = period_ns
        self._over = over
        self._state = RobotState(np.full(len(layout.state), np.nan, np.float32), 0, 0)
        self._seen = ctypes.c_uint32(0)
        self._buffer = ctypes.create_string_buffer(MAX_DATAGRAM + 1)
        self._sticky, self._sticky_since, self._pressed_ns = 0, 0, 0
        self._posted, self._answered = 0, 0
        self._valid_until_ns: int | None = None
        self._lockstep = False
        self._mode = int(Mode.SAFE)
        self.last_command_ns = time.monotonic_ns()
        """When the last command was acted on; before the first one, when the session began."""
        self._commands = self._expired = self._lapses = self._missed = 0
        self._dropped: Counter[Cause] = Counter()

    @property
    def counts(self) -> DriverCounts:
        """What it came to so far."""
        dropped = {cause.value: count for cause, count in self._dropped.items()}
        return DriverCounts(self._posted, self._commands, self._expired, self._lapses, self._missed, dropped)

    def run(self) -> Leaving:
        """Serve the session until it is over; the last command has lapsed then.

        Raises:
            DriverError: The driver gave a stamp that cannot be.
            Exception: Whatever the driver raises.
        """
        at_ns = time.monotonic_ns()
        while (leaving := self._over(self.last_command_ns)) is None:
            self._measure()
            at_ns = self._next(at_ns)
            if self._lockstep:
                self._act(time.monotonic_ns() + PATIENCE_NS, until_answered=True)
                if self._mode != Mode.ACTIVE:  # standing still is no race
                    time.sleep(max(0, at_ns - time.monotonic_ns()) * 1e-9)
            elif self._paced_here:
                self._act(at_ns, until_answered=False)
            else:
                self._act(time.monotonic_ns() + round(self._period_ns * ANSWER_SHARE), until_answered=True)
        if self._valid_until_ns is not None:
            self._lapse()
        return leaving

    def say_bye(self, reason: int) -> None:
        """Tell the guardian that no state comes any more."""
        core.post_datagram(self._state_mailbox, self._side.bye(reason))

    def _next(self, at_ns: int) -> int:
        """The next point of the grid; those that have passed are counted, never made up for."""
        now_ns = time.monotonic_ns()
        at_ns += self._period_ns
        if self._lockstep:  # simulated time may go by faster, and whoever waits for its point later would wait for long
            at_ns = min(at_ns, now_ns + self._period_ns)
        lost = max(0, (now_ns - at_ns) // self._period_ns)
        if self._paced_here and not self._lockstep:
            self._missed += lost
        return at_ns + lost * self._period_ns

    def _measure(self) -> None:
        state, before_ns = self._state, self._state.stamp_ns
        state.flags, state.stamp_ns = 0, time.monotonic_ns()
        self._robot.read(state)
        now_ns = time.monotonic_ns()
        lockstep = bool(state.flags & _LOCKSTEP)
        if (lockstep == self._lockstep and state.stamp_ns <= before_ns) or (not lockstep and state.stamp_ns > now_ns):
            raise DriverError(
                f"read() gave the stamp {state.stamp_ns} after {before_ns}, at {now_ns}. A stamp grows, and is a time "
                "of time.monotonic_ns() that has passed, or simulated time with the flag LOCKSTEP."
            )
        if state.flags & ~_KNOWN:
            raise DriverError(f"read() gave the flags 0x{state.flags:x}. Valid are the bits of StateFlag.")
        self._lockstep = lockstep
        self._posted, datagram = self._side.state(state.values, self._flags(), state.stamp_ns)
        core.post_datagram(self._state_mailbox, datagram)

    def _flags(self) -> int:
        """In a mailbox a state replaces the one before, so a flag that counts once stays until it is answered.

        An e-stop stops the answers, too. It must not keep the robot stopped for ever after it was released.
        """
        now_ns, flags = time.monotonic_ns(), int(self._state.flags)
        self._pressed_ns = now_ns if flags & _ESTOP else self._pressed_ns
        if self._sticky and self._answered >= self._sticky_since:
            self._sticky = 0
        elif self._valid_until_ns is None and now_ns - self._pressed_ns > KEPT_NS:
            self._sticky &= ~_ESTOP
        if flags & _STICKY & ~self._sticky:
            self._sticky |= flags & _STICKY
            self._sticky_since = self._posted + 1
        return flags | self._sticky

    def _act(self, until_ns: int, *, until_answered: bool) -> None:
        while True:
            wake_ns = until_ns
            if self._valid_until_ns is not None and not self._lockstep:
                wake_ns = min(until_ns, self._valid_until_ns + 1)
            data = core.take_datagram(self._command_mailbox, self._seen, self._buffer, wake_ns)
            if data:
                self._hear(data)
            if self._valid_until_ns is not None and self._now_ns() > self._valid_until_ns:
                self._lapse()
            if (until_answered and self._answered >= self._posted) or time.monotonic_ns() >= until_ns:
                return

    def _now_ns(self) -> int:
        """In the clock of the stamps."""
        return self._state.stamp_ns if self._lockstep else time.monotonic_ns()

    def _hear(self, data: bytes) -> None:
        try:
            message = self._side.accept(self._side.decode(data))
        except BadDatagram as error:
            self._dropped[error.cause] += 1
            return
        if isinstance(message, Bye):
            return  # the session's end is said on the socket
        if message.mode in _MODES and message.source in _SOURCES:
            self._obey(message)
        else:
            self._dropped[Cause.FIELD] += 1

    def _obey(self, command: Command) -> None:
        valid_until_ns = command.state_stamp_ns + command.valid_for_ns
        left_ns = valid_until_ns - self._now_ns()
        if left_ns <= 0:
            self._expired += 1
            return
        self._robot.write(RobotCommand(command.values, Mode(command.mode), Source(command.source)), left_ns)
        self._commands += 1
        self._mode = command.mode
        self._answered = command.state_sequence
        self._valid_until_ns = valid_until_ns
        self.last_command_ns = time.monotonic_ns()

    def _lapse(self) -> None:
        self._valid_until_ns = None
        self._lapses += 1
        self._robot.lapse()
