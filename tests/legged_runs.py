"""The legged robot of the examples, run by its operator: in simulated time, so that no load of the machine matters."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgerl.bundle.load import load_bundle
from edgerl.bundle.pack import pack_files
from edgerl.errors import EdgerlError
from edgerl.export import export_policy, save_export
from edgerl.runtime.control.client import connect
from edgerl.runtime.control.listener import ControlOptions
from edgerl.runtime.control.messages import RunStatus
from edgerl.runtime.course import Progress
from edgerl.runtime.recording import Recording
from edgerl.runtime.recording.read import read_recording
from edgerl.runtime.result import RunResult
from edgerl.runtime.run import RunOptions, run
from edgerl.target import host_target
from edgerl.teleop import play

FOLDER = Path(__file__).parents[1] / "examples" / "legged"

Wish = Callable[[RunStatus], tuple[float, float, float] | None] | list[str]
"""What the operator says, as the run stands; None: nothing. Or a script of ``edgerl teleop``."""


@dataclass(frozen=True, eq=False)
class Walked:
    """A run that has ended."""

    result: RunResult
    recording: Recording
    course: dict[str, np.ndarray]
    """What the simulation saw, by the names of ``trial.TRACK``."""


def pack_legged(folder: Path, envelope: str, joints: tuple[str, ...] | None = None) -> Path:
    """Write the bundle of the example's policy under an envelope's text, and return its path."""
    from environment import POLICY_JOINTS  # noqa: PLC0415  of the example's folder
    from policy import legged_policy  # noqa: PLC0415

    save_export(export_policy(legged_policy(joints or POLICY_JOINTS)), folder / "legged.onnx")
    (folder / "envelope.toml").write_text(envelope)
    bundle = folder / "legged.edgerl"
    pack_files(folder / "legged.onnx", bundle, target=host_target(), envelope=folder / "envelope.toml")
    return bundle


def walk(
    bundle: Path, folder: Path, robot: str, wish: Wish, on_progress: Callable[[Progress], None] | None = None
) -> Walked:
    """Run a bundle; ``LEGGED_TRACK`` must name ``folder / "track.npy"``."""
    from trial import TRACK  # noqa: PLC0415  of the example's folder

    over = threading.Event()
    socket = folder / "r.sock"
    operator = threading.Thread(target=_operate, args=(socket, wish, over))
    operator.start()
    try:
        options = RunOptions(control=ControlOptions(path=str(socket)), stay=False)
        result = run(load_bundle(bundle), robot, folder / "run.mcap", options, on_progress)
    finally:
        over.set()
        operator.join(20.0)
    course = dict(zip(TRACK, np.load(folder / "track.npy").T, strict=True))
    return Walked(result, read_recording(folder / "run.mcap"), course)


def _operate(socket: Path, wish: Wish, over: threading.Event) -> None:
    """Arm when the run waits, and go on saying what is wished."""
    while not over.is_set():
        try:
            with connect(control=str(socket)) as asked:
                while not over.is_set():
                    status = asked.status()
                    if isinstance(wish, list):
                        if status.loop.stage == "waiting":
                            play(asked, wish)
                        time.sleep(0.02)
                        continue
                    wanted = wish(status)
                    if wanted is not None and status.loop.stage not in ("starting", "loading"):
                        asked.operate(wanted, dead_man=True)
                    if status.loop.stage == "waiting":
                        asked.arm(wait=False)
                    time.sleep(0.02)
        except EdgerlError:  # not there yet, or not any more
            time.sleep(0.02)
