"""Numbers and states in the words that people read: one form for each kind of number on the whole page."""

from __future__ import annotations

import math

from edgerl.runtime.enums import Event, Mode, Source

EVENT_WORDS: dict[Event, str] = {
    Event.NOMINAL: "nothing to report",
    Event.OPERATOR_LOST: "no fresh operator values",
    Event.OVERRUN: "tick began a period late or more",
    Event.SWITCH: "another policy took over",
    Event.PREPARE: "on the way to the start pose",
    Event.ARM: "armed",
    Event.ACTION_LATE: "action late: no answer within the budget",
    Event.STATE_LOST: "no new state from the robot",
    Event.REJECT: "action rejected by the envelope",
    Event.DISARM: "disarmed on request",
    Event.DONE: "robot says: done",
    Event.BUCKET_FAULT: "fault: too many degraded ticks",
    Event.JITTER_FAULT: "fault: too many late wake-ups",
    Event.LAPSED: "fault: the command written last had lapsed",
    Event.STATE_FROZEN: "fault: the robot's state is frozen",
    Event.STATE_LIMIT: "fault: the robot's state is outside its limits",
    Event.STATE_FAULT: "fault: the robot's state is not usable",
    Event.INFERENCE_TIMEOUT: "fault: the policy owes its answer for too long",
    Event.POLICY_FAULT: "fault: the policy process died",
    Event.DEAD_MAN: "fault: the dead-man switch was released",
    Event.SUPERVISOR_FAULT: "fault: no heartbeat from the supervisor",
    Event.LADDER_END: "end of the fallback ladder",
    Event.RESET: "reset on request",
    Event.ESTOP: "e-stop",
    Event.QUIT: "ended on request",
}
FAULTS = frozenset({*(event for event in Event if Event.BUCKET_FAULT <= event <= Event.SUPERVISOR_FAULT), Event.ESTOP})
DEGRADES = frozenset({Event.OVERRUN, Event.ACTION_LATE, Event.STATE_LOST, Event.REJECT})
CAUSE_WORDS = ("not finite", "below low", "above high", "rate", "acceleration")
"""In the order of the cause bits."""
NONE = "\N{EM DASH}"
_MINUS = "\N{MINUS SIGN}"


def count(value: int) -> str:
    """Return an integer with separators."""
    return f"{value:,}"


def number(value: float | None) -> str:
    """Return a measured number with what its size makes worth reading."""
    if value is None or math.isnan(value):
        return NONE if value is None else "not a number"
    if math.isinf(value):
        return "∞" if value > 0 else f"{_MINUS}∞"
    size = abs(value)
    if size >= 1000:
        shown = f"{value:,.1f}"
    elif size and size < 0.001:
        shown = f"{value:.2e}"
    else:
        shown = f"{value:.4g}"
    return shown.replace("-", _MINUS, 1) if value < 0 else shown


def microseconds(value_ns: int | None) -> str:
    """Return a time in [µs]: one digit after the point below 100."""
    if value_ns is None:
        return NONE
    value = value_ns / 1000
    return (f"{value:.1f}" if abs(value) < 100 else f"{value:,.0f}").replace("-", _MINUS)


def duration(value_ns: int) -> str:
    """Return a configured time in the unit that suits it."""
    for unit, size in (("s", 10**9), ("ms", 10**6), ("µs", 10**3)):
        if value_ns >= size:
            return f"{value_ns / size:,.6g} {unit}"
    return f"{value_ns} ns"


def percent(part: float, whole: float) -> str:
    """Return a share in percent; a small one keeps its first digits."""
    if not whole:
        return NONE
    share = 100 * part / whole
    return f"{share:.1f} %" if share == 0 or abs(share) >= 1 else f"{share:.2g} %"


def plural(value: int, one: str, many: str | None = None) -> str:
    """Return a count with its noun."""
    return f"{count(value)} {one if value == 1 else many or one + 's'}"


def mode(value: int) -> str:
    """Return a mode's name; a number that is none says so."""
    return Mode(value).name if value in Mode.__members__.values() else f"mode {value}"


def source(value: int) -> str:
    """Return in words where a command came from."""
    return Source(value).name.lower() if value in Source.__members__.values() else f"source {value}"


def quantile(q: float) -> str:
    """Return the usual name of a quantile, such as ``p99.9``."""
    return f"p{100 * q:.6g}"
