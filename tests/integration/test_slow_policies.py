"""Policies slower than the control loop, in real time: 1 kHz ticks, an action every 20 of them.

What is asserted is what the recording says of every tick, never how fast this machine was: a busy machine may miss
periods or lose a state, and the rules hold for the ticks that there were.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from edgerl.envelope import Degrade
from edgerl.runtime.enums import Clock, Event, Mode, Source
from edgerl.runtime.recording.read import read_recording
from edgerl.runtime.run import RunOptions, run_load
from tests import loop_parts
from tests.asked_runs import going
from tests.loop_parts import MS

pytestmark = pytest.mark.usefixtures("core")
N = 20
PLAIN = loop_parts.spec_of(MS)
SPEC = replace(PLAIN, robot=replace(PLAIN.robot, policy_divider=N))
WEIGHTS = np.array([0.7, -0.9, 0.2], np.float32)
PATIENT = {"valid_for_ns": 200 * MS, "degrade": Degrade(1000, 1024)}


@pytest.fixture(autouse=True)
def no_child_is_left():
    yield
    assert loop_parts.children() == {}


def slow(delay: int, backend: str = "onnxruntime", bias: float = 0.1, **envelope):
    model = loop_parts.linear(SPEC, WEIGHTS, bias=bias)
    return loop_parts.load_of(SPEC, model, backend, action_delay=delay, **{**PATIENT, **envelope})


def driven(load, robot: str, path, ticks: int, **options):
    """Run for so many ticks in charge; return the result and the records of mode ACTIVE, the tick of arming first."""
    result = run_load(load, f"pkg:tests.loop_drivers:{robot}", path, RunOptions(arm=True, ticks=ticks, **options))
    rows = read_recording(path).records
    assert (rows["tick"] == np.arange(len(rows))).all()
    return result, rows


def met(rows, event: Event) -> np.ndarray:
    return rows["events"] & (1 << event) > 0


def periods(rows) -> np.ndarray:
    """Return in which period of the grid each tick was, the missed ones counted."""
    return np.cumsum(1 + rows["missed_periods"].astype(np.int64))


def assert_timed(rows, delay: int) -> None:
    """Every action took effect ``delay`` periods after its observation; every n-th period had an observation."""
    period = periods(rows)
    taken = np.flatnonzero(rows["action_ns"] > 0)
    after = period[taken] - period[rows["action_sequence"][taken].astype(np.int64)]
    missed = rows["missed_periods"][taken].astype(np.int64)
    assert ((after >= delay) & (after - missed <= delay)).all(), after
    posted = np.flatnonzero((rows["post_ns"] > 0) & (rows["from_mode"] == Mode.ACTIVE))
    between, missed = np.diff(period[posted]), rows["missed_periods"][posted[1:]].astype(np.int64)
    seen = np.array([rows["observed"][first : last + 1].all() for first, last in itertools.pairwise(posted)])
    assert (between >= N).all()
    assert (between - missed <= N)[seen].all()


def interpolated(rows) -> np.ndarray:
    """Return the command of every tick of POLICY as the actions make it: a straight line over n ticks."""
    wanted = np.full(len(rows), np.nan, np.float32)
    stands = before = target = np.float32(rows["command"][np.argmax(rows["mode"] == Mode.ACTIVE) - 1, 0])
    taken = 0
    for index, row in enumerate(rows):
        if row["action_ns"] > 0:
            before, target, taken = stands, row["action"][0], index
        if row["source"] == Source.POLICY:
            weight = np.float32(min(index - taken + 1, N)) / np.float32(N)
            stands = target if weight >= 1 else before + weight * (target - before)
            wanted[index] = stands
    return wanted


def test_a_50_hz_policy_under_a_1_khz_loop_acts_exactly_when_it_should(tmp_path) -> None:
    result, rows = driven(slow(N, inner_law="interpolate"), "Swinging", tmp_path / "run.mcap", 1000)
    assert (result.ended, result.fault, result.misses.rejected) == ("ticks", None, 0)
    assert_timed(rows, N)
    active = rows[(rows["mode"] == Mode.ACTIVE) & (rows["clock"] == Clock.GRID)]
    assert met(active, Event.ACTION_LATE).mean() < 0.2  # of a machine that does nothing else: none
    taken = rows[rows["action_ns"] > 0]
    assert len(taken) >= 40
    observed = rows["state"][taken["action_sequence"].astype(np.int64)]
    np.testing.assert_allclose(taken["action"][:, 0], observed @ WEIGHTS + np.float32(0.1), atol=1e-6)
    acting = rows["source"] == Source.POLICY
    np.testing.assert_array_equal(rows["command"][acting, 0], interpolated(rows)[acting])
    assert len(np.unique(rows["command"][acting, 0])) > 500
    spent_s = (int(active["start_ns"][-1]) - int(active["start_ns"][0])) * 1e-9
    assert spent_s >= 0.99  # of real time


def test_a_policy_that_takes_15_ms_makes_no_tick_wait(tmp_path) -> None:
    result, rows = driven(slow(19, "seeing"), "Swinging", tmp_path / "run.mcap", 600)
    assert (result.ended, result.fault) == ("ticks", None)
    assert_timed(rows, 19)
    taken = rows[(rows["action_ns"] > 0) & (rows["from_mode"] == Mode.ACTIVE)]
    assert len(taken) >= 5
    assert (taken["infer_ns"] >= 15 * MS).all()
    asking = rows[((rows["post_ns"] > 0) | (rows["action_ns"] > 0)) & (rows["write_ns"] > 0)]
    in_tick_ns = asking["write_ns"].astype(np.int64) - asking["start_ns"].astype(np.int64)
    assert np.median(in_tick_ns) < MS  # one that waited would be 15 ms long


def test_a_late_answer_is_held_over_thrown_away_and_counted(tmp_path) -> None:
    result, rows = driven(slow(N, "seeing"), "SlowingDown", tmp_path / "run.mcap", 900)
    assert (result.ended, result.fault) == ("ticks", None)
    assert_timed(rows, N)
    slowed = np.flatnonzero((rows["post_ns"] > 0) & (rows["state"][:, 0] == 1.0))[0]
    due = slowed + np.argmax(periods(rows)[slowed:] - periods(rows)[slowed] >= N)
    assert met(rows, Event.ACTION_LATE)[due : due + N // 2].all()
    assert (rows["source"][due : due + N // 2] == Source.HOLD).all()
    assert (rows["command"][due : due + N // 2] == rows["command"][due - 1]).all()
    assert rows["tick"][slowed] not in rows["action_sequence"][rows["action_ns"] > 0]  # it came, and was of no use
    assert (rows["action_ns"][due:] > 0).any()  # the next ones are


def test_too_many_late_answers_are_the_buckets_fault(tmp_path) -> None:
    """The same policy, with a bundle that lets it be late once."""
    load = slow(N, "seeing", degrade=Degrade(N + 1, 4 * N))
    result, rows = driven(load, "SlowingDown", tmp_path / "run.mcap", 900)
    assert (result.ended, result.fault) == ("fault", "bucket_fault")
    full = np.flatnonzero(rows["event"] == Event.BUCKET_FAULT)[0]
    bad = met(rows, Event.ACTION_LATE) | met(rows, Event.STATE_LOST) | met(rows, Event.OVERRUN)
    assert bad[full - 4 * N + 1 : full + 1].sum() == N + 1
    assert (rows["from_mode"][full], rows["mode"][full], rows["source"][full]) == (
        Mode.ACTIVE, Mode.FALLBACK, Source.HOLD,
    )  # fmt: skip


def test_slow_policies_change_hands_when_an_answer_is_due_and_back_again(tmp_path) -> None:
    load = slow(N, inner_law="interpolate")
    other = slow(N, inner_law="interpolate", bias=-0.4)
    with going(load, "pkg:tests.loop_drivers:Swinging", tmp_path / "run.mcap", shadow=other) as run:
        run.stage("waiting")
        run.client.arm()
        for switches in (1, 2):
            tick = run.client.status().loop.ticks
            run.until(lambda status, tick=tick: status.loop.ticks > tick + 10 * N)
            assert run.client.switch_policy().loop.switched == switches
        run.until(lambda status, tick=tick: status.loop.ticks > tick + 20 * N)
        run.client.stop()
        assert run.end().ended == "stopped"
    rows = read_recording(tmp_path / "run.mcap").records
    assert_timed(rows, N)
    first, second = np.flatnonzero(met(rows, Event.SWITCH))
    assert (rows["action_ns"][[first, second]] > 0).all()
    assert (rows["source"][[first, second]] == Source.POLICY).all()
    taken = rows[rows["action_ns"] > 0]
    beside = (taken["tick"] >= first) & (taken["tick"] < second)
    assert set(taken["epoch"][~beside]) == {1}
    assert set(taken["epoch"][beside]) == {2}
    observed = rows["state"][taken["action_sequence"].astype(np.int64)]
    expected = observed @ WEIGHTS + np.where(beside, np.float32(-0.4), np.float32(0.1))
    np.testing.assert_allclose(taken["action"][:, 0], expected, atol=1e-6)
    active = rows["mode"] == Mode.ACTIVE
    assert (rows["write_ns"][active] > 0).all()
    acting = rows["source"] == Source.POLICY
    steps = np.abs(np.diff(rows["command"][:, 0]))[acting[1:] & acting[:-1]]
    assert steps.max() < 0.1  # from one policy to the other on a straight line, too
