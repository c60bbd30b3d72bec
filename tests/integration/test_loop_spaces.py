"""Checkpoints of every kind of space through the whole loop: they act as in the plain environment, step for step."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from edgerl.backends import Engine
from edgerl.backends.onnxruntime import FILE_NAME, OnnxRuntimeRunner
from edgerl.export import export_checkpoint
from edgerl.golden import save_golden_bytes
from edgerl.runtime.enums import Mode, Source
from edgerl.runtime.load import Load
from edgerl.runtime.plant_lines import Span
from edgerl.runtime.recording.read import read_recording
from edgerl.runtime.run import RunOptions, run_load
from tests import loop_parts, space_environments

ZOO = Path(__file__).parents[1] / "zoo"
EPISODES = 3


pytestmark = pytest.mark.usefixtures("core")


def load_of(entry: str) -> Load:
    export = export_checkpoint(ZOO / entry)
    spec = replace(export.model.spec, period_ns=20_000_000)
    engine = Engine("onnxruntime", "linux-x86_64", "float32", export.model.digest, spec, {FILE_NAME: export.model.onnx})
    return Load(engine, save_golden_bytes(export.golden), loop_parts.quick_envelope(spec), "ab" * 32)


def plain_episode(runner: OnnxRuntimeRunner, env: gymnasium.Env, seed: int) -> tuple[int, float]:
    """Return steps and return of the same policy without any loop."""
    observation, _ = env.reset(seed=seed)
    runner.reset()
    steps, total, over = 0, 0.0, False
    while not over:
        for name, array in runner.inputs.items():
            part = observation[name.partition(".")[2]] if isinstance(observation, dict) else observation
            array[0] = np.reshape(part, array.shape[1:])
        runner.infer()
        space = env.action_space
        action = runner.outputs["action"][0].astype(space.dtype).reshape(space.shape)
        observation, reward, terminated, truncated, _ = env.step(action[()])
        steps, total, over = steps + 1, total + float(reward), terminated or truncated
    return steps, total


@pytest.mark.parametrize(
    ("entry", "env_id"),
    [
        ("sb3-dqn-cartpole", "CartPole-v1"),
        ("sb3-a2c-discrete", "JudgeOfChoices-v0"),
        ("sb3-a2c-multibinary", "JudgeOfSwitches-v0"),
        ("sb3-ppo-squash-sde", "JudgeOfMatrices-v0"),
        ("sb3-td3-dict", "JudgeOfDicts-v0"),
        ("sb3contrib-recurrentppo-novelcartpole", "NoVelocityCartPole-v0"),
    ],
)
def test_episodes_of_the_loop_are_those_of_the_plain_environment(entry, env_id, tmp_path) -> None:
    load = load_of(entry)
    options = RunOptions(realtime_s=0.0, episodes=EPISODES, seed=5)
    module = f"{space_environments.__name__.rpartition('.')[2]}:"
    result = run_load(load, f"gym:{module}{env_id}", tmp_path / "run", options)
    assert (result.ended, result.fault, result.misses.rejected, result.misses.saturated) == ("done", None, 0, 0)
    runner = OnnxRuntimeRunner(load.engine.files[FILE_NAME], load.engine.spec)
    env = gymnasium.make(env_id, disable_env_checker=True)
    plain = [plain_episode(runner, env, 5 + index) for index in range(EPISODES)]
    env.close()
    assert [episode.steps for episode in result.episodes] == [steps for steps, _ in plain]
    assert [episode.episode_return for episode in result.episodes] == pytest.approx([total for _, total in plain])
    for episode in result.episodes:
        assert (episode.missed, episode.outside) == (0, 0)
        assert episode.applied == (Span(Mode.ACTIVE, Source.POLICY, episode.steps),)
    rows = read_recording(tmp_path / "run").records
    assert (rows["source"] == Source.POLICY).sum() == sum(steps for steps, _ in plain)
