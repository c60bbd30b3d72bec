"""An Isaac-style policy on the example's quadruped: its observation, joints by name, pushes, the operator, its death.

Everything is real: the policy that was trained for it, the guardian, the driver in a process of its own, and a person
who holds a switch. Only time is simulated.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest

from edgerl.backends.onnxruntime import OnnxRuntimeRunner
from edgerl.bundle.load import load_bundle
from edgerl.envelope.file import read_envelope
from edgerl.errors import EnvelopeError, PortError
from edgerl.runtime.assembly import assemble
from edgerl.runtime.control.messages import RunStatus
from edgerl.runtime.enums import Event, Mode, Source
from edgerl.runtime.load import load_of
from edgerl.runtime.run import RunOptions, configure
from tests import loop_parts
from tests.legged_runs import FOLDER, Walked, pack_legged, walk

pytest.importorskip("mujoco")
ENVELOPE = (FOLDER / "envelope.toml").read_text()
PATIENT = ENVELOPE.replace("timeout_s = 0.3", "timeout_s = 2.0")
"""The operator of these tests shares the processor with the robot."""
WALK = (0.4, 0.0, 0.0)
LEGS = ("FL", "FR", "RL", "RR")


@pytest.fixture(scope="module", autouse=True)
def examples(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(FOLDER), str(Path(__file__).parents[1])]))
        patch.setenv("EDGERL_CORE_DIR", str(loop_parts.core_folder(tmp_path_factory)))
        yield
    for name in ("driver", "environment", "fit", "gait", "policy", "simulation", "trial"):
        sys.modules.pop(name, None)


@pytest.fixture(autouse=True)
def no_child_is_left():
    yield
    assert loop_parts.children() == {}


def walk_in(folder: Path, bundle: Path, **options) -> Walked:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEGGED_TRACK", str(folder / "track.npy"))
        return walk(bundle, folder, **{"robot": "pkg:trial:LockstepTrial", "wish": lambda _: WALK, **options})


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, examples) -> Path:
    return pack_legged(tmp_path_factory.mktemp("bundle"), PATIENT)


@pytest.fixture(scope="module")
def walked(tmp_path_factory, bundle) -> Walked:
    """Six seconds in charge, with two pushes."""
    return walk_in(tmp_path_factory.mktemp("walked"), bundle)


class AsAnIsaacUserWould:
    """The observation out of a recorded state, in float32, written without a look at edgerl's own."""

    POSE = np.float32([0, 0, 0, 0, 0.7, 0.7, 0.7, 0.7, -1.4, -1.4, -1.4, -1.4])

    def __init__(self, names: list[str]) -> None:
        joints = [f"{leg}_{joint}" for joint in ("hip", "thigh", "knee") for leg in LEGS]
        self._q, self._dq = ([names.index(f"{kind}[{joint}]") for joint in joints] for kind in ("q", "dq"))
        self._gyro = [names.index(f"imu.gyro.{axis}") for axis in "xyz"]
        self._quaternion = [names.index(f"imu.quat.{part}") for part in "wxyz"]

    def observe(self, state: np.ndarray, command: np.ndarray, last: np.ndarray) -> np.ndarray:
        w, *v = state[self._quaternion].astype(float) / np.linalg.norm(state[self._quaternion].astype(float))
        down = np.array([0.0, 0.0, -1.0])
        gravity = down * (2 * w * w - 1) - 2 * w * np.cross(v, down) + 2 * np.array(v) * np.dot(v, down)
        parts = (
            state[self._gyro] * np.float32(0.25),
            gravity,
            command * np.float32([2.0, 2.0, 0.25]),
            state[self._q] - self.POSE,
            state[self._dq] * np.float32(0.05),
            last,
        )
        return np.clip(np.concatenate(parts), -100, 100).astype(np.float32)


def observed_ticks(walked: Walked) -> tuple[np.ndarray, np.ndarray]:
    """Return which ticks gave the policy an observation, and which of those began anew."""
    rows = walked.recording.records
    observed = np.flatnonzero(rows["post_ns"] > 0)
    return observed, np.diff(observed, prepend=-100) > 4


