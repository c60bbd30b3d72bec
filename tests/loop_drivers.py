"""Robot drivers for tests, as a user would write them: three states and one torque, and all that can go wrong."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgerl.errors import PortError
from edgerl.runtime.layout import Layout
from edgerl.runtime.robot_port import RobotCommand, RobotDescription, RobotState
from edgerl.runtime.wire import StateFlag
from tests.loop_backends import ASLEEP, BUSY, SLOWER

MS = 1_000_000


class Obedient:
    """Measures nothing and writes down what it is told."""

    done_after = 30
    """Commands of the policy."""
    description = RobotDescription(command_timeout_ns=1000 * MS, lockstep_possible=True)

    def open(self, layout: Layout, period_ns: int) -> RobotDescription:
        self.layout, self.period_ns = layout, period_ns
        self.reads, self.driven = 0, 0
        self.note("open")
        return self.description

    def read(self, state: RobotState) -> None:
        self.reads += 1
        state.values[:] = 0.0
        if self.driven >= self.done_after:
            state.flags |= StateFlag.DONE

    def write(self, command: RobotCommand, valid_for_ns: int) -> None:
        if not valid_for_ns > 0:
            raise AssertionError(valid_for_ns)
        self.driven += command.mode == 2
        if self.driven == 1:
            self.note(f"driven with {float(command.values[0]):g}")

    def lapse(self) -> None:
        self.note("lapse")

    def close(self) -> None:
        self.note("close")

    def note(self, what: str) -> None:
        """Leave a trace that a test can read."""
        path = os.environ.get("DRIVER_NOTES")
        if path:
            with Path(path).open("a") as file:
                file.write(f"{what}\n")


class Endless(Obedient):
    """Is never done."""

    done_after = 10**9


class Swinging(Endless):
    """Its three states are never the same twice."""

    def read(self, state: RobotState) -> None:
        super().read(state)
        state.values[:] = np.sin(0.013 * self.reads), np.cos(0.017 * self.reads), 1e-5 * self.reads


class SlowingDown(Endless):
    """Its first state lets a moody policy take longer for one answer, long after it was armed."""

    def read(self, state: RobotState) -> None:
        super().read(state)
        state.values[0] = SLOWER if 400 <= self.driven < 440 else 0.5


class Joint(Endless):
    """A joint of 1 kg m² that moves as it is told in torques; its states are its position and its velocity."""

    def open(self, layout: Layout, period_ns: int) -> RobotDescription:
        self.position, self.velocity, self.torque = 0.0, 0.0, 0.0
        return super().open(layout, period_ns)

    def read(self, state: RobotState) -> None:
        super().read(state)
        period_s = self.period_ns * 1e-9
        self.velocity += self.torque * period_s
        self.position += self.velocity * period_s
        state.values[:] = self.position, self.velocity

    def write(self, command: RobotCommand, valid_for_ns: int) -> None:
        super().write(command, valid_for_ns)
        self.torque = float(command.values[0])

    def lapse(self) -> None:
        super().lapse()
        self.torque = 0.0


class WithButton(Endless):
    """Its e-stop is pressed as long as a file is there."""

    def read(self, state: RobotState) -> None:
        super().read(state)
        if Path(os.environ["DRIVER_BUTTON"]).exists():
            state.flags |= StateFlag.ESTOP


class PutsToSleep(Endless):
    """Its first state makes a moody policy sleep, once, after it was armed."""

    mood = ASLEEP

    def read(self, state: RobotState) -> None:
        super().read(state)
        state.values[0] = self.mood if 20 <= self.driven < 22 else 0.5


class KeepsBusy(PutsToSleep):
    """Makes it compute without end."""

    mood = BUSY


class Lockstep(Obedient):
    """Waits for every command."""

    def read(self, state: RobotState) -> None:
        super().read(state)
        state.flags |= StateFlag.LOCKSTEP
        state.stamp_ns = self.reads * self.period_ns


class OwnPace(Obedient):
    """Its measurements come when they come."""

    description = replace(Obedient.description, paced="robot")

    def read(self, state: RobotState) -> None:
        time.sleep(self.period_ns * 1e-9)
        state.stamp_ns = time.monotonic_ns()
        super().read(state)


class RaisesInRead(Obedient):
    """Has a bug."""

    def read(self, state: RobotState) -> None:
        super().read(state)
        if self.driven > 10:
            raise ZeroDivisionError("a bug\nof two lines")


class RaisesInWrite(Obedient):
    """Has another one."""

    def write(self, command: RobotCommand, valid_for_ns: int) -> None:
        super().write(command, valid_for_ns)
        if self.driven > 10:
            raise KeyError("hip")


class HangsInRead(Obedient):
    """Stops to measure."""

    def read(self, state: RobotState) -> None:
        super().read(state)
        if self.driven > 10:
            time.sleep(3600)


class ForgetsAChannel(Obedient):
    """Leaves one value as it was at first."""

    def read(self, state: RobotState) -> None:
        state.values[:2] = 0.0


class FromTheFuture(Obedient):
    """Stamps with another clock."""

    def read(self, state: RobotState) -> None:
        super().read(state)
        state.stamp_ns = time.monotonic_ns() + 3600 * 1000 * MS


class StandsStill(Obedient):
    """Sends the same stamp again."""

    def read(self, state: RobotState) -> None:
        super().read(state)
        state.stamp_ns = self.first = getattr(self, "first", state.stamp_ns)


class StrangeFlags(Obedient):
    """Sets a bit that means nothing."""

    def read(self, state: RobotState) -> None:
        super().read(state)
        state.flags |= 0x100


class OtherPeriod(Obedient):
    """Runs at a period of its own."""

    description = replace(Obedient.description, period_ns=7 * MS)


class ShortTimeout(Obedient):
    """Has drives that stop earlier than commands are valid."""

    description = replace(Obedient.description, command_timeout_ns=1)


class NoTimeout(Obedient):
    """Has drives that never stop by themselves."""

    description = replace(Obedient.description, command_timeout_ns=0)


class OtherChannels(Obedient):
    """Has not what is wanted."""

    def open(self, layout: Layout, period_ns: int) -> RobotDescription:
        raise PortError("this robot has no channel observation[0]")


class NotThere(Obedient):
    """Cannot reach its robot."""

    def open(self, layout: Layout, period_ns: int) -> RobotDescription:
        raise ConnectionRefusedError("no robot at 10.0.0.7")


class SaysNothing(Obedient):
    """Forgets to describe its robot."""

    def open(self, layout: Layout, period_ns: int) -> RobotDescription:
        return None  # type: ignore[return-value]


class Silent(Obedient):
    """Waits for its robot forever."""

    def open(self, layout: Layout, period_ns: int) -> RobotDescription:
        time.sleep(3600)
        return self.description


class NoDriver:
    """Has no methods."""


class Unmakable:
    """Needs something."""

    def __init__(self, address: str) -> None:
        raise AssertionError(address)


class Chatty(Obedient):
    """Prints, as people do."""

    def open(self, layout: Layout, period_ns: int) -> RobotDescription:
        print('{"event": "nothing of ours"}', flush=True)  # noqa: T201
        return super().open(layout, period_ns)


class Unhurried(OwnPace):
    """Takes a quarter more than its period, always."""

    def read(self, state: RobotState) -> None:
        time.sleep(self.period_ns * 0.25e-9)
        super().read(state)


class StopsPacing(OwnPace):
    """Measures nothing any more, a while after it was armed."""

    def read(self, state: RobotState) -> None:
        if self.driven > 20:
            time.sleep(2.0)
        super().read(state)


class Leaving(Endless):
    """Its first state grows from the tenth command of the policy on."""

    def read(self, state: RobotState) -> None:
        super().read(state)
        state.values[0] = 0.25 * max(0, self.driven - 10)
