"""What an envelope says of the state and of the clock, in a run with real processes."""

from __future__ import annotations

import math
import threading

import numpy as np
import pytest

from edgerl.envelope.ladder import Ladder, Rung
from edgerl.envelope.state import StateLimits, StateSet
from edgerl.envelope.watchdog import Watchdog
from edgerl.errors import LoopError, RequestRefused
from edgerl.runtime.enums import Clock, Event, Mode, Source
from edgerl.runtime.recording.read import read_recording
from edgerl.runtime.run import RunOptions, run_load
from edgerl.runtime.supervisor import Timeouts
from edgerl.runtime.wire import StateFlag
from tests import loop_parts
from tests.asked_runs import going
from tests.loop_parts import MS, ScriptedRobot

SPEC = loop_parts.spec_of(20 * MS)
LOCKSTEP = RunOptions(realtime_s=0.0, arm=True, timeouts=Timeouts(arm_s=1.0))
OWN_LADDER = Ladder(0, 0, None, (Rung("hold", 40 * MS),), (Rung("safe", 60 * MS),), (Rung("hold", 40 * MS),))
"""Only a fault of the state leads to the safe command at once."""

pytestmark = pytest.mark.usefixtures("core")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    place = tmp_path / "r"
    place.mkdir(mode=0o700)
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(place))


@pytest.fixture(autouse=True)
def no_child_is_left():
    yield
    assert loop_parts.children() == {}


def limits(place: int, low: float = -math.inf, high: float = math.inf, **more) -> StateLimits:
    ends = {"start_low": -math.inf, "start_high": math.inf, "noisy": False, "unit": None, **more}
    return StateLimits(f"observation[{place}]", low=low, high=high, **ends)


def load(*channels: StateLimits, **envelope):
    envelope = {"ladder": OWN_LADDER, "state": StateSet(channels, None, None) if channels else None, **envelope}
    return loop_parts.load_of(SPEC, loop_parts.linear(SPEC, np.zeros(3), bias=0.5), **envelope)


def scripted(values):
    """Return a robot's script: what it measures in a step of its own."""

    def script(step: int):
        return np.asarray(values(step), np.float32), StateFlag.EPISODE_START if step == 0 else StateFlag(0), []

    return script


def assert_only_safe_after_the_fault(result, path) -> np.ndarray:
    """A fault of the state: no rung but its own. Returns the tick in which it was found."""
    assert [(span.mode, span.source) for span in result.modes][-2:] == [("FALLBACK", "safe"), ("STOPPED", "lapse")]
    rows = read_recording(path).records
    (first, *_) = rows[(rows["from_mode"] == Mode.ACTIVE) & (rows["mode"] == Mode.FALLBACK)]
    assert first["source"] == Source.SAFE
    assert first["command"] != np.float32(0.5)
    return first


def test_a_state_beyond_its_limit_ends_in_the_states_ladder_and_the_message_names_it(tmp_path):
    bound = load(limits(1, -2.0, 2.0), limits(2, high=0.0))
    with ScriptedRobot(bound, scripted(lambda step: (9.0, 0.25 * step, -1.0))) as robot:
        result = run_load(bound, robot.name, tmp_path / "run", LOCKSTEP)
    assert (result.ended, result.fault) == ("fault", "state_limit")
    assert "outside the limits of the envelope. observation[1] is 2.25, valid is -2 to 2." in result.message
    first = assert_only_safe_after_the_fault(result, tmp_path / "run")
    assert first["event"] == Event.STATE_LIMIT
    assert first["state"][1] == 2.25


def test_a_noisy_channel_that_is_stuck_ends_in_the_states_ladder_and_a_quiet_one_does_not(tmp_path):
    bound = load(limits(2, noisy=True), watchdog=Watchdog(None, 4, None))
    calls = iter(range(10**9))

    def values(step: int):
        return 1.0, 0.0, 0.5 if step >= 12 else 1e-3 * next(calls)

    with ScriptedRobot(bound, scripted(values)) as robot:
        result = run_load(bound, robot.name, tmp_path / "run", LOCKSTEP)
    assert (result.ended, result.fault) == ("fault", "state_frozen")
    assert "observation[2] is 0.5 since 5 states." in result.message
    assert len(robot.driven) == 16  # of steps 0 to 15, of which the last four are equal to one before
    assert assert_only_safe_after_the_fault(result, tmp_path / "run")["event"] == Event.STATE_FROZEN


