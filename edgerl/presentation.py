"""How the results of the commands look to people; what each number means is said beside it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.text import Text

from edgerl.console import display, err, heading, note, show_pairs, show_table, status, visible

COMMAND_SOURCES = (
    ("policy", "the policy's action that is in effect, through the envelope"),
    ("hold", "the command that was written last"),
    ("safe", "the bundle's safe command"),
    ("ramp", "on the way to the start pose, then at it"),
    ("on-reject", "what the bundle names for a refused command: hold, safe or lapse"),
    ("ladder", "after a fault, rung by rung as the bundle says: hold, safe, damp, standby, lapse"),
    ("lapse", "nothing; the robot's own time-out acts"),
)
"""What the table's words for a tick's command mean."""
CLOCKS = {"GRID": " in real time", "LOCKSTEP": " in lockstep"}

if TYPE_CHECKING:
    from edgerl.artifacts import Comparison
    from edgerl.bundle.manifest import Claim
    from edgerl.bundle.verify import Check
    from edgerl.demo import DemoResult
    from edgerl.deploy.doctor import Examination
    from edgerl.export import Certificate
    from edgerl.parity import ParityReport
    from edgerl.runtime.control.messages import RunStatus
    from edgerl.runtime.core import ModeRow
    from edgerl.runtime.course import Progress
    from edgerl.runtime.frame_counts import FrameCounts
    from edgerl.runtime.quantiles import Summary
    from edgerl.runtime.result import Misses, RunResult, Timing


def show_certificate(certificate: Certificate) -> None:
    """Print what an export was compared with, and what is still unknown."""
    parity = certificate.parity
    if parity.status == "not_run":
        err.print(Text("parity", "bold"), status(parity.status) + Text(f": {parity.against}"))
        note("Nothing proves that this export acts as trained. Give recorded actions of the trainer with --truth.")
    else:
        against = Text(f"against {visible(parity.against)}, {parity.rows:,} rows")
        err.print(Text("parity", "bold"), status(parity.status), against)
        _show_channels(parity)
    if certificate.defaults:
        note(f"from the trainer's defaults: {', '.join(certificate.defaults)}")
    if certificate.unknowns:
        rows = [[one.field, one.why, one.example] for one in certificate.unknowns]
        show_table("still unknown; edgerl pack needs it (--template, --spec)", ["field", "why", "for example"], rows)


def show_claims(claims: Sequence[Claim | Check]) -> None:
    """Print what a bundle claims or what verifying it found."""
    show_table("claims", ["claim", "status", "evidence"], [[one.name, one.status, one.evidence] for one in claims])


def show_comparison(comparison: Comparison) -> None:
    """Print in what two artifacts differ."""
    if comparison.identical:
        note("identical")
        return
    model = comparison.model
    fields = [[one.where, one.left or "none", one.right or "none"] for one in comparison.bundle] or [
        [one.field, one.first, one.second] for one in model.fields
    ]
    operators = [[one.operator, str(one.first), str(one.second)] for one in model.operators]
    constants = [[one.name, _difference(one.max_difference)] for one in model.constants]
    actions = [[str(one.channel), f"{one.max_difference:.3g}", f"{one.tolerance:.3g}"] for one in model.actions]
    for title, header, rows in (
        ("fields and files", ["where", "first", "second"], fields),
        ("operators", ["operator", "first", "second"], operators),
        ("constants", ["name", "largest difference"], constants),
        (
            f"actions on the same {model.rows:,} observations",
            ["channel", "largest difference", "parity would allow"],
            actions,
        ),
    ):
        if rows:
            show_table(title, header, rows)


def show_run(result: RunResult) -> None:
    """Print what a run came to."""
    _show_ending(result)
    for warning in result.warnings:
        note(f"Warning: {warning}")
    rows = _run_rows(result)
    for one in result.episodes:
        if one.episode_return is not None:
            cut = ", cut short" if one.left else ""
            rows.append([f"episode {one.index}", f"return {one.episode_return:.1f} in {one.steps:,} steps{cut}"])
    rows.append(["recording", result.recording or "none: nothing was recorded"])
    show_pairs([*rows, *(["dump of a fault", dump] for dump in result.dumps)])
    if result.no_budgets:
        err.print(Text("no: ", "bold red") + Text(visible(result.no_budgets), "default"), soft_wrap=True)


def show_budgets(rows: list[list[str]], ticks: int) -> None:
    """Print what was learned: each key of the envelope with its value and what was measured."""
    heading("budgets", f"learned from {ticks:,} ticks in real time with the policy in charge")
    show_pairs(rows)


def loop_rows(misses: Misses, timing: Timing) -> list[list[str]]:
    """Return what went wrong in a run and its times, as rows of a name and a text."""
    late = (
        f"{misses.actions_late} late actions, {misses.states_lost} lost states, {misses.missed_periods} missed periods"
    )
    return [
        ["misses", f"{late}, of {misses.ticks:,} ticks with the policy in charge"],
        ["envelope", f"{misses.rejected} commands rejected, {misses.saturated} saturated"],
        ["latency", _quantiles(timing.latency, "state stamp to command written")],
        ["lateness", _quantiles(timing.lateness, "tick start minus scheduled start")],
        ["inference", _quantiles(timing.inference, "inside the engine")],
    ]


def show_demo(result: DemoResult) -> None:
    """Print what the demo came to and where its files lie."""
    _show_ending(result.run)
    trained, own = result.trainer_return, result.episode_return
    reached = "no episode ended" if own is None else f"{own:.1f}, {own / trained.mean:.1%} of the trainer's own"
    worst = max(result.parity.channels, key=lambda one: one.max_error)
    error = f"largest error {worst.max_error:.2g}, {worst.tolerance:.2g} allowed, on {result.parity.rows} observations"
    show_pairs(
        [
            ["parity", f"{result.parity.status}: {error}"],
            ["return", f"{reached} ({trained.mean:.1f} ± {trained.std:.1f} in {trained.episodes} episodes)"],
            *_run_rows(result.run),
            ["model", result.model],
            ["bundle", result.bundle],
            ["recording", result.run.recording],
            ["report", result.report],
        ]
    )
    if result.passed:
        verdict = Text("The demo went well", "bold green")
    elif result.run.ended in ("stopped", "estop"):
        verdict = Text("The demo was stopped before it could tell", "bold yellow")
    else:
        verdict = Text("The demo did not go well", "bold red")
    err.print(verdict, f"({result.seconds:.0f} s).")


def show_modes(rows: Sequence[ModeRow]) -> None:
    """Print the mode table: in each mode, the events with the same consequence share a line."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for row in rows:
        groups.setdefault((row.mode, row.source, row.next_mode), []).append(row.event)
    cells, above = [], ""
    for (mode, source, next_mode), events in groups.items():
        cells.append(["" if mode == above else mode, source, next_mode, ", ".join(events)])
        above = mode
    show_table("What is sent in each mode, whatever happens", ["mode", "command", "next mode", "on"], cells)
    heading("command", "")
    show_pairs([[name, text] for name, text in COMMAND_SOURCES if any(row.source == name for row in rows)])
    entered = {"safe", *(row.next_mode for row in rows if row.next_mode != row.mode)}
    idle = sorted({row.mode for row in rows} - entered)
    if idle:
        note(f"No event leads to {', '.join(idle)} in this version.")


