"""The flags of a driver's states through real mailboxes: none is lost between two looks, none stays for ever."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from edgerl.runtime import core, driver_loop, wire
from edgerl.runtime.driver_loop import DriverLoop
from edgerl.runtime.enums import MAX_DATAGRAM, Mode, Result, Source
from edgerl.runtime.layout import Channel, Layout
from edgerl.runtime.robot_port import RobotCommand, RobotDescription, RobotState
from edgerl.runtime.robot_side import RobotSide
from edgerl.runtime.wire import Header, StateFlag
from tests.robot_links import ShmLink

MS = 1_000_000
SESSION = 77
LAYOUT = Layout((Channel("q", "rad"),), (Channel("tau", "Nm"),))
ESTOP = StateFlag.ESTOP


class Robot:
    """Says what it is told to."""

    flags = StateFlag(0)

    def read(self, state: RobotState) -> None:
        state.values[:] = 0.0
        state.flags |= self.flags

    def write(self, command: RobotCommand, valid_for_ns: int) -> None:
        pass

    def lapse(self) -> None:
        pass


class Looks:
    """A guardian and a robot that are moved on by one thing after the other, between two periods of a driver."""

    def __init__(self, link: ShmLink) -> None:
        self.robot, self.link = Robot(), link
        self.seen, self.buffer = ctypes.c_uint32(0), ctypes.create_string_buffer(MAX_DATAGRAM + 1)
        self.sent = 0
        memory = SimpleNamespace(state_address=link.state, command_address=link.command)
        self._story: Iterator[None] = iter(())
        self.loop = DriverLoop(
            cast("Any", self.robot), RobotDescription(0), RobotSide(SESSION, 1), cast("Any", memory),
            layout=LAYOUT, period_ns=2 * MS, over=lambda _: next(self._story, "left"),
        )  # fmt: skip

    def tell(self, story: Iterator[None]) -> None:
        """Let the driver run to the story's end; it is told a step further in each of its periods."""
        self._story = story
        assert self.loop.run() == "left"

    def state(self) -> wire.State:
        """Return the newest state."""
        data = core.take_datagram(self.link.state, self.seen, self.buffer, time.monotonic_ns() + 1000 * MS)
        message = wire.decode(data)
        assert isinstance(message, wire.State)
        return message

    def answer(self, state: wire.State, valid_for_ns: int = 10_000 * MS) -> None:
        self.sent += 1
        command = wire.Command(
            Header(SESSION, self.sent, time.monotonic_ns()), state.header.sequence, state.header.stamp_ns,
            valid_for_ns, Mode.SAFE, Source.SAFE, np.zeros(1, np.float32),
        )  # fmt: skip
        assert core.post_datagram(self.link.command, wire.encode(command)) == Result.OK

    def press(self) -> Iterator[None]:
        """For one period only."""
        self.robot.flags = ESTOP
        yield
        self.robot.flags = StateFlag(0)
        assert self.state().flags == ESTOP
        yield


@pytest.fixture
def looks() -> Iterator[Looks]:
    link = ShmLink()
    yield Looks(link)
    link.close()


def test_a_short_press_is_said_until_a_command_answers_it(looks) -> None:
    def story() -> Iterator[None]:
        yield
        looks.answer(looks.state())
        yield
        yield from looks.press()
        before = looks.state()
        assert before.flags == ESTOP
        until = time.monotonic_ns() + 100 * MS
        while time.monotonic_ns() < until:
            yield
            assert looks.state().flags == ESTOP
        looks.answer(before)
        yield
        yield
        assert looks.state().flags == 0

    looks.tell(story())


def test_a_press_that_nobody_answers_ends_a_while_after_its_release(looks, monkeypatch) -> None:
    """A guardian that was stopped sends nothing, and must be able to be reset."""
    monkeypatch.setattr(driver_loop, "KEPT_NS", 100 * MS)

    def story() -> Iterator[None]:
        yield
        looks.answer(looks.state(), valid_for_ns=5 * MS)
        yield
        yield from looks.press()
        released_ns = time.monotonic_ns()
        while (state := looks.state()).flags == ESTOP:
            yield
            assert time.monotonic_ns() < released_ns + 5_000 * MS
        assert state.flags == 0
        assert state.header.stamp_ns >= released_ns + 90 * MS
        looks.robot.flags = ESTOP
        pressed_ns = time.monotonic_ns()
        yield
        while time.monotonic_ns() < pressed_ns + 300 * MS:  # longer than it would be kept
            assert looks.state().flags == ESTOP  # as long as it is pressed
            yield

    looks.tell(story())


def test_while_a_command_is_valid_a_press_waits_for_its_answer(looks, monkeypatch) -> None:
    """Somebody commands, and may not have looked yet."""
    monkeypatch.setattr(driver_loop, "KEPT_NS", 20 * MS)

    def story() -> Iterator[None]:
        yield
        looks.answer(looks.state())
        yield
        yield from looks.press()
        until = time.monotonic_ns() + 200 * MS
        while time.monotonic_ns() < until:
            yield
            assert looks.state().flags == ESTOP

    looks.tell(story())
