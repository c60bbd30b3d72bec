"""Robot drivers for tests, as a user would write them: a pendulum's three states and one torque, that do as told."""

from __future__ import annotations

import os
import time

from edgerl.runtime.layout import Layout
from edgerl.runtime.robot_port import RobotCommand, RobotDescription, RobotState
from edgerl.runtime.wire import StateFlag

MS = 1_000_000


class Obedient:
    """Measures nothing and writes down what it is told."""

    done_after = 60
    """Commands of the policy."""
    description = RobotDescription(command_timeout_ns=1000 * MS, lockstep_possible=True)

    def open(self, layout: Layout, period_ns: int) -> RobotDescription:
        self.layout, self.period_ns = layout, period_ns
        self.reads, self.driven = 0, 0
        return self.description

    def read(self, state: RobotState) -> None:
        self.reads += 1
        state.values[:] = 0.0
        if self.driven >= self.done_after:
            state.flags |= StateFlag.DONE

    def write(self, command: RobotCommand, valid_for_ns: int) -> None:
        assert valid_for_ns > 0
        self.driven += command.mode == 2

    def lapse(self) -> None:
        self.note("lapse")

    def close(self) -> None:
        self.note("close")

    def note(self, what: str) -> None:
        """Leave a trace that a test can read."""
        path = os.environ.get("DRIVER_NOTES")
        if path:
            with open(path, "a") as file:  # noqa: PTH123
                file.write(f"{what}\n")


class Lockstep(Obedient):
    """Waits for every command."""

    def read(self, state: RobotState) -> None:
        super().read(state)
        state.flags |= StateFlag.LOCKSTEP
        state.stamp_ns = self.reads * self.period_ns


class RaisesLater(Obedient):
    """Has a bug."""

    def read(self, state: RobotState) -> None:
        super().read(state)
        if self.driven > 10:
            raise ZeroDivisionError("a bug in read")


class HangsLater(Obedient):
    """Stops to measure."""

    def read(self, state: RobotState) -> None:
        super().read(state)
        if self.driven > 10:
            time.sleep(3600)
