"""A policy that does not answer any more: what the guardian does, who ends it, and who acts afterwards."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgerl.envelope import Degrade, Ladder
from edgerl.envelope.ladder import Rung
from edgerl.errors import RequestRefused
from edgerl.runtime.enums import Event, Mode, Source
from edgerl.runtime.recording.read import read_recording
from edgerl.runtime.run import RunOptions, run_load
from tests import loop_parts
from tests.asked_runs import OPTIONS, going, policies
from tests.loop_parts import MS

pytestmark = pytest.mark.usefixtures("core")
PERIOD = 20 * MS
SPEC = loop_parts.spec_of(PERIOD)
TIMEOUT = 100 * MS
LADDER = Ladder(2 * PERIOD, 4 * PERIOD, "a simulation", policy=(Rung("safe", 5 * PERIOD), Rung("hold", 3 * PERIOD)))


@pytest.fixture(autouse=True)
def no_child_is_left():
    yield
    assert loop_parts.children() == {}


@pytest.fixture(scope="module")
def load():
    """Its bundle lets it be late in nearly every tick, so that it is the time-out that speaks."""
    return loop_parts.load_of(
        SPEC, loop_parts.linear(SPEC, np.zeros(3), bias=0.5), "moody",
        inference_timeout_ns=TIMEOUT, degrade=Degrade(100, 100), ladder=LADDER, valid_for_ns=250 * MS,
    )  # fmt: skip


def assert_timed_out(rows) -> int:
    """The tick that names the time-out goes down the policy's own ladder; return it."""
    at = int(np.flatnonzero(rows["event"] == Event.INFERENCE_TIMEOUT)[0])
    assert (rows["from_mode"][at], rows["mode"][at], rows["source"][at]) == (Mode.ACTIVE, Mode.FALLBACK, Source.SAFE)
    answered = rows[:at][rows["action_ns"][:at] > 0]
    owed = int(answered["action_sequence"].max()) + 1  # the first observation that got no answer
    assert rows["write_ns"][at] - rows["post_ns"][owed] >= TIMEOUT
    before = rows[owed:at]
    assert len(before) >= 3
    assert (before["events"] & (1 << Event.ACTION_LATE) > 0).all()
    assert (before["source"] == Source.HOLD).all()
    assert (rows["write_ns"][owed : at + 1] > 0).all()
    after = rows[at:]
    sources = [int(one) for one in after["source"][after["mode"] == Mode.FALLBACK]]
    assert sorted(sources, key=[Source.SAFE, Source.HOLD].index) == sources
    assert set(sources) == {Source.SAFE, Source.HOLD}
    assert (after["command"][after["mode"] == Mode.FALLBACK] == 0).all()  # the safe command, then held
    return at


def test_a_policy_that_sleeps_is_a_fault_with_its_name_and_is_ended(load, tmp_path) -> None:
    result = run_load(load, "pkg:tests.loop_drivers:PutsToSleep", tmp_path / "run.mcap", RunOptions(arm=True))
    assert (result.ended, result.fault) == ("fault", "inference_timeout")
    assert "the policy owed an answer for too long" in result.message
    rows = read_recording(tmp_path / "run.mcap").records
    at = assert_timed_out(rows)
    assert rows["mode"][-1] == Mode.STOPPED
    assert (rows["source"][at:][rows["mode"][at:] == Mode.STOPPED] == Source.LAPSE).all()
    assert len(result.dumps) == 1


def test_after_one_that_computes_without_end_the_spare_acts_once_a_person_has_armed_it(load, tmp_path) -> None:
    robot = "pkg:tests.loop_drivers:KeepsBusy"
    with going(load, robot, tmp_path / "run.mcap", replace(OPTIONS, spare=True)) as run:
        run.stage("waiting")
        run.until(lambda _: len(policies()) == 2)
        hung = min(policies())
        run.client.arm()
        stopped = run.until(lambda status: (status.loop.stage, status.loop.mode) == ("stopped", "STOPPED"))
        assert stopped.loop.fault == "inference_timeout"
        assert "owed an answer for too long" in stopped.loop.message
        run.until(lambda status: status.loop.policy.state == "ready")
        assert hung not in policies()
        with pytest.raises(RequestRefused, match=r"owed an answer for too long.*edgerl rearm"):
            run.client.arm()
        assert run.client.rearm().loop.mode == "ACTIVE"
        run.until(lambda status: status.loop.ticks > stopped.loop.fault_tick + 40)
        run.client.stop()
        assert run.end().ended == "stopped"
    rows = read_recording(tmp_path / "run.mcap").records
    reset = int(np.flatnonzero(rows["event"] == Event.RESET)[0])
    assert_timed_out(rows[:reset])
    before, after = rows[:reset], rows[reset:]
    assert set(before["epoch"][before["action_ns"] > 0]) == {1}
    again = after[after["action_ns"] > 0]
    assert len(again) > 0
    assert set(again["epoch"]) == {2}
    assert set(again["acting_slot"]).isdisjoint(before["acting_slot"][before["action_ns"] > 0])
