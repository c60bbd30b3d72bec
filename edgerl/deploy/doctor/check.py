"""What a check says, and the one rule by which a delay becomes pass, warn or fail.

A shortcoming of a machine is given as a delay: about what it costs a tick once in a thousand, under load. Whether that
matters depends on the control period alone:

* from **half a period** on it fails: what is left is less than the policy was promised;
* from **a twentieth of a period** on it warns: it shows in the jitter, and adds up with others;
* below that it passes, with the value told.

So ordinary scheduling (5 ms) fails at 1 kHz and warns at 10 Hz. The figures are orders of magnitude for deciding what
to mend first; they are no measurement of this machine, which only a benchmark of the running loop gives.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["pass", "warn", "fail", "not_run"]

FAIL_SHARE = 2
"""A delay of this part of the period (1/2) fails."""
WARN_SHARE = 20
"""A delay of this part of the period (1/20) warns."""

_ORDER = ("pass", "warn", "fail")


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    status: Status
    """``not_run`` where the machine does not say; that is never a pass."""
    found: str
    """What is there, with its value; for ``not_run`` why it is not known."""
    why: str
    """What it does to a control loop, in one sentence."""
    mend: str
    """Command that mends it now, or what to do where no command can; empty unless it warns or fails."""
    keep: str
    """What keeps it so after a reboot; empty where ``mend`` lasts by itself."""


@dataclass(frozen=True)
class Outcome:
    """What one look gave; with name and reason it becomes a :class:`Check`, which drops the mending of what passes."""

    status: Status
    found: str
    mend: str = ""
    keep: str = ""


class Unread(Exception):
    """The machine does not tell this fact; the text says what is missing. Never leaves :func:`examine`."""


def judge(delay_ns: int, period_ns: int, *, at_least: Status = "pass", at_most: Status = "fail") -> Status:
    """Return what a delay means at a control period.

    Args:
        delay_ns: What the shortcoming costs, in [ns].
        period_ns: Control period in [ns].
        at_least: The mildest answer; ``warn`` where the delay has no upper limit.
        at_most: The hardest answer; ``warn`` where it slows the loop, but does not stop it.
    """
    share = "fail" if delay_ns * FAIL_SHARE >= period_ns else "warn" if delay_ns * WARN_SHARE >= period_ns else "pass"
    index = min(max(_ORDER.index(share), _ORDER.index(at_least)), _ORDER.index(at_most))
    status: Status = ("pass", "warn", "fail")[index]
    return status


def duration(ns: int) -> str:
    """Return a time as people read it."""
    for unit, size in (("s", 10**9), ("ms", 10**6), ("µs", 10**3)):
        if ns >= size:
            return f"{ns / size:.3g} {unit}"
    return f"{ns} ns"