def test_the_guardian_observes_bit_by_bit_what_its_trainer_would(walked, bundle):
    observed, starts = observed_ticks(walked)
    rows = walked.recording.records
    names = [channel.name for channel in walked.recording.header.channels("state")]
    load = load_of(load_bundle(bundle), None)
    own, actor = AsAnIsaacUserWould(names), OnnxRuntimeRunner(load_bundle(bundle).model, load.engine.spec)
    observations = np.zeros((len(observed), 45), np.float32)
    raws = np.zeros((len(observed), 12), np.float32)  # before each row
    last = np.zeros(12, np.float32)
    for row, tick in enumerate(observed):
        raws[row] = last = np.zeros(12, np.float32) if starts[row] else last
        observations[row] = own.observe(rows["state"][tick], rows["operator"][tick], last)
        actor.inputs["observation"][0] = observations[row]
        actor.infer()
        last = actor.outputs["action"][0].copy()
        # What the guardian's policy said to what the guardian observed, two ticks later, in the command's unit.
        np.testing.assert_array_equal(rows["action"][tick + 2], last * np.float32(0.25) + own.POSE)
    assert len(observed) > 280
    config = configure(load, RunOptions())
    config.session = 1
    made = assemble(
        config,
        rows["state"][observed],
        operators=rows["operator"][observed],
        raws=raws,
        reset=starts,
    )
    assert made.made.all()
    assembled = made.records.view(np.float32)[:, :45]
    gravity = slice(3, 6)
    np.testing.assert_array_max_ulp(assembled[:, gravity], observations[:, gravity], maxulp=1)
    np.testing.assert_array_equal(np.delete(assembled, gravity, 1), np.delete(observations, gravity, 1))


def test_it_walks_as_the_operator_says_and_takes_pushes(walked):
    assert (walked.result.ended, walked.result.fault) == ("done", None)
    course = walked.course
    steady = (course["driven_s"] > 1.0) & (course["driven_s"] < 2.5)  # before the first push
    assert course["forward"][steady].mean() == pytest.approx(WALK[0], abs=0.12)
    assert course["upright"].min() > np.cos(np.radians(30))
    assert course["height"].min() > 0.25
    counts = walked.result.counts
    assert (counts.actions_late, sum(one.rejected + one.saturated for one in counts.channels)) == (0, 0)


def test_its_network_is_what_its_gains_mean_and_small():
    import gait  # noqa: PLC0415  of the example's folder
    from environment import load_actor  # noqa: PLC0415

    path = FOLDER / "policy.npz"
    actor = load_actor(path)
    with np.load(path) as arrays:
        made = gait.network(gait.Gains(*arrays["gains"]))
    for one, other in zip((*actor.weights, *actor.biases), (*made.weights, *made.biases), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)
    assert path.stat().st_size < 20_000


def test_no_wish_that_the_envelope_grants_an_operator_makes_it_fall():
    from environment import Environment, load_actor  # noqa: PLC0415  of the example's folder
    from policy import WEIGHTS, legged_policy  # noqa: PLC0415

    operator = read_envelope(FOLDER / "envelope.toml", legged_policy().spec).operator
    assert operator is not None
    actor = load_actor(WEIGHTS)
    for wish in itertools.product(*((one.low, one.high) for one in operator.values)):
        env = Environment()
        env.command[:] = wish
        for _ in range(200):
            env.step(actor.act(env.observe()))
            assert env.robot.upright > np.cos(np.radians(30)), wish


