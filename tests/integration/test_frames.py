"""Policies that see, in the whole loop: their images, a camera's process of their own, and everything that may fail."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from edgerl.backends.onnxruntime import OnnxRuntimeRunner
from edgerl.bundle.load import Bundle
from edgerl.bundle.pack import pack
from edgerl.envelope import default_envelope
from edgerl.errors import LoopError
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


pytestmark = pytest.mark.usefixtures("core")


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


CAMERA = """
import sys, time
import numpy as np
from edgerl.runtime.frames import FrameWriter
path, writes = sys.argv[1:]
with FrameWriter({"observation.image": ((36, 36, 3), "uint8")}, path) as frames:
    print("ready", flush=True)
    while True:
        if writes == "yes":
            frames.write("observation.image", np.zeros((36, 36, 3), np.uint8))
        else:
            frames.attend()
        time.sleep(0.002)
"""


class Camera:
    """A camera's process."""

    def __init__(self, path: Path, *, writes: bool = True) -> None:
        self.path = path
        command = [sys.executable, "-c", CAMERA, str(path), "yes" if writes else "no"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Camera:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (signal.SIGSTOP, "as the image was too old."),
        (signal.SIGKILL, "as the image was too old. Now: observation.image:"),
    ],
    ids=["stopped", "killed"],
)
def test_a_camera_that_stops_leads_down_the_ladder_and_is_named(number, said, tmp_path):
    bundle = packed(REACH, tmp_path)
    with Camera(tmp_path / "camera.sock") as camera:
        hit: list[float] = []

        def on_progress(now) -> None:
            if now.stage == "running" and now.ticks > 30 and not hit:
                hit.append(time.monotonic())
                camera.process.send_signal(number)

        options = RunOptions(episodes=1000, frames={"observation.image": str(camera.path)})
        result = run(bundle, f"gym:{MODULE}:DictReach-v0", tmp_path / "run.mcap", options, on_progress)
    assert hit
    assert (result.ended, result.fault) == ("fault", "bucket_fault")
    assert said in result.message
    counts = result.frames
    assert counts is not None
    assert counts.stale >= 3
    assert counts.taken > 0
    assert 0 < counts.oldest_ns <= 40 * MS
    assert {"FALLBACK", "STOPPED"} <= {span.mode.upper() for span in result.modes}
    assert result.modes[-1].source.upper() == "LAPSE"


def test_a_camera_that_gives_nothing_keeps_the_policy_from_being_armed(tmp_path):
    bundle = packed(REACH, tmp_path)
    with Camera(tmp_path / "camera.sock", writes=False) as camera:
        options = RunOptions(frames={"observation.image": str(camera.path)}, timeouts=loop_parts.impatient())
        with pytest.raises(LoopError, match=r"did not arm.*action late.*as no image had come yet"):
            run(bundle, f"gym:{MODULE}:DictReach-v0", tmp_path / "run.mcap", options)


def test_without_a_source_the_policy_is_not_started(tmp_path):
    bundle = packed(CATCH, tmp_path)
    with pytest.raises(LoopError, match=r"nothing says where these images come from.*--frames observation=shm:PATH"):
        run(bundle, "udp:127.0.0.1:9", tmp_path / "run.mcap", RunOptions(arm=True))
