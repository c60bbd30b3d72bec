"""Another policy while the robot is driven: by the command line, between two ticks, and not without fitting."""

from __future__ import annotations

import hashlib
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgerl.bundle.load import Bundle, load_bundle, save_bundle
from edgerl.bundle.manifest import FileEntry
from edgerl.envelope import Degrade, Ladder, Prepare
from edgerl.envelope.ladder import Rung
from edgerl.errors import PolicyProcessError, RequestRefused
from edgerl.golden import read_golden, save_golden_bytes
from edgerl.runtime.enums import Event, Mode, Source
from edgerl.runtime.load import Load, load_of
from edgerl.runtime.recording.read import read_recording
from edgerl.runtime.run import RunOptions, run_load
from edgerl.runtime.wire import StateFlag
from tests import loop_parts
from tests.asked_runs import OPTIONS, command, going, policies
from tests.loop_parts import MS, ScriptedRobot

pytestmark = pytest.mark.usefixtures("core")
PERIOD = 20 * MS
SPEC = loop_parts.spec_of(PERIOD)
BLEND_TICKS = 10
ENVELOPE = {
    "prepare": Prepare(0, None, None, BLEND_TICKS * PERIOD),
    "valid_for_ns": 250 * MS,
    "degrade": Degrade(90, 100),
}
ROBOT = "pkg:tests.loop_drivers:Swinging"


