"""The whole loop with its real processes: plant, supervisor, guardian, policy process. No part is replaced."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from edgerl.backends.onnxruntime import FILE_NAME, OnnxRuntimeRunner
from edgerl.errors import EdgerlError, LoopError, OutputError, PolicyProcessError, PortError
from edgerl.golden import read_golden, save_golden_bytes
from edgerl.runtime.enums import Mode, Source
from edgerl.runtime.layout import Channel, Layout, layout_of
from edgerl.runtime.load import Load
from edgerl.runtime.plant_lines import Span
from edgerl.runtime.port_key import make_key
from edgerl.runtime.recording.read import read_recording
from edgerl.runtime.robots import PlantProcess, PlantSettings
from edgerl.runtime.run import RunOptions, run_load
from edgerl.runtime.session import Terms, open_session
from edgerl.runtime.wire import Cause, StateFlag
from tests import loop_parts
from tests.loop_parts import MS, ScriptedRobot

PENDULUM = loop_parts.spec_of(50 * MS)
SWING = np.array([0.3, -0.8, -0.2])
LOCKSTEP = RunOptions(realtime_s=0.0, arm=True)


pytestmark = pytest.mark.usefixtures("core")


@pytest.fixture(autouse=True)
def no_child_is_left():
    yield
    assert loop_parts.children() == {}


@pytest.fixture(scope="module")
def pendulum() -> Load:
    return loop_parts.load_of(PENDULUM, loop_parts.linear(PENDULUM, SWING))


def direct_return(load: Load, env_id: str, seed: int) -> float:
    """Return what the same policy earns in the environment without any loop."""
    runner = OnnxRuntimeRunner(load.engine.files[FILE_NAME], load.engine.spec)
    env = gymnasium.make(env_id, disable_env_checker=True)
    observation, _ = env.reset(seed=seed)
    total, over = 0.0, False
    while not over:
        runner.inputs["observation"][0] = observation
        runner.infer()
        action = runner.outputs["action"][0]
        action = int(action[0]) if load.engine.spec.action.kind == "discrete" else action.copy()
        observation, reward, terminated, truncated, _ = env.step(action)
        total += float(reward)
        over = terminated or truncated
    return total


def test_a_lockstep_episode_is_the_plain_environments_episode(pendulum, tmp_path) -> None:
    seen = []
    result = run_load(pendulum, "gym:Pendulum-v1", tmp_path / "run", RunOptions(realtime_s=0.0, seed=4), seen.append)
    assert (result.ended, result.fault, result.lost_records) == ("done", None, 0)
    assert (result.misses.ticks, result.misses.actions_late, result.misses.states_lost) == (200, 0, 0)
    (episode,) = result.episodes
    assert (episode.steps, episode.missed, episode.outside, episode.seed) == (200, 0, 0, 4)
    assert episode.applied == (Span(Mode.ACTIVE, Source.POLICY, 200),)
    assert episode.episode_return == pytest.approx(direct_return(pendulum, "Pendulum-v1", 4), rel=1e-9)
    assert result.plant is not None
    assert (result.plant.reason, result.plant.dropped) == ("done", {})
    assert {progress.stage for progress in seen} >= {"loading", "running"}


def test_the_recording_holds_what_policy_and_robot_saw(pendulum, tmp_path) -> None:
    run_load(pendulum, "gym:Pendulum-v1", tmp_path / "run", LOCKSTEP)
    recording = read_recording(tmp_path / "run")
    assert recording.complete
    rows = recording.records[recording.records["source"] == Source.POLICY]
    expected = np.clip(rows["state"] @ SWING.astype(np.float32)[:, None], -2, 2)
    np.testing.assert_allclose(rows["action"], expected, atol=1e-5)
    np.testing.assert_array_equal(rows["action"], rows["command"])
    assert set(np.diff(rows["stamp_ns"]).tolist()) == {50 * MS}
    assert (rows["start_ns"] <= rows["post_ns"]).all()
    assert (rows["post_ns"] <= rows["action_ns"]).all()
    assert (rows["action_ns"] <= rows["write_ns"]).all()
    assert (rows["infer_ns"] <= rows["action_ns"] - rows["start_ns"]).all()


def test_a_discrete_policy_balances_in_lockstep(tmp_path) -> None:
    spec = loop_parts.discrete_spec(20 * MS, choices=2, size=4)
    load = loop_parts.load_of(spec, loop_parts.first_sign(spec, np.array([0.1, 0.5, 1.0, 1.0])))
    result = run_load(load, "gym:CartPole-v1", tmp_path / "run", LOCKSTEP)
    assert result.episodes[0].episode_return == direct_return(load, "CartPole-v1", 0)
    assert result.episodes[0].steps > 100
    assert result.misses.ticks == result.episodes[0].steps


def test_a_recurrent_policy_forgets_at_each_episode_and_remembers_in_between(tmp_path) -> None:
    spec = loop_parts.spec_of(50 * MS, state=True)
    load = loop_parts.load_of(spec, loop_parts.counter(spec))
    result = run_load(load, "gym:Pendulum-v1", tmp_path / "run", RunOptions(realtime_s=0.0, episodes=2, seed=7))
    assert [(episode.steps, episode.seed) for episode in result.episodes] == [(200, 7), (200, 8)]
    rows = read_recording(tmp_path / "run").records
    actions = rows[rows["source"] == Source.POLICY]["action"][:, 0]
    np.testing.assert_allclose(actions, np.tile(np.arange(1, 201) * 0.001, 2), atol=1e-5)


def test_real_time_keeps_the_robots_period_and_measures_itself(pendulum, tmp_path) -> None:
    result = run_load(pendulum, "gym:Pendulum-v1", tmp_path / "run", RunOptions(realtime_s=1.5))
    (episode,) = result.episodes
    assert (result.ended, episode.realtime_steps, episode.steps) == ("done", 30, 200)
    assert result.realtime_ticks >= 30
    assert result.lockstep_ticks >= 165
    rows = read_recording(tmp_path / "run").records
    grid = rows[rows["clock"] == 1]
    between = np.diff(grid["scheduled_ns"].astype(np.int64)) - grid["missed_periods"][1:].astype(np.int64) * 50 * MS
    assert set(between.tolist()) == {50 * MS}  # an absolute grid: no drift, not by one nanosecond
    assert (grid["start_ns"] >= grid["scheduled_ns"]).all()
    assert result.timing.latency is not None
    assert result.timing.latency.n >= 20
    assert all(quantile.value is None for quantile in result.timing.latency.quantiles if quantile.q >= 0.99)
    # A machine that is shared may lose some ticks; the plant and the guardian then say so alike.
    assert episode.missed <= 10
    assert len(episode.latency_ns) == 30 - episode.missed or episode.missed > 0


def test_a_number_of_ticks_ends_the_run_with_the_safe_command(pendulum, tmp_path) -> None:
    result = run_load(pendulum, "gym:Pendulum-v1", tmp_path / "run", RunOptions(realtime_s=0.0, ticks=50))
    assert result.ended == "ticks"
    assert 50 <= result.misses.ticks < 200
    assert [(span.mode, span.source) for span in result.modes[-2:]] == [("SAFE", "safe"), ("STOPPED", "safe")]
    assert [(span.mode, span.source) for span in result.episodes[0].applied[:2]] == [
        (Mode.ACTIVE, Source.POLICY),
        (Mode.SAFE, Source.SAFE),
    ]


def test_a_robot_that_is_already_there_is_driven_over_udp(pendulum, tmp_path) -> None:
    with PlantProcess("Pendulum-v1", layout_of(PENDULUM), PlantSettings(realtime_s=0.0)) as plant:
        result = run_load(pendulum, f"udp:127.0.0.1:{plant.address[1]}", tmp_path / "run", LOCKSTEP)
        plant.finish(patience_s=5.0)
        assert plant.episodes[0].steps == 200
    assert (result.ended, result.episodes, result.plant) == ("done", (), None)
    assert result.timing.latency is None  # its clock may be another


def test_a_second_controller_is_told_that_the_robot_is_busy(pendulum, tmp_path) -> None:
    layout = layout_of(PENDULUM)
    with (
        PlantProcess("Pendulum-v1", layout, PlantSettings()) as plant,
        open_session(plant.address, Terms(layout, 50 * MS, MS, 50 * MS)),
        pytest.raises(PortError, match="busy"),
    ):
        run_load(pendulum, f"udp:127.0.0.1:{plant.address[1]}", tmp_path / "run", LOCKSTEP)
    assert not (tmp_path / "run").exists()


def test_another_layout_is_refused_before_anything_is_recorded(pendulum, tmp_path) -> None:
    own = layout_of(PENDULUM)
    other = Layout(own.state, (Channel("action[0]", "rad"),))
    with (
        PlantProcess("Pendulum-v1", other, PlantSettings()) as plant,
        pytest.raises(PortError, match="layout mismatch"),
    ):
        run_load(pendulum, f"udp:127.0.0.1:{plant.address[1]}", tmp_path / "run", LOCKSTEP)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("robot", "spec", "error", "words"),
    [
        ("gym:CartPole-v1", PENDULUM, PortError, "wants 3 channels .* as state; the environment gives 4"),
        ("gym:Pendulum-v1", loop_parts.spec_of(40 * MS), PortError, "period mismatch.*50000000"),
        ("gym:NoSuchEnv-v0", PENDULUM, PortError, "NoSuchEnv-v0"),
        ("shm:robot", PENDULUM, PortError, "No driver waits at"),
        ("udp:host", PENDULUM, PortError, "not a robot"),
        ("udp:127.0.0.1:9", PENDULUM, PortError, "did not answer"),
    ],
)
def test_a_robot_that_does_not_fit_is_one_clear_message(robot, spec, error, words, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("edgerl.runtime.connect.UDP_TIMEOUT_S", 0.3)
    load = loop_parts.load_of(spec, loop_parts.linear(spec, SWING))
    with pytest.raises(error, match=words):
        run_load(load, robot, tmp_path / "run", LOCKSTEP)
    assert not (tmp_path / "run").exists()


def test_lockstep_needs_the_envelopes_leave(tmp_path) -> None:
    model = loop_parts.linear(PENDULUM, SWING)
    load = loop_parts.load_of(PENDULUM, model, allow_lockstep=False)
    with pytest.raises(LoopError, match="allow_lockstep"):
        run_load(load, "gym:Pendulum-v1", tmp_path / "run", LOCKSTEP)


def test_an_engine_that_fails_its_golden_set_is_never_armed(pendulum, tmp_path) -> None:
    golden = read_golden(pendulum.golden, "here")
    wrong = golden.expected_float32 + np.float32(0.01) * (np.arange(golden.rows) == 3)[:, None]
    golden = replace(golden, expected_float32=wrong.astype(np.float32))
    load = Load(pendulum.engine, save_golden_bytes(golden), pendulum.envelope, pendulum.bundle)
    with pytest.raises(PolicyProcessError, match=r"golden set.*row 3"):
        run_load(load, "gym:Pendulum-v1", tmp_path / "run", LOCKSTEP)


def test_a_golden_set_of_another_form_is_never_run(pendulum, tmp_path) -> None:
    golden = read_golden(pendulum.golden, "here")
    narrow = replace(golden, inputs={"observation": golden.inputs["observation"][:, :1]})  # numpy would broadcast it
    load = Load(pendulum.engine, save_golden_bytes(narrow), pendulum.envelope, pendulum.bundle)
    with pytest.raises(PolicyProcessError, match="'input observation' is"):
        run_load(load, "gym:Pendulum-v1", tmp_path / "run", LOCKSTEP)


def test_done_of_an_earlier_job_does_not_end_this_one(pendulum, tmp_path) -> None:
    told = []

    def script(step: int):
        told.append(step)
        over = StateFlag.DONE if len(told) <= 5 else StateFlag(0)
        return (np.zeros(3), over, []) if step < 300 else None

    with loop_parts.ScriptedRobot(pendulum, script) as robot:
        result = run_load(pendulum, robot.name, tmp_path / "run", LOCKSTEP)
    assert result.ended == "done"
    assert len(robot.driven) == 300


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("robot", ["gym:Pendulum-v1", "udp:127.0.0.1:9"])
def test_a_signal_while_the_robot_starts_leaves_nothing(pendulum, robot, number, tmp_path) -> None:
    before = signal.getsignal(number)
    timer = threading.Timer(0.2, lambda: os.kill(os.getpid(), number))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        run_load(pendulum, robot, tmp_path / "run", LOCKSTEP)
    timer.join()
    assert not (tmp_path / "run").exists()
    assert signal.getsignal(number) is before


def test_an_engine_that_does_not_load_says_why(pendulum, tmp_path) -> None:
    broken = Load(replace(pendulum.engine, files={FILE_NAME: b"no"}), pendulum.golden, pendulum.envelope, "ab")
    with pytest.raises(PolicyProcessError, match="cannot load"):
        run_load(broken, "gym:Pendulum-v1", tmp_path / "run", LOCKSTEP)


def test_a_recording_in_the_way_is_kept_and_nothing_runs(pendulum, tmp_path) -> None:
    (tmp_path / "run").write_bytes(b"precious")
    with pytest.raises(OutputError, match="exists already"):
        run_load(pendulum, "gym:Pendulum-v1", tmp_path / "run", LOCKSTEP)
    assert (tmp_path / "run").read_bytes() == b"precious"


def test_a_first_action_beyond_the_envelope_is_not_armed(tmp_path) -> None:
    model = loop_parts.linear(PENDULUM, np.zeros(3), bias=1.9)
    load = loop_parts.load_of(PENDULUM, model)
    narrow = loop_parts.quick_envelope(loop_parts.spec_of(50 * MS, -1.0, 1.0))
    options = RunOptions(realtime_s=0.0, timeouts=loop_parts.impatient())
    with pytest.raises(EdgerlError, match=r"did not arm.*rejected"):
        run_load(Load(load.engine, load.golden, narrow, "ab"), "gym:Pendulum-v1", tmp_path / "run", options)


def test_a_robot_with_a_key_is_driven_and_the_key_is_in_no_file_and_no_argument(tmp_path) -> None:
    key = make_key(tmp_path / "robot.key")
    load = loop_parts.load_of(PENDULUM, loop_parts.linear(PENDULUM, np.zeros(3), bias=0.5))
    arguments = []

    def script(step: int):
        arguments.extend(path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if step == 5)
        return (np.zeros(3, np.float32), StateFlag(0), []) if step < 20 else None

    with ScriptedRobot(load, script, key=key) as robot:
        options = RunOptions(arm=True, robot_key=tmp_path / "robot.key")
        result = run_load(load, robot.name, tmp_path / "run.mcap", options)
    assert (result.ended, result.counts.dropped, robot.port.dropped.keys() - {Cause.SESSION}) == ("done", {}, set())
    assert len(robot.driven) == 20
    session_keys = robot.keys
    secrets = [key.shared, session_keys.to_robot, session_keys.to_controller]
    texts = [*arguments, (tmp_path / "run.mcap").read_bytes(), repr(result).encode()]
    assert arguments
    assert not [text for text in texts for secret in secrets if secret in text or secret.hex().encode() in text]
