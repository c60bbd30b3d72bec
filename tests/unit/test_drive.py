"""What the course of a run answers to those who ask, where the guardian would only not do it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from edgerl.runtime.course import Course
from edgerl.runtime.drive import Drive
from edgerl.runtime.enums import Event, Mode, Request, StateFlag
from edgerl.runtime.structs import Status


class Stopped:
    """A supervisor whose guardian was stopped by an e-stop, and whose policy is ready."""

    def __init__(self, flags: StateFlag) -> None:
        self.status = Status(mode=Mode.STOPPED, fault=Event.ESTOP, state_flags=flags)
        self.policies = SimpleNamespace(ready=True)
        self.asked: list[Request] = []

    def request(self, kind: Request) -> None:
        self.asked.append(kind)

    def judge_speed(self) -> str:
        return ""


def drive_of(supervisor: Stopped) -> Drive:
    course = Course(arms=False, stays=True, ticks=None, prepare_s=0.0, ladder_s=0.0, lapse_s=0.0)
    parts = cast("Any", supervisor)
    drive = Drive(parts, None, cast("Any", None), None, cast("Any", None), course=course, on_progress=lambda _: None)
    drive.stage = "stopped"
    return drive


@pytest.mark.parametrize("ask", [Drive.rearm, Drive.reset])
def test_nobody_gets_out_of_stopped_while_the_robots_estop_is_pressed(ask) -> None:
    supervisor = Stopped(StateFlag.ESTOP | StateFlag.WAITING)
    drive = drive_of(supervisor)
    assert ask(drive) == "The robot's e-stop is pressed. Release it there, then ask again."
    assert (supervisor.asked, drive.stage) == ([], "stopped")


@pytest.mark.parametrize(("ask", "stage"), [(Drive.rearm, "arming"), (Drive.reset, "stopped")])
def test_once_it_is_released_the_guardian_is_asked(ask, stage) -> None:
    supervisor = Stopped(StateFlag.WAITING)
    drive = drive_of(supervisor)
    assert ask(drive) == ""
    assert (supervisor.asked, drive.stage) == ([Request.RESET], stage)
