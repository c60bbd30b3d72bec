"""A policy that is too slow for its envelope, with its real processes: it is never armed, and the error says why."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

import numpy as np
import pytest

from edgerl.errors import PolicyTooSlow, RequestRefused
from edgerl.runtime.control.listener import ControlOptions
from edgerl.runtime.enums import Mode, Source
from edgerl.runtime.load import Load
from edgerl.runtime.run import RunOptions, run_load
from edgerl.runtime.wire import StateFlag
from tests import loop_parts
from tests.asked_runs import OPTIONS, going
from tests.loop_backends import TAKES_S
from tests.loop_parts import MS, ScriptedRobot, children

PATIENT = {"state_timeout_ns": 5_000 * MS}
"""The robot is a thread of a busy test."""
pytestmark = pytest.mark.usefixtures("core")


@pytest.fixture(autouse=True)
def no_child_is_left():
    yield
    assert children() == {}


def load(period_ms: int, divider: int = 1, backend: str = "seeing", **envelope: object) -> Load:
    """A policy whose every inference takes 15 ms, where the backend is not another one, and that always says 0.5."""
    spec = loop_parts.spec_of(period_ms * MS)
    spec = replace(spec, robot=replace(spec.robot, policy_divider=divider))
    return loop_parts.load_of(spec, loop_parts.linear(spec, np.zeros(3), bias=0.5), backend, **envelope)


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
    slow = load(10, divider=8, degrade=loop_parts.Degrade(misses=80, of_ticks=400), **PATIENT)
    with ScriptedRobot(slow, lambda step: still(step) if step < 20 else None) as robot:
        result = run_load(slow, robot.name, tmp_path / "run.mcap", RunOptions(arm=True))
    assert result.ended == "done", result.message
    assert np.float32(0.5) in {command.values[0] for command in robot.driven}


def test_one_that_has_less_than_twice_its_usual_time_is_warned_of(tmp_path) -> None:
    tight = load(40, budget_ns=25 * MS, degrade=loop_parts.Degrade(misses=80, of_ticks=400), **PATIENT)
    with ScriptedRobot(tight, lambda step: still(step) if step < 10 else None) as robot:
        result = run_load(tight, robot.name, tmp_path / "run.mcap", RunOptions(arm=True))
    warning = result.warnings[-1]  # another one is of the robot's drives
    assert "may be late now and then" in warning
    assert "25 ms (budget_s)" in warning


@pytest.mark.slow
def test_a_successor_that_is_too_slow_is_not_armed_either_and_the_client_is_told_why(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    quick = load(50, backend="tired")
    with going(quick, "gym:Pendulum-v1", tmp_path / "run.mcap", replace(OPTIONS, arm=False, stay=True)) as run:
        run.stage("waiting")
        run.client.arm()
        monkeypatch.setenv(TAKES_S, "0.045")
        os.kill(children()["policy"], signal.SIGKILL)
        run.stage("stopped")
        run.until(lambda status: status.loop.policy.state == "ready")
        with pytest.raises(RequestRefused, match=r"The policy is too slow: .* It was not armed\."):
            run.client.rearm()
        assert run.client.status().loop.mode == "STOPPED"
