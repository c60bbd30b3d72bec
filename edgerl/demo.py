"""The whole way once, on real input: a policy trained on HalfCheetah, from the trainer's checkpoint to a driven robot.

The robot is Gymnasium's MuJoCo HalfCheetah in a process of its own: the first 15 s in real time, where latency and
lateness are measured, the rest of the episode in lockstep. Everything goes through the same public functions that a
user calls; nothing is special but the paths.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgerl.bundle.pack import pack_files
from edgerl.data import data_folder
from edgerl.errors import OutputError
from edgerl.export import export_checkpoint, save_export
from edgerl.parity import ParityReport
from edgerl.report.run_report import TrainerReturn
from edgerl.run import check_extras, run_file
from edgerl.runtime.course import Progress
from edgerl.runtime.result import RunResult
from edgerl.runtime.run import RunOptions
from edgerl.target import host_target

ROBOT = "gym:HalfCheetah-v5"
SEED = 0
REALTIME_S = 15.0
FLOOR = 0.97
"""Share of the trainer's own return below which the demo did not go well."""


@dataclass(frozen=True)
class DemoResult:
    """What the demo came to, and where its files lie."""

    passed: bool
    """Parity held, the episode ended in order, and its return reached :data:`FLOOR` of the trainer's."""
    parity: ParityReport
    episode_return: float | None
    trainer_return: TrainerReturn
    run: RunResult
    model: str
    bundle: str
    report: str
    seconds: float
    """Wall time of all of it."""


def run_demo(
    folder: Path | str,
    *,
    on_stage: Callable[[str], None] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> DemoResult:
    """Export, check, pack and run the policy; write model, bundle, recording and report into ``folder``.

    Args:
        folder: Made where it is missing; what an earlier demo wrote there is replaced.
        on_stage: Called with what begins now.
        on_progress: Called about ten times a second while the robot is driven.

    Raises:
        MissingExtra: The simulator or the plots are not installed.
        ParityFailed: The export does not act as trained.
        LoopError: The control loop did not start.
        OutputError: The folder cannot be written.
    """
    begun = time.monotonic()
    check_extras(ROBOT, "report.html")
    say = on_stage or (lambda _: None)
    source, folder = data_folder("examples") / "halfcheetah", _made(Path(folder))
    model, bundle, report = folder / "policy.onnx", folder / "policy.edgerl", folder / "report.html"
    recording = folder / "recording.mcap"
    recording.unlink(missing_ok=True)

    say("exporting the checkpoint and comparing it with the trainer's own actions")
    export = export_checkpoint(source / "model.zip", truth=source / "truth.npz", spec=source / "spec.toml")
    save_export(export, model)
    say("packing it with its limits")
    pack_files(model, bundle, target=host_target(), envelope=source / "envelope.toml")
    say("driving HalfCheetah")
    trained = _trainer_return(source / "meta.json")
    options = RunOptions(seed=SEED, realtime_s=REALTIME_S)
    result = run_file(
        bundle,
        ROBOT,
        recording=recording,
        report=report,
        options=options,
        trainer_return=trained,
        on_progress=on_progress,
    )
    episode_return = result.episodes[0].episode_return if result.episodes else None
    reached = episode_return is not None and trained.floor is not None and episode_return >= trained.floor
    return DemoResult(
        passed=reached and result.ended == "done",
        parity=export.certificate.parity,
        episode_return=episode_return,
        trainer_return=trained,
        run=result,
        model=str(model),
        bundle=str(bundle),
        report=str(report),
        seconds=time.monotonic() - begun,
    )


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} cannot be made ({error.strerror}). Give another one with -o.") from error
    return folder


def _trainer_return(path: Path) -> TrainerReturn:
    meta = json.loads(path.read_text())
    return TrainerReturn(meta["mean_return"], meta["std_return"], meta["episodes"], FLOOR * meta["mean_return"])