def test_the_search_found_better_gains_than_it_began_with(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # the module sets it
    import fit  # noqa: PLC0415  of the example's folder

    with np.load(FOLDER / "policy.npz") as arrays:
        found = arrays["gains"]
    pushes = np.array([(0.0, 0.4, 60), (0.0, -0.4, 60), (0.4, 0.0, 60), (-0.4, 0.0, 60), (0.3, 0.3, 60)])
    assert fit.cost(found, pushes) < 0.8 * fit.cost(np.array(astuple(fit.Gains())), pushes)
    assert fit.cost(found, pushes) < fit.FALL


def test_without_its_actions_the_robot_stays_where_it_is_and_with_them_mixed_up_it_does_not_walk():
    from environment import POLICY_JOINTS, Environment, load_actor  # noqa: PLC0415  of the example's folder
    from policy import WEIGHTS  # noqa: PLC0415
    from simulation import JOINTS  # noqa: PLC0415

    actor, mixed = load_actor(WEIGHTS), [POLICY_JOINTS.index(joint) for joint in JOINTS]
    ways = {}
    for name, change in (("its own", lambda a: a), ("none", np.zeros_like), ("mixed", lambda a: a[mixed])):
        env, speeds = Environment(), []
        env.command[:] = WALK
        for _ in range(200):
            env.step(change(actor.act(env.observe())))
            speeds.append(env.robot.speed[0])
        ways[name] = (bool(env.robot.fallen), float(np.mean(speeds[50:])))
    assert ways["its own"] == (False, pytest.approx(WALK[0], abs=0.12))
    assert ways["none"] == (False, pytest.approx(0.0, abs=0.02))
    fell, speed = ways["mixed"]
    assert fell or speed < 0.1


@pytest.mark.slow
def test_a_driver_that_goes_by_position_makes_it_fall_before_any_policy_acts(tmp_path, bundle):
    mixed = walk_in(tmp_path, bundle, robot="pkg:legged_drivers:ByPosition")
    assert mixed.result.ended == "estop"  # the robot's own: it lies
    assert mixed.course["upright"][-1] < 0.5
    assert mixed.course["driven_s"][-1] == 0.0


def test_a_joint_that_the_envelope_or_the_robot_does_not_know_is_refused_by_name(tmp_path):
    from environment import POLICY_JOINTS  # noqa: PLC0415  of the example's folder

    calves = tuple(joint.replace("knee", "calf") for joint in POLICY_JOINTS)
    with pytest.raises(EnvelopeError, match="there is no channel 'FL_knee'"):
        pack_legged(tmp_path, ENVELOPE, calves)
    strange = pack_legged(tmp_path, ENVELOPE.replace("knee", "calf"), calves)
    with pytest.raises(PortError, match=r"This robot has no channel q\[FL_calf\]"):
        walk_in(tmp_path, strange)


@pytest.mark.slow
def test_an_operator_who_says_nothing_is_replaced_by_what_the_envelope_says(tmp_path):
    """There is no dead-man switch in this envelope: the policy walks on, by the configured values."""
    text = ENVELOPE.replace("dead_man = true", "dead_man = false").replace(
        "high = 0.6\n\n[operator", "high = 0.6\ntimeout_value = 0.125\n\n[operator"
    )
    bundle = pack_legged(tmp_path, text)
    walked = walk_in(tmp_path, bundle, robot="pkg:legged_drivers:Long", wish=until_it_runs)
    rows = walked.recording.records
    assert walked.result.ended == "done"
    spoken = rows["operator_stamp_ns"] > 0
    active = rows["mode"] == Mode.ACTIVE
    assert np.unique(rows["operator"][active & spoken], axis=0).tolist() == [pytest.approx(WALK)]
    assert np.unique(rows["operator"][active & ~spoken], axis=0).tolist() == [[0.125, 0.0, 0.0]]
    silent_ns = rows["start_ns"][active & ~spoken][0] - rows["operator_stamp_ns"][active & spoken][-1]
    assert 300_000_000 < silent_ns < 2_000_000_000
    assert walked.course["upright"].min() > np.cos(np.radians(30))


@pytest.mark.slow
def test_a_script_holds_the_switch_also_while_the_robot_is_on_its_way_to_the_start_pose(tmp_path):
    bundle = pack_legged(tmp_path, ENVELOPE)
    script = ["hold 0.1", "arm", "hold 20 velocity[0]=0.25"]  # the way takes a second, the operator's time-out is 0.3 s
    walked = walk_in(tmp_path, bundle, wish=script)
    rows = walked.recording.records
    assert (walked.result.ended, walked.result.fault) == ("done", None)
    assert np.unique(rows["operator"][rows["mode"] == Mode.ACTIVE][:, 0]).tolist() == [0.0, 0.25]


@pytest.mark.slow
def test_letting_go_of_the_switch_makes_it_stand_and_then_lie_down(tmp_path):
    bundle = pack_legged(tmp_path, ENVELOPE)
    walked = walk_in(tmp_path, bundle, robot="pkg:legged_drivers:Long", wish=until_it_runs)
    rows = walked.recording.records
    assert (walked.result.ended, Event(rows["event"][rows["mode"] == Mode.FALLBACK][0])) == ("fault", Event.DEAD_MAN)
    assert sources_after(rows, Mode.FALLBACK) == [Source.SAFE, Source.DAMP, Source.LAPSE]
    assert walked.course["height"][-1] < 0.2


@pytest.mark.slow
def test_a_policy_that_is_killed_in_mid_stride_leaves_a_robot_that_sinks_to_the_ground(tmp_path, bundle):
    def kill(progress) -> None:
        policy = loop_parts.children().get("policy")
        if progress.ticks > 600 and policy and progress.mode == Mode.ACTIVE:
            os.kill(policy, signal.SIGKILL)

    walked = walk_in(tmp_path, bundle, on_progress=kill, robot="pkg:legged_drivers:Long")
    rows = walked.recording.records
    assert walked.result.ended == "fault"
    assert sources_after(rows, Mode.FALLBACK) == [Source.DAMP, Source.LAPSE]
    names = [channel.name for channel in walked.recording.header.channels("command")]
    damped = rows["command"][rows["source"] == Source.DAMP]
    stiffness, damping = (damped[:, [name.startswith(gain) for name in names]] for gain in ("kp[", "kd["))
    assert (np.unique(stiffness).tolist(), np.unique(damping).tolist()) == ([0.0], [4.0])
    assert len(damped) == pytest.approx(400, abs=2)
    assert walked.course["height"][-1] < 0.2
    assert np.abs(rows["state"][-1][12:24]).max() < 0.5


def until_it_runs(run: RunStatus) -> tuple[float, float, float] | None:
    """Walk, and then say nothing more."""
    return None if run.loop.stage == "running" else WALK


def sources_after(rows: np.ndarray, mode: Mode) -> list[Source]:
    """Return what the commands came from since the first tick of a mode, one after the other."""
    sources = rows["source"][np.argmax(rows["mode"] == mode) :]
    return [Source(sources[index]) for index in np.flatnonzero(np.diff(sources, prepend=-1))]