def show_examination(examination: Examination) -> None:
    """Print what was found of a machine: a line for each check, then why and how to mend what is not well."""
    rate = f"{1e9 / examination.period_ns:g} Hz ({examination.rate_from})"
    show_table("", ["check", "status", "found"], [[one.name, one.status, one.found] for one in examination.checks])
    for one in examination.checks:
        if one.status in ("warn", "fail"):
            err.print()
            err.print(Text(one.name, "bold"), status(one.status), Text(one.why))
            for title, text in (("mend", one.mend), ("keep after a reboot", one.keep)):
                if text:
                    err.print(Text(f"{title}: ", "cyan") + Text(text), soft_wrap=True)
    err.print()
    if examination.fit:
        err.print(Text("fit", "bold green"), f"for {rate}")
    else:
        err.print(Text("unfit", "bold red"), f"for {rate}: {', '.join(examination.unfit_for)}")


def show_standing(run: RunStatus) -> None:
    """Print how a run stands."""
    show_pairs(_standing_rows(run))


@contextmanager
def one_line() -> Iterator[Callable[[str], None]]:
    """Yield a function that writes over the last line on stderr."""
    try:
        yield lambda text: print(f"\r\x1b[K{visible(text)}", end="", file=sys.stderr, flush=True)  # noqa: T201
    finally:
        print(file=sys.stderr)  # noqa: T201


@contextmanager
def watching() -> Iterator[Callable[[RunStatus], None]]:
    """Yield a function that keeps how a run stands on the screen."""
    with display(quiet=False) as say:
        yield lambda run: say(_standing_line(run))


