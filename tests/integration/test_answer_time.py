"""A policy that is too slow for its envelope, with its real processes: it is never armed, and the error says why."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgerl.errors import PolicyTooSlow
from edgerl.runtime.control.listener import ControlOptions
from edgerl.runtime.enums import Mode, Source
from edgerl.runtime.load import Load
from edgerl.runtime.run import RunOptions, run_load
from edgerl.runtime.wire import StateFlag
from tests import loop_parts
from tests.loop_parts import MS, ScriptedRobot, children

pytestmark = pytest.mark.usefixtures("core")


@pytest.fixture(autouse=True)
def no_child_is_left():
    yield
    assert children() == {}


def load(period_ms: int, divider: int = 1, **envelope: object) -> Load:
    """A policy whose every inference takes 15 ms, and that always says 0.5."""
    spec = loop_parts.spec_of(period_ms * MS)
    spec = replace(spec, robot=replace(spec.robot, policy_divider=divider))
    return loop_parts.load_of(spec, loop_parts.linear(spec, np.zeros(3), bias=0.5), "seeing", **envelope)


def still(step: int):
    return np.full(3, 0.1), StateFlag(0), []


@pytest.mark.parametrize("arm", [True, False], ids=["armed by itself", "waiting to be armed"])
def test_a_policy_of_15_ms_is_never_armed_in_a_loop_of_10_ms(tmp_path, arm) -> None:
    options = RunOptions(arm=arm, control=ControlOptions("slow", path=str(tmp_path / "control")))
    slow = load(10)
    with ScriptedRobot(slow, still) as robot, pytest.raises(PolicyTooSlow) as caught:
        run_load(slow, robot.name, tmp_path / "run.mcap", options)
    for said in ("median of", "8 ms (budget_s)", "policy_divider = 4", "action_delay = 4"):
        assert said in str(caught.value)
    assert robot.commands
    assert {command.mode for command in robot.commands} <= {Mode.SAFE, Mode.STOPPED}
    assert {command.source for command in robot.commands} == {Source.SAFE}
    assert {tuple(command.values) for command in robot.commands} == {(0.0,)}
    assert robot.port.owner is None


def test_the_same_policy_is_armed_where_its_delay_leaves_it_time(tmp_path) -> None:
    slow = load(10, divider=4, degrade=loop_parts.Degrade(misses=40, of_ticks=400))
    with ScriptedRobot(slow, lambda step: still(step) if step < 40 else None) as robot:
        result = run_load(slow, robot.name, tmp_path / "run.mcap", RunOptions(arm=True))
    assert result.ended == "done", result.message
    assert np.float32(0.5) in {command.values[0] for command in robot.driven}


def test_one_that_has_less_than_twice_its_usual_time_is_warned_of(tmp_path) -> None:
    tight = load(40, budget_ns=25 * MS)
    with ScriptedRobot(tight, lambda step: still(step) if step < 10 else None) as robot:
        result = run_load(tight, robot.name, tmp_path / "run.mcap", RunOptions(arm=True))
    warning = result.warnings[-1]  # another one is of the robot's drives
    assert "may be late now and then" in warning
    assert "25 ms (budget_s)" in warning
