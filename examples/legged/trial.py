"""The simulated robot on trial: it is pushed while the policy drives it, and its whole course is written down.

A robot of your own needs none of this. ``edgerl run BUNDLE --robot pkg:trial:Trial`` ends by itself and writes to the
file that ``$LEGGED_TRACK`` names what no sensor of the robot could say.
"""

from __future__ import annotations

import os

import numpy as np
from driver import Walker

from edgerl.runtime.enums import Mode
from edgerl.runtime.layout import Layout
from edgerl.runtime.robot_port import RobotCommand, RobotDescription, RobotState
from edgerl.runtime.wire import StateFlag

TRACK = ("time_s", "driven_s", "mode", "upright", "height", "forward", "sideways", "yaw_rate")
PUSHES = ((2.5, (0.0, 0.5)), (4.0, (-0.6, 0.0)))
"""When, in [s] that the policy has driven, and which change of the trunk's velocity, in [m/s] of the world."""
DONE_S = 6.0


class Trial(Walker):
    """A robot that says that it is done when the policy has driven it for 6 s."""

    pushes = PUSHES
    done_s = DONE_S

    def open(self, layout: Layout, period_ns: int) -> RobotDescription:
        """Connect, and begin a course."""
        self._mode, self._driven_s, self._now_s, self._left = Mode.SAFE, 0.0, 0.0, list(self.pushes)
        self._track: list[tuple[float, ...]] = []
        return super().open(layout, period_ns)

    def read(self, state: RobotState) -> None:
        """Measure; push, and write down."""
        while self._left and self._driven_s >= self._left[0][0]:
            self.robot.push(self._left.pop(0)[1])
        super().read(state)
        self._now_s += self._period_s
        self._driven_s += self._period_s * (self._mode == Mode.ACTIVE)
        robot = self.robot
        self._track.append((self._now_s, self._driven_s, self._mode, robot.upright, robot.height, *robot.speed))
        if self._driven_s >= self.done_s:
            state.flags |= StateFlag.DONE

    def write(self, command: RobotCommand, valid_for_ns: int) -> None:
        """Hand the command to the drives."""
        self._mode = command.mode
        super().write(command, valid_for_ns)

    def close(self) -> None:
        """Save the course."""
        super().close()
        if path := os.environ.get("LEGGED_TRACK"):
            np.save(path, np.array(self._track))


class LockstepTrial(Trial):
    """The same in simulated time, which waits for every command."""

    def open(self, layout: Layout, period_ns: int) -> RobotDescription:
        """Connect, and say that time may wait."""
        self._reads, self._period_ns = 0, period_ns
        described = super().open(layout, period_ns)
        return RobotDescription(described.command_timeout_ns, lockstep_possible=True)

    def read(self, state: RobotState) -> None:
        """Measure at a time of the simulation's own."""
        super().read(state)
        self._reads += 1
        state.flags |= StateFlag.LOCKSTEP
        state.stamp_ns = self._reads * self._period_ns
