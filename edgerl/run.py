"""A bundle's file on a robot, with a recording and a report in files: what ``edgerl run`` does."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from edgerl.bundle.load import load_bundle
from edgerl.errors import MissingExtra, OutputError
from edgerl.files import check_place
from edgerl.report.collect import report_of
from edgerl.report.page import write_report
from edgerl.report.run_report import TrainerReturn
from edgerl.runtime.control.listener import ControlOptions
from edgerl.runtime.course import Progress
from edgerl.runtime.result import RunResult
from edgerl.runtime.run import RunOptions, run


def run_file(
    bundle: Path | str,
    robot: str,
    *,
    shadow: Path | str | None = None,
    recording: Path | str | None = None,
    report: Path | str | None = None,
    options: RunOptions | None = None,
    trainer_return: TrainerReturn | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> RunResult:
    """Run a bundle on a robot until the robot is done, a person stops it, or a fault does.

    Args:
        bundle: Its file; every digest in it is checked before anything is used.
        robot: ``gym:ENV_ID`` or ``udp:HOST:PORT``.
        shadow: A bundle whose policy gets the same observations; its actions are recorded and never sent.
        recording: New file for all ticks; otherwise one named after bundle and time, in this folder. The dumps of
            faults get names like it, also where ``options.keep`` says that nothing else is kept.
        report: HTML file to write; none is written where the run was stopped before its first tick.
        options: How to run; a control socket named after the bundle is made where they say none.
        trainer_return: What the trainer's own evaluation says, for the report.
        on_progress: Called about ten times a second.

    Raises:
        MissingExtra: The simulator or the plots are not installed.
        BundleError: The bundle is damaged or cannot be read.
        LoopError: The robot, the guardian or the policy did not start.
        OutputError: A file could not be written, or a report is wanted of a run that is not recorded.
    """
    options = options or RunOptions()
    if report is not None and not options.keep.ticks:
        raise OutputError("A report needs the recording of its run. Record the run, or leave the report away.")
    check_extras(robot, report)
    loaded = load_bundle(bundle)
    if report is not None:
        check_place(Path(report))
    if options.control is None:
        options = replace(options, control=ControlOptions(run_name(bundle)))
    path = Path(recording) if recording else Path(f"{Path(bundle).stem}-{time.strftime('%Y%m%d-%H%M%S')}.mcap")
    beside = load_bundle(shadow) if shadow is not None else None
    result = run(loaded, robot, path, options, on_progress, shadow=beside)
    if report is not None and result.recording:
        write_report(report, report_of(loaded, bundle, result, trainer_return=trainer_return))
    return result


def run_name(bundle: Path | str) -> str:
    """Return the name of a run of this bundle, where nobody gave it another."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", Path(bundle).stem).lstrip("._-")[:40] or "run"


def check_extras(robot: str, report: Path | str | None) -> None:
    """Refuse a run that would miss something at its end, or halfway, before anything is started.

    Raises:
        MissingExtra: The simulator or the plots are not installed.
    """
    if robot.startswith("gym:") and find_spec("gymnasium") is None:
        raise MissingExtra("A Gymnasium environment as the robot", "sim")
    if report is not None and find_spec("matplotlib") is None:
        raise MissingExtra("A report with plots", "report")
