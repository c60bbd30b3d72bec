"""Is this machine fit to run a control loop at a rate, and what would make it so.

Every check says what it found, why that matters, and the command that mends it (``docs/doctor.md`` lists them all).
The doctor changes nothing: it reads files of the kernel, and tries in a child process what no file tells. What a
machine does not say is ``not_run``, which is never a pass.

It judges what a machine is set up for. How late a loop really is, only a run of the loop tells.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgerl.bundle.load import Bundle
from edgerl.deploy.doctor.check import Check, Outcome, Unread
from edgerl.deploy.doctor.examiners import EXAMINERS, Examiner
from edgerl.deploy.doctor.facts import Facts, facts_of
from edgerl.deploy.doctor.subject import Subject
from edgerl.deploy.doctor.tree import Tree
from edgerl.deploy.doctor.tries import RealTries, Tries
from edgerl.errors import TargetError

DEFAULT_PERIOD_NS = 1_000_000
"""Judged for where neither a bundle nor a period is given: the shortest period of the targets that come with edgerl."""


@dataclass(frozen=True)
class Examination:
    """What was found, and whether the loop may run here at this rate."""

    period_ns: int
    """Control period that was judged for, in [ns]."""
    rate_from: str
    """Who said so: caller, bundle or default."""
    machine: Facts
    checks: tuple[Check, ...]
    unfit_for: tuple[str, ...]
    """Checks that failed, and essential ones that could not be made."""
    fit: bool
    """Nothing is in ``unfit_for``."""


def examine(
    *,
    bundle: Bundle | None = None,
    period_ns: int | None = None,
    root: Path = Path("/"),
    tries: Tries | None = None,
    recordings: Path = Path(),
) -> Examination:
    """Examine this machine for a bundle or a control period; nothing on it is changed.

    Args:
        bundle: What is to run here; None: machine only, and its two checks are ``not_run``.
        period_ns: Control period in [ns]; None: the bundle's, or 1 ms without one.
        root: Where the machine's file system begins.
        tries: What asks the kernel; None: this machine's.
        recordings: Folder that recordings will be written to.

    Raises:
        TargetError: The period is not positive.
    """
    period, rate_from = _rate(bundle, period_ns)
    subject = Subject(Tree(root), tries or RealTries(), period, bundle, recordings)
    checks = tuple(_check(one, subject) for one in EXAMINERS)
    unfit = tuple(check.name for one, check in zip(EXAMINERS, checks, strict=True) if _unfit(one, check, bundle))
    return Examination(period, rate_from, facts_of(subject), checks, unfit, fit=not unfit)


def check_names() -> tuple[str, ...]:
    """Return the names of all checks, in the order of an examination."""
    return tuple(one.name for one in EXAMINERS)


def _rate(bundle: Bundle | None, period_ns: int | None) -> tuple[int, str]:
    if period_ns is not None:
        if period_ns <= 0:
            raise TargetError(
                f"The control period is {period_ns} ns. Expected more than 0; give the loop's own period."
            )
        return period_ns, "caller"
    return (DEFAULT_PERIOD_NS, "default") if bundle is None else (bundle.manifest.period_ns, "bundle")


def _check(one: Examiner, subject: Subject) -> Check:
    try:
        outcome = one.look(subject)
    except Unread as reason:
        outcome = Outcome("not_run", str(reason))
    amiss = outcome.status in {"warn", "fail"}
    where = "on the container's host: " if one.of_host and subject.container else ""
    mend, keep = (where + text if text and amiss else "" for text in (outcome.mend, outcome.keep))
    found = "".join(letter if letter.isprintable() else "?" for letter in outcome.found)  # it goes to a terminal
    return Check(one.name, outcome.status, found, one.why, mend, keep)


def _unfit(one: Examiner, check: Check, bundle: Bundle | None) -> bool:
    unknown = check.status == "not_run" and one.essential and not (one.of_bundle and bundle is None)
    return check.status == "fail" or unknown