def test_outside_of_the_start_set_nothing_is_armed_and_the_message_names_channel_value_and_set(tmp_path):
    bound = load(limits(0, -3.0, 3.0, start_low=-0.25, start_high=0.25), limits(1, start_high=1.0))
    with (
        ScriptedRobot(bound, scripted(lambda _: (0.5, 0.75, 0.0))) as robot,
        pytest.raises(LoopError) as refused,
    ):
        run_load(bound, robot.name, tmp_path / "run", LOCKSTEP)
    assert "did not arm within 1 s. What was missing: outside start. " in str(refused.value)
    assert str(refused.value).endswith("observation[0] is 0.5, its start set is -0.25 to 0.25.")
    assert robot.driven == []


def test_it_is_armed_once_the_robot_is_in_the_start_set(tmp_path):
    bound = load(limits(0, start_low=-0.25, start_high=0.25))
    moved = threading.Event()
    calls = iter(range(10**9))

    def script(step: int):
        if next(calls) > 200:
            moved.set()
        values = np.array([0.0 if moved.is_set() else 0.5, 0.0, 0.0])
        return None if step > 5 else (values, StateFlag(0), [])

    with ScriptedRobot(bound, script) as robot:
        result = run_load(bound, robot.name, tmp_path / "run", RunOptions(realtime_s=0.0, arm=True))
    assert result.ended == "done"
    rows = read_recording(tmp_path / "run").records
    outside, active = rows[rows["state"][:, 0] == 0.5], rows[rows["mode"] == Mode.ACTIVE]
    assert len(outside) >= 200
    assert (outside["mode"] == Mode.SAFE).all()
    assert len(active) >= 5


def test_the_robots_own_pace_is_the_clock(tmp_path):
    paced = load(clock="robot", valid_for_ns=500 * MS, state_timeout_ns=200 * MS)
    result = run_load(paced, "pkg:tests.loop_drivers:Unhurried", tmp_path / "run.mcap", RunOptions(arm=True))
    assert result.ended == "done"
    rows = read_recording(tmp_path / "run.mcap").records
    rows = rows[rows["from_mode"] == Mode.ACTIVE]
    assert len(rows) >= 25
    assert (rows["clock"] == Clock.ROBOT).all()
    assert (rows["tick_ns"] == rows["stamp_ns"]).all()
    assert (rows["observed"] == 1).all()  # the grid would have found no state in every fifth tick
    assert (np.diff(rows["tick_ns"].astype(np.int64)) >= 25 * MS).all()  # it waits: no faster than the robot


def test_a_robot_that_is_the_clock_and_stops_is_noticed(tmp_path):
    bound = load(clock="robot", state_timeout_ns=40 * MS, valid_for_ns=500 * MS)
    result = run_load(bound, "pkg:tests.loop_drivers:StopsPacing", tmp_path / "run.mcap", RunOptions(arm=True))
    assert (result.ended, result.fault) == ("fault", "bucket_fault")
    rows = read_recording(tmp_path / "run.mcap").records
    lost = rows[(rows["from_mode"] == Mode.ACTIVE) & (rows["events"] & 1 << Event.STATE_LOST > 0)]
    assert len(lost) >= 3
    assert (lost["source"][:2] == Source.HOLD).all()


def test_who_asks_to_arm_outside_of_the_start_set_is_told_the_value_and_so_is_who_asks_for_the_status(
    tmp_path,
):
    bound = load(limits(0, start_low=0.25, start_high=0.75), valid_for_ns=250 * MS)
    with going(bound, "pkg:tests.loop_drivers:Endless", tmp_path / "run") as run:
        run.stage("waiting")
        with pytest.raises(RequestRefused) as refused:
            run.client.arm()
        waiting = run.stage("waiting")
        run.client.stop()
        assert run.end().ended == "stopped"
    why = "What was missing: outside start. observation[0] is 0, its start set is 0.25 to 0.75."
    assert why in str(refused.value)
    assert why in waiting.loop.message
    assert waiting.loop.arm_missing == ("outside start",)


def test_a_fault_of_the_state_is_told_with_its_value_to_who_asks_for_the_status(tmp_path):
    bound = load(limits(0, -0.6, 0.6), valid_for_ns=250 * MS)
    with going(bound, "pkg:tests.loop_drivers:Leaving", tmp_path / "run") as run:
        run.stage("waiting")
        run.client.arm()
        stopped = run.stage("stopped").loop
        with pytest.raises(RequestRefused, match=r"observation.0. is .* then edgerl rearm"):
            run.client.arm()
        run.client.stop()
        result = run.end()
    assert stopped.fault == "state_limit"
    assert "limits of the envelope. observation[0] is 0.75, valid is -0.6 to 0.6." in stopped.message
    assert (result.ended, result.fault) == ("fault", "state_limit")
    assert "observation[0] is 0.75" in result.message