@pytest.fixture(autouse=True)
def no_child_is_left():
    yield
    assert loop_parts.children() == {}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory) -> dict[str, Path]:
    """A policy that says 0.5, one that says 0.25, and three that could not take over from the first."""
    folder = tmp_path_factory.mktemp("bundles")
    made = {name: folder / f"{name}.edgerl" for name in ("first", "second", "hasty", "strict", "wrong")}
    loop_parts.save_packed(SPEC, made["first"], bias=0.5, **ENVELOPE)
    loop_parts.save_packed(SPEC, made["second"], bias=0.25, **ENVELOPE)
    loop_parts.save_packed(loop_parts.spec_of(PERIOD // 2), made["hasty"], bias=0.25, **ENVELOPE)
    loop_parts.save_packed(SPEC, made["strict"], bias=0.25, **{**ENVELOPE, "degrade": Degrade(3, 100)})
    save_bundle(with_another_golden_set(load_bundle(made["second"])), made["wrong"])
    return made


def with_another_golden_set(bundle: Bundle) -> Bundle:
    """Return a bundle, sound in itself, whose engine does not say what its golden set expects."""
    path = bundle.manifest.golden
    golden = read_golden(bundle.files[path], "here")
    data = save_golden_bytes(replace(golden, expected_float32=golden.expected_float32 + np.float32(0.125)))
    files = {**bundle.files, path: data}
    return Bundle(replace(bundle.manifest, files=tuple(entry_of(name, files[name]) for name in sorted(files))), files)


def entry_of(path: str, data: bytes) -> FileEntry:
    return FileEntry(path, hashlib.sha256(data).hexdigest(), len(data))


@pytest.fixture(scope="module")
def load(bundles) -> Load:
    return load_of(load_bundle(bundles["first"]))


def done(*words: str | Path) -> str:
    answer = command(*map(str, words))
    assert answer.returncode == 0, answer.stderr
    return answer.stderr


def refused(*words: str | Path) -> str:
    answer = command(*map(str, words))
    assert answer.returncode == 3, answer
    return " ".join(answer.stderr.split())


def test_the_command_line_changes_the_policy_between_two_ticks(load, bundles, tmp_path) -> None:
    with going(load, ROBOT, tmp_path / "run.mcap") as run:
        run.stage("waiting")
        done("arm")
        done("policy", "load", bundles["second"])
        done("policy", "switch")
        switched = run.client.status().loop
        assert (switched.switched, switched.mode) == (1, "ACTIVE")
        assert (switched.policy.bundle, switched.candidate.bundle) == (
            load_bundle(bundles["second"]).digest, load.bundle,
        )  # fmt: skip
        assert len(policies()) == 2
        run.until(lambda status: status.loop.ticks > switched.ticks + BLEND_TICKS)
        done("policy", "drop")
        assert len(policies()) == 1
        assert "No candidate can take over: there is none" in refused("policy", "switch")
        assert run.client.status().loop.mode == "ACTIVE"
        run.client.stop()
        assert run.end().ended == "stopped"
    rows = read_recording(tmp_path / "run.mcap").records
    assert_changed_hands(rows)


def assert_changed_hands(rows) -> None:
    """Before one tick the first policy acted, from it on the second, blended in; every tick had its command."""
    (at,) = np.flatnonzero(rows["events"] & (1 << Event.SWITCH) > 0)
    active = np.flatnonzero(rows["mode"] == Mode.ACTIVE)
    assert (np.diff(active) == 1).all()
    assert (rows["write_ns"][active] > 0).all()
    assert set(rows["source"][active].tolist()) <= {int(Source.POLICY), int(Source.HOLD)}
    assert rows["source"][at] == Source.POLICY
    taken = rows[rows["action_ns"] > 0]
    assert set(taken["epoch"][taken["tick"] < at]) == {1}
    assert set(taken["epoch"][taken["tick"] >= at]) == {2}
    assert (taken["action_sequence"] == taken["tick"]).all()
    np.testing.assert_allclose(taken["action"][:, 0], np.where(taken["tick"] < at, 0.5, 0.25), atol=1e-6)
    beside = rows["shadow_epoch"][(rows["tick"] < at) & (rows["shadow_epoch"] > 0)]
    assert len(beside) > 0
    assert set(beside) == {2}
    spent_ns = np.cumsum(np.diff(rows["tick_ns"][at - 1 :].astype(np.int64)))
    acting = rows["source"][at:] == Source.POLICY
    share = np.minimum(spent_ns / (BLEND_TICKS * PERIOD), 1.0)[rows["mode"][at:] == Mode.ACTIVE]
    blended = rows["command"][at:, 0][rows["mode"][at:] == Mode.ACTIVE]
    acting = acting[: len(share)]
    if acting.all():  # a tick that was held is not blended on
        np.testing.assert_allclose(blended, 0.5 - 0.25 * share, atol=1e-6)
    assert (np.diff(blended) <= 1e-6).all()
    assert blended[0] < 0.5
    assert blended[-1] == 0.25


def test_a_bundle_that_does_not_fit_is_refused_and_the_old_policy_goes_on(load, bundles, tmp_path) -> None:
    with going(load, ROBOT, tmp_path / "run.mcap") as run:
        run.stage("waiting")
        run.client.arm()
        for name, words in (
            ("hasty", "period_ns is 10000000, the run's 20000000"),
            ("strict", "envelope.degrade.misses is 3, the run's 90"),
        ):
            message = refused("policy", "load", bundles[name])
            assert "This policy cannot take over:" in message
            assert words in message
            assert "End the run and start it with this bundle instead" in message
            loop = run.client.status().loop
            assert (loop.mode, loop.fault, loop.candidate.state) == ("ACTIVE", "", "")
        run.client.stop()
        assert run.end().ended == "stopped"
    rows = read_recording(tmp_path / "run.mcap").records
    assert set(rows["command"][rows["source"] == Source.POLICY][BLEND_TICKS:, 0].tolist()) == {0.5}


def test_a_candidate_that_fails_its_golden_set_never_gets_ready(load, bundles, tmp_path) -> None:
    with going(load, ROBOT, tmp_path / "run.mcap") as run:
        run.stage("waiting")
        run.client.arm()
        with pytest.raises(RequestRefused, match=r"did not get ready: it .*does not reproduce its golden set.*row 0"):
            run.client.load_policy(bundles["wrong"])
        with pytest.raises(RequestRefused, match=r"No candidate can take over: .*golden set"):
            run.client.switch_policy()
        loop = run.client.status().loop
        assert (loop.mode, loop.fault, len(policies())) == ("ACTIVE", "", 1)
        run.client.stop()
        assert run.end().ended == "stopped"
    rows = read_recording(tmp_path / "run.mcap").records
    assert (rows["shadow_epoch"] == 0).all()
    assert set(rows["epoch"][rows["action_ns"] > 0]) == {1}


def test_a_shadow_changes_not_one_bit_of_what_is_sent(tmp_path) -> None:
    """Lockstep: both runs see the same states, so they have to send the same bytes."""
    spec = loop_parts.spec_of(500 * MS)  # a long budget; no time goes by for it
    load = loop_parts.load_of(spec, loop_parts.linear(spec, np.array([0.3, -0.8, 0.1])))
    other = loop_parts.load_of(spec, loop_parts.linear(spec, np.array([-1.1, 0.4, 0.0]), bias=0.3))
    states = np.random.default_rng(1).uniform(-1.0, 1.0, (120, 3)).astype(np.float32)
    sent = {}
    for name, shadow in (("alone", None), ("beside", other)):
        with ScriptedRobot(load, lambda step: (states[step], StateFlag(0), []) if step < 120 else None) as robot:
            result = run_load(load, robot.name, tmp_path / name, RunOptions(arm=True), shadow=shadow)
        assert (result.ended, result.misses.actions_late) == ("done", 0)
        sent[name] = [(one.values.tobytes(), one.mode, one.source) for one in robot.driven]
    assert len(sent["alone"]) == 120
    assert sent["alone"] == sent["beside"]
    assert len(set(sent["alone"])) > 100
    assert (read_recording(tmp_path / "alone").records["shadow_epoch"] == 0).all()
    rows = read_recording(tmp_path / "beside").records
    shadowed = rows[rows["shadow_epoch"] > 0]
    assert len(shadowed) > 0
    observed = rows["state"][shadowed["shadow_sequence"].astype(np.int64)]
    expected = np.clip(observed @ np.array([-1.1, 0.4, 0.0], np.float32) + np.float32(0.3), -2, 2)
    np.testing.assert_allclose(shadowed["shadow"][:, 0], expected, atol=1e-6)
    assert np.isnan(rows["shadow"][rows["shadow_epoch"] == 0]).all()


def test_run_takes_a_shadow_from_the_command_line(bundles, tmp_path) -> None:
    robot = "gym:loop_environment:Clockwork-v0"
    words = ("run", bundles["first"], "--robot", robot, "--realtime", "0", "--ticks", "60", "--name", "shadowed")
    done(*words, "--shadow", bundles["second"], "--recording", tmp_path / "run.mcap")
    rows = read_recording(tmp_path / "run.mcap").records
    assert np.unique(rows["shadow"][rows["shadow_epoch"] > 0]).tolist() == [0.25]
    assert set(rows["epoch"][rows["action_ns"] > 0]) == {1}
    assert rows["command"][rows["source"] == Source.POLICY][-1, 0] == 0.5


def test_a_shadow_that_does_not_fit_is_refused_before_anything_is_started(load, bundles, tmp_path) -> None:
    strict = load_of(load_bundle(bundles["strict"]))
    with pytest.raises(PolicyProcessError, match=r"envelope\.degrade\.misses is 3, the run's 90"):
        run_load(load, ROBOT, tmp_path / "run.mcap", RunOptions(arm=True), shadow=strict)
    assert not list(tmp_path.iterdir())


def test_a_spare_is_there_when_the_acting_policy_is_killed(load, tmp_path) -> None:
    with going(load, ROBOT, tmp_path / "run.mcap", replace(OPTIONS, spare=True)) as run:
        run.stage("waiting")
        run.until(lambda _: len(policies()) == 2)
        run.client.arm()
        run.until(lambda status: status.loop.ticks > 100)  # the spare has been warm for long
        os.kill(min(policies()), signal.SIGKILL)
        ready = run.until(
            lambda status: status.loop.fault == "policy_fault" and status.loop.policy.state == "ready"
        )  # fmt: skip
        assert (
            ready.loop.ticks - ready.loop.fault_tick < 50
        )  # a second; another one would only begin to load after half
        run.stage("stopped")
        assert run.client.rearm().loop.mode == "ACTIVE"
        run.client.stop()
        assert run.end().ended == "stopped"
    rows = read_recording(tmp_path / "run.mcap").records
    (fault,) = np.flatnonzero(rows["event"] == Event.POLICY_FAULT)
    (reset,) = np.flatnonzero(rows["event"] == Event.RESET)
    armed = np.flatnonzero(rows["event"] == Event.ARM)
    assert len(armed) == 2
    assert armed[0] < fault < reset < armed[1] < reset + 50
    taken = rows[rows["action_ns"] > 0]
    assert set(taken["epoch"][taken["tick"] < fault]) == {1}
    assert set(taken["epoch"][taken["tick"] > fault]) == {2}


def test_a_ladder_may_lead_to_the_candidate_when_the_acting_policy_is_killed(tmp_path) -> None:
    ladder = Ladder(2 * PERIOD, 4 * PERIOD, "a simulation", policy=(Rung("standby", 30 * PERIOD), Rung("safe", PERIOD)))
    weights = np.array([0.9, -0.5, 0.0], np.float32)
    load = loop_parts.load_of(SPEC, loop_parts.linear(SPEC, np.zeros(3), bias=0.5), **ENVELOPE, ladder=ladder)
    other = loop_parts.load_of(SPEC, loop_parts.linear(SPEC, weights), **ENVELOPE, ladder=ladder)

    def kill(progress) -> None:
        if progress.mode == Mode.ACTIVE and progress.ticks > 80 and len(policies()) == 2:
            os.kill(min(policies()), signal.SIGKILL)

    result = run_load(load, ROBOT, tmp_path / "run.mcap", RunOptions(arm=True), kill, shadow=other)
    assert (result.ended, result.fault) == ("fault", "policy_fault")
    rows = read_recording(tmp_path / "run.mcap").records
    (at,) = np.flatnonzero(rows["event"] == Event.POLICY_FAULT)
    fallback = rows[at:][rows["mode"][at:] == Mode.FALLBACK]
    assert (fallback["write_ns"] > 0).all()
    assert set(fallback["source"].tolist()) == {int(Source.STANDBY), int(Source.SAFE)}
    standing_by = fallback[fallback["source"] == Source.STANDBY]
    assert len(standing_by) > 15
    assert set(standing_by["shadow_epoch"][standing_by["shadow_epoch"] > 0]) == {2}
    settled = standing_by[BLEND_TICKS + 1 :]
    answered = settled[settled["shadow_sequence"] == settled["tick"]]
    assert len(answered) > 0
    np.testing.assert_allclose(answered["command"][:, 0], answered["state"] @ weights, atol=1e-6)
    assert (rows["mode"][-1], rows["source"][-1]) == (Mode.STOPPED, Source.LAPSE)
