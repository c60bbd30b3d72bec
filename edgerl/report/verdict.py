"""Did it go well? The few questions that decide it, each answered in one sentence from the run's own numbers.

A check is ``bad`` where the run did not do what it should, ``note`` where something was degraded or is not known, and
``good`` otherwise. What nobody set a limit for is shown and not judged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgerl.report import words
from edgerl.report.measure import drove, has_event
from edgerl.report.run_report import RunReport

Level = Literal["good", "note", "bad"]


@dataclass(frozen=True)
class Check:
    """One question and its answer."""

    name: str
    level: Level
    short: str
    """A number or a word."""
    detail: str


@dataclass(frozen=True)
class Verdict:
    """The answers together."""

    level: Level
    headline: str
    checks: tuple[Check, ...]


def judge(report: RunReport) -> Verdict:
    """Return the verdict on a run: as bad as its worst check."""
    checks = (_parity(report), _return(report), _misses(report), _faults(report), _end(report))
    bad = [check.name.lower() for check in checks if check.level == "bad"]
    notes = [check.name.lower() for check in checks if check.level == "note"]
    if not report.recording.records.size:
        return Verdict("bad", "Nothing ran: the recording holds no tick.", checks)
    if bad:
        return Verdict("bad", f"The run did not go well: see {_listed(bad)}.", checks)
    if notes:
        return Verdict("note", f"The run went well, with a remark on {_listed(notes)}.", checks)
    return Verdict("good", "The run went well.", checks)


def _parity(report: RunReport) -> Check:
    parity = report.parity
    if parity.status == "not_run":
        return Check("Parity", "note", "not run", parity.against)
    wrong = sum(one.wrong > 0 for one in (*parity.channels, *parity.state))
    rows = f"on {words.plural(parity.rows, 'row')} of the trainer's own actions"
    if parity.status == "failed" or wrong:
        return Check("Parity", "bad", "failed", f"{words.plural(wrong, 'channel')} beyond the tolerance {rows}")
    return Check("Parity", "good", "passed", rows)


def mean_return(report: RunReport) -> float | None:
    """Return the mean over the episodes that were driven to their end; None where there is none."""
    returns = [e.episode_return for e in report.result.episodes if e.left is None and e.episode_return is not None]
    return math.fsum(returns) / len(returns) if returns else None


def _return(report: RunReport) -> Check:
    value, reference = mean_return(report), report.trainer_return
    if value is None:
        said = "no whole episode" if report.result.episodes else "the robot gives none"
        return Check("Return", "note" if reference or report.result.episodes else "good", words.NONE, said)
    driven = sum(e.left is None for e in report.result.episodes)
    over = f"over {words.plural(driven, 'episode')}"
    if reference is None:
        return Check("Return", "good", words.number(value), f"{over}; the trainer's own is not known")
    share = f"{words.percent(value, reference.mean)} of " if reference.mean > 0 else ""
    own = f"the trainer's own {words.number(reference.mean)} ± {words.number(reference.std)}"
    detail = f"{over}: {share}{own} ({words.plural(reference.episodes, 'episode')})"
    low = reference.floor is not None and not value >= reference.floor
    if low:
        detail += f"; expected at least {words.number(reference.floor)}"
    return Check("Return", "bad" if low else "good", words.number(value), detail)


def _misses(report: RunReport) -> Check:
    misses = report.result.misses
    total = misses.actions_late + misses.states_lost + misses.missed_periods
    of = f"in {words.plural(misses.ticks, 'tick')} in mode ACTIVE"
    if not total:
        return Check("Misses", "good", "none", of)
    late, lost = words.plural(misses.actions_late, "late action"), words.plural(misses.states_lost, "tick")
    skipped = words.plural(misses.missed_periods, "skipped period")
    return Check("Misses", "note", words.count(total), f"{late}, {lost} without a new state, {skipped} {of}")


def _faults(report: RunReport) -> Check:
    ticks = report.recording.records
    met = [(int(np.argmax(hits)), event) for event in words.FAULTS if (hits := has_event(ticks, event)).any()]
    if not met and report.result.fault is None:
        return Check("Faults", "good", "none", "nothing led out of the policy's hands")
    if not met:
        return Check(
            "Faults", "bad", report.result.fault or "", "not in the recording, but in the guardian's own status"
        )
    (row, event), *later = sorted(met)
    said = words.EVENT_WORDS[event].removeprefix("fault: ")
    if later:
        said += f"; later {', '.join(words.EVENT_WORDS[event].removeprefix('fault: ') for _, event in later)}"
    return Check("Faults", "bad", f"tick {words.count(int(ticks['tick'][row]))}", said)


def _end(report: RunReport) -> Check:
    ticks = report.recording.records
    if not ticks.size:
        return Check("Mode at the end", "bad", words.NONE, "no tick was made")
    last = int(ticks["mode"][-1])
    driven = drove(ticks)
    if not driven:
        return Check("Mode at the end", "bad", words.mode(last), "the policy never drove: no action of it was sent")
    share = f"The policy drove {words.percent(driven, ticks.size)} of the recorded ticks."
    good = report.result.ended in ("done", "ticks", "stopped")
    return Check("Mode at the end", "good" if good else "bad", words.mode(last), f"{report.result.message} {share}")


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
