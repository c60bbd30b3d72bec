"""The exported policy earns what the trainer's own evaluation says, in the plain environment."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgerl import export_checkpoint, find_backend, host_target, load_target
from edgerl.backends import build

EXAMPLE = Path(__file__).parents[2] / "examples" / "halfcheetah"
EPISODES = 10


def test_ten_halfcheetah_episodes_earn_within_one_percent_of_the_trainers_return():
    gymnasium = pytest.importorskip("gymnasium", reason="edgerl[sim] is not installed")
    export = export_checkpoint(EXAMPLE / "model.zip", truth=EXAMPLE / "truth.npz", spec=EXAMPLE / "spec.toml")
    backend = find_backend("onnxruntime")
    runner = backend.load(build(export.model, load_target(host_target()), backend, export.golden))
    environment = gymnasium.make("HalfCheetah-v5")
    returns = [_episode(environment, runner, seed) for seed in range(EPISODES)]
    environment.close()
    trainers = json.loads((EXAMPLE / "meta.json").read_text())["mean_return"]
    assert np.mean(returns) == pytest.approx(trainers, rel=0.01)


def _episode(environment, runner, seed: int) -> float:
    observation, _ = environment.reset(seed=seed)
    runner.reset()
    total, over = 0.0, False
    while not over:
        runner.inputs["observation"][0] = observation
        runner.infer()
        observation, reward, terminated, truncated, _ = environment.step(runner.outputs["action"][0])
        total += float(reward)
        over = terminated or truncated
    return total
