"""Policies that see, in the whole loop: their images, a camera's process of their own, and everything that may fail."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from edgerl.backends.onnxruntime import OnnxRuntimeRunner
from edgerl.bundle.load import Bundle
from edgerl.bundle.pack import pack
from edgerl.envelope import default_envelope
from edgerl.export import export_checkpoint
from edgerl.runtime.enums import Mode, Source
from edgerl.runtime.plant_lines import Span
from edgerl.runtime.run import RunOptions, run
from edgerl.target import host_target, load_target
from tests import image_environments, loop_parts

ZOO = Path(__file__).parents[1] / "zoo"
MODULE = image_environments.__name__.rpartition(".")[2]
CATCH, REACH = "sb3-ppo-catch-cnn", "sb3-ppo-dictreach-multiinput"
EPISODES = 12
MS = 1_000_000


@pytest.fixture(scope="module", autouse=True)
def core(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGERL_CORE_DIR", str(loop_parts.core_folder(tmp_path_factory)))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]))
        yield


def packed(entry: str, folder: Path) -> Bundle:
    """Return the bundle of a checkpoint, exported and packed as a user would."""
    facts = folder / "spec.toml"
    facts.write_text("period_s = 0.02\n")
    folder_of = ZOO / entry
    export = export_checkpoint(folder_of, truth=folder_of / "truth.npz", spec=facts)
    envelope = replace(default_envelope(export.model.spec), allow_lockstep=True)
    target = load_target(host_target())
    return pack(export.model, target=target, envelope=envelope, golden=export.golden, certificate=export.certificate)


def plain_episode(bundle: Bundle, runner: OnnxRuntimeRunner, env: gymnasium.Env, seed: int) -> float:
    """Return the return of the same policy without any loop."""
    observation, _ = env.reset(seed=seed)
    total, over = 0.0, False
    while not over:
        for name, array in runner.inputs.items():
            part = observation[name.partition(".")[2]] if isinstance(observation, dict) else observation
            array[0] = np.reshape(part, array.shape[1:])
        runner.infer()
        space = env.action_space
        action = runner.outputs["action"][0].astype(space.dtype).reshape(space.shape)
        observation, reward, terminated, truncated, _ = env.step(action[()])
        total, over = total + float(reward), terminated or truncated
    return total


@pytest.mark.parametrize(("entry", "env_id"), [(CATCH, "Catch-v0"), (REACH, "DictReach-v0")])
def test_a_policy_that_sees_earns_its_trainers_return_and_acts_as_in_the_plain_environment(entry, env_id, tmp_path):
    bundle = packed(entry, tmp_path)
    options = RunOptions(realtime_s=0.0, episodes=EPISODES, seed=5)
    result = run(bundle, f"gym:{MODULE}:{env_id}", tmp_path / "run.mcap", options)
    assert (result.ended, result.fault, result.misses.actions_late) == ("done", None, 0)
    env = gymnasium.make(f"{image_environments.__name__}:{env_id}", disable_env_checker=True)
    runner = OnnxRuntimeRunner(bundle.files["model.onnx"], bundle.manifest.spec)
    plain = [plain_episode(bundle, runner, env, 5 + index) for index in range(EPISODES)]
    env.close()
    earned = [episode.episode_return for episode in result.episodes]
    assert earned == pytest.approx(plain)
    for episode in result.episodes:
        assert (episode.missed, episode.outside) == (0, 0)
        assert episode.applied == (Span(Mode.ACTIVE, Source.POLICY, episode.steps),)
    trainer = json.loads((ZOO / entry / "meta.json").read_text())
    assert np.mean(earned) == pytest.approx(trainer["mean_return"], abs=2 * trainer["std_return"] / EPISODES**0.5)
    counts = result.frames
    assert counts is not None
    assert (counts.unanswered, counts.oldest_ns) == (0, 0)
    assert counts.taken >= sum(episode.steps for episode in result.episodes)
