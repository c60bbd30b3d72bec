"""A legged robot: an Isaac-style policy of 50 Hz in a control loop of 200 Hz, on twelve drives with gains, and pushed.

The robot is a simulation in a process of its own, reached through the driver in `legged/`, which is a start for yours.
The operator arms it, holds the dead-man switch, and says how fast it should walk.
"""

import contextlib
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

import edgerl

LEGGED = Path(__file__).parent / "legged"
sys.path.insert(0, str(LEGGED))
os.environ["PYTHONPATH"] = str(LEGGED)  # the driver is imported by another process

from environment import Environment, load_actor  # noqa: E402
from policy import WEIGHTS, legged_policy  # noqa: E402
from trial import PUSHES, TRACK  # noqa: E402

WALK = (0.4, 0.0, 0.0)
"""Forward and to the left in m/s, and turning in rad/s."""


def record_truth(path: Path, rows: int = 250) -> None:
    """Write down what the policy did where it was trained, for the export to be compared with."""
    env, actor = Environment(), load_actor(WEIGHTS)
    env.command[:] = WALK
    observations, actions = np.zeros((rows, 45), np.float32), np.zeros((rows, 12), np.float32)
    for row in range(rows):
        observations[row] = env.observe()
        actions[row] = actor.act(observations[row])
        env.step(actions[row])
    np.savez(path, obs=observations, action=actions, episode_start=np.arange(rows) == 0)


def reach(socket: Path) -> edgerl.Control:
    """Connect to the run as soon as it is there."""
    while True:
        with contextlib.suppress(edgerl.EdgerlError):
            return edgerl.connect(control=str(socket))
        time.sleep(0.05)


def operate(socket: Path) -> None:
    """Be the operator: hold the switch, arm, and walk, until the run has ended."""
    with contextlib.suppress(edgerl.EdgerlError), reach(socket) as run:
        while True:
            stage = run.status().loop.stage
            if stage in ("waiting", "arming", "running"):
                run.operate(WALK, dead_man=True)
            if stage == "waiting":
                run.arm(wait=False)
            time.sleep(0.05)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        record_truth(folder / "truth.npz")
        export = edgerl.export_policy(legged_policy(), truth=folder / "truth.npz")
        print("parity with the trainer:", export.certificate.parity.status)
        edgerl.save_export(export, folder / "legged.onnx")
        bundle = folder / "legged.edgerl"
        edgerl.pack_files(
            folder / "legged.onnx", bundle, target=edgerl.host_target(), envelope=LEGGED / "envelope.toml"
        )
        os.environ["LEGGED_TRACK"] = str(folder / "track.npy")
        threading.Thread(target=operate, args=(folder / "run.sock",), daemon=True).start()
        options = edgerl.RunOptions(control=edgerl.ControlOptions(path=str(folder / "run.sock")), stay=False)
        result = edgerl.run_file(bundle, "pkg:trial:Trial", recording=folder / "run.mcap", options=options)
        track = np.load(folder / "track.npy")
    print(f"ended {result.ended}: {result.message}")
    if result.ended != "done":
        sys.exit(1)
    verdict(track)


def verdict(track: np.ndarray) -> None:
    """Say how it went, by what only the simulation knows."""
    course = dict(zip(TRACK, track.T, strict=True))
    driven = course["driven_s"] > 0
    tilt = np.degrees(np.arccos(course["upright"][driven].min()))
    steady = (course["driven_s"] > 1.0) & (course["driven_s"] < PUSHES[0][0])
    speed = course["forward"][steady].mean()
    stood = "fell" if tilt > 60 else "stayed upright"
    print(f"it {stood} for {course['driven_s'][-1]:.1f} s and {len(PUSHES)} pushes; largest tilt {tilt:.0f} degrees")
    print(f"walked at {speed:.2f} m/s before the first push, {WALK[0]:.2f} m/s were wanted")


if __name__ == "__main__":
    main()
