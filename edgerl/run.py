"""A bundle's file on a robot, with a recording and a report in files: what ``edgerl run`` does."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from edgerl.bundle.load import load_bundle
from edgerl.envelope import Envelope
from edgerl.errors import LoopError, MissingExtra, NoBaseline, OutputError
from edgerl.files import check_place
from edgerl.report.collect import report_of
from edgerl.report.page import write_report
from edgerl.report.run_report import TrainerReturn
from edgerl.runtime.budgets_file import check_free, learn_file
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
    learn: Path | str | None = None,
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
        learn: New TOML file to write the budgets into that follow from how long things took; where none can be learned,
            the result says why.
        options: How to run; a control socket named after the bundle is made where they say none.
        trainer_return: What the trainer's own evaluation says, for the report.
        on_progress: Called about ten times a second.

    Raises:
        MissingExtra: The simulator or the plots are not installed.
        BundleError: The bundle is damaged or cannot be read.
        LoopError: The robot, the guardian or the policy did not start, or budgets are wanted of a run in lockstep.
        OutputError: A file could not be written, or a report or budgets are wanted of a run that is not recorded.
    """
    options = options or RunOptions()
    if report is not None and not options.keep.ticks:
        raise OutputError("A report needs the recording of its run. Record the run, or leave the report away.")
    check_extras(robot, report)
    if learn is not None:
        _check_learnable(learn, options)
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
    return result if learn is None else _learned(result, learn, loaded.manifest.envelope)


def _check_learnable(learn: Path | str, options: RunOptions) -> None:
    """Before a robot is driven for it."""
    if not options.keep.ticks:
        raise OutputError("Budgets are learned from the recording of a run. Record it, or do not learn from it.")
    if options.realtime_s == 0:
        raise LoopError(
            "Nothing can be learned from a run in lockstep: the robot waits for its commands, and nothing is late. Run "
            "it in real time (without --realtime, or with the seconds that it takes)."
        )
    check_free(learn)


def _learned(result: RunResult, learn: Path | str, envelope: Envelope) -> RunResult:
    """A run that is no baseline is a run all the same, so its result is kept."""
    noisy = [one.name for one in envelope.state.channels if one.noisy] if envelope.state else []
    try:
        if not result.recording or result.lost_records:
            why = f"{result.lost_records:,} ticks of the run are not in its recording" if result.recording else ""
            raise NoBaseline(why or "nothing was recorded", "Run it again, and record all of it.")
        return replace(result, budgets=learn_file(result.recording, learn, noisy=noisy))
    except NoBaseline as error:
        return replace(result, no_budgets=str(error))


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