def _standing_rows(run: RunStatus) -> list[list[str]]:
    loop = run.loop
    owner = f"{run.owner.name} (uid {run.owner.uid})" if run.owner else "nobody"
    rows = [
        ["run", f"{run.name}, process {run.pid}, on {run.robot}"],
        ["stage", loop.stage],
        ["mode", f"{loop.mode or 'none yet'}{CLOCKS.get(loop.clock, '')}, tick {loop.ticks:,}"],
        ["policy", f"{loop.policy.state}, {_restarted(loop.restarts)}of bundle {loop.policy.bundle[:12]}"],
        ["misses", f"{loop.actions_late} late actions, {loop.states_lost} lost states, {loop.missed_periods} periods"],
        ["owner", owner],
    ]
    if loop.candidate.state:
        shadow = f"{loop.candidate.state}, of bundle {loop.candidate.bundle[:12]}; {loop.shadowed:,} actions recorded"
        rows.append(["candidate", shadow])
    if loop.fault:
        rows.append(["fault", f"{loop.fault} in tick {loop.fault_tick:,}"])
    if loop.message:
        rows.append(["why", loop.message])
    return rows


def _restarted(times: int) -> str:
    return f"started again {times} times, " if times else ""


def _standing_line(run: RunStatus) -> str:
    loop = run.loop
    why = f"; {loop.message}" if loop.message else ""
    return f"{run.name}: {loop.stage}, {loop.mode}{CLOCKS.get(loop.clock, '')}, tick {loop.ticks:,}{visible(why)}"


@contextmanager
def run_progress(*, quiet: bool) -> Iterator[Callable[[Progress], None]]:
    """Yield a function that shows on stderr where a run is."""
    with display(quiet=quiet) as say:
        told = ""

        def on_progress(now: Progress) -> None:
            nonlocal told
            if now.stage in ("waiting", "stopped") and told != now.stage and not quiet:
                verb = "arm" if now.stage == "waiting" else "rearm"
                note(f"{now.stage} in {now.mode.name}; to go on: edgerl {verb} --control {now.control}")
            told = now.stage
            counts = f"{now.actions_late} late, {now.states_lost} lost, {now.missed_periods} missed periods"
            clock = CLOCKS.get(now.clock.name, "")
            say(f"{now.stage}: {now.mode.name}{clock}, tick {now.ticks:,}; {counts}")

        yield on_progress


def _show_ending(result: RunResult) -> None:
    style = "green" if result.ended in ("done", "ticks") else "bold red"
    err.print(Text(result.ended, style) + Text(f": {visible(result.message)}", "default"), soft_wrap=True)
    got = result.scheduling
    refused = {
        "real-time scheduling": got.priority_errno,
        "its CPU": got.affinity_errno,
        "a memory lock": got.lock_errno,
    }
    warnings = [
        f"The guardian did not get {what} ({os.strerror(errno)}). edgerl doctor says what mends it."
        for what, errno in refused.items()
        if errno
    ]
    for warning in (*warnings, *result.recording_trouble):
        err.print(Text("warning: ", "yellow") + Text(visible(warning), "default"), soft_wrap=True)


def _run_rows(result: RunResult) -> list[list[str]]:
    ticks = f"{result.ticks:,}: {result.realtime_ticks:,} in real time, {result.lockstep_ticks:,} in lockstep"
    return [["ticks", ticks], *loop_rows(result.misses, result.timing), *_frame_rows(result.frames)]


def _frame_rows(counts: FrameCounts | None) -> list[list[str]]:
    if counts is None:
        return []
    taken = f"{counts.taken:,} observations with all of them, the oldest {counts.oldest_ns / 1e6:,.1f} ms"
    return [["images", f"{taken}; {counts.unanswered:,} not answered for want of one"]]


def _show_channels(parity: ParityReport) -> None:
    rows = [
        [one.name, f"{one.max_error:.3g}", f"{one.tolerance:.3g}", str(one.wrong), str(one.worst_row)]
        for one in (*parity.channels, *parity.state)
    ]
    show_table("", ["channel", "largest error", "allowed", "rows wrong", "worst row"], rows)
    if parity.near_tie_count:
        note(f"{parity.near_tie_count} rows differ where the two largest logits are closer than float32 can tell apart")


def _quantiles(summary: Summary | None, what: str) -> str:
    if summary is None:
        return f"not known: robot and controller have different clocks ({what})"
    if not summary.n:
        return f"no tick in real time ({what})"
    carried = [f"p{one.q * 100:g} {one.value / 1e3:,.0f} µs" for one in summary.quantiles if one.value is not None]
    return ", ".join([*carried, f"n = {summary.n:,}"]) + f" ({what})"


def _difference(value: float | None) -> str:
    return "only in one, or of another shape" if value is None else f"{value:.3g}"
