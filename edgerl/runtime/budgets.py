"""Thresholds of the loop's watchdogs, learned from the recording of a run in which everything was well.

Two rules give all of them. What is counted when it is exceeded, and forgiven a few times, is twice the 99th percentile:
where the project measured it, the 99.9th percentile of a time was about twice its 99th. The budget is also at least a
quarter more than the longest. What is a fault when it is exceeded once is twice the longest. No threshold would have
been met in the run itself. Numbers are rounded up to two digits.

A 99th percentile needs :data:`SAMPLES`; without them, and where what was learned fits no envelope, nothing is returned.
The result is a proposal, a file writes it (:mod:`edgerl.runtime.budgets_file`) and a person puts it into the envelope.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from edgerl.envelope import Degrade
from edgerl.envelope.ladder import MAX_TIME_NS
from edgerl.envelope.watchdog import MAX_FROZEN_TICKS, Jitter
from edgerl.errors import NoBaseline
from edgerl.runtime.baseline import Baseline, Flags, Times, baseline_of, worst_window
from edgerl.runtime.enums import MAX_WINDOW
from edgerl.runtime.quantiles import Summary, summarize, time_text
from edgerl.runtime.recording import Machine, Recording

SAMPLES = 1000
"""Ten of them lie beyond the 99th percentile."""
LEAST_MISSES = 3
"""One bad tick, and another one by chance, are no fault."""
LEAST_FROZEN_TICKS = 10
LEAST_NS = 1_000
"""No threshold is shorter: clocks and futexes take longer."""
_NEEDED = (0.5, 0.99, 0.999)


@dataclass(frozen=True)
class Learned:
    """One threshold and what it was made from."""

    key: str
    """In the envelope file, such as ``loop.budget_s``."""
    what: str
    """What was measured."""
    summary: Summary
    """Times in [ns]; for counts their own unit, and without quantiles."""
    late: int
    """Further ones that came too late to be measured: longer than all."""
    rule: str
    """How the threshold follows."""


@dataclass(frozen=True)
class Budgets:
    """What an envelope may say about times, after a run in which nothing went wrong."""

    budget_ns: int | None
    """From the start of a tick until its action must be there; None: the policy has a delay, and no tick waits."""
    inference_timeout_ns: int
    state_timeout_ns: int
    degrade: Degrade
    jitter: Jitter
    frozen_ticks: int | None
    """None: no state channel is known to be noisy."""
    learned: tuple[Learned, ...]
    """Of each of them, in this order."""
    inference: Summary
    """Inside the engine, in [ns]; for people."""
    ticks: int
    """With the policy in charge, in real time."""
    seconds: float
    period_ns: int
    divider: int
    delay: int
    bundle: str
    """SHA-256."""
    robot: str
    machine: Machine
    started_unix_ns: int


def learn_budgets(recording: Recording, *, noisy: Collection[str] = ()) -> Budgets:
    """Return the thresholds that follow from a recording; a pure function.

    Args:
        recording: Of one run; with the array ``state`` where there are noisy channels.
        noisy: Names of the state channels whose sensors are never still.

    Raises:
        NoBaseline: The run is no baseline, is too short, or what it took fits no envelope; the message says which.
    """
    base = baseline_of(recording, noisy)
    _refuse_few(base)
    _refuse_slow(base)
    degrade, jitter, state = _degrade(base), _jitter(base), _state_timeout(base)
    timeout = _inference_timeout(base, degrade[0])
    budget = _budget(base) if base.loop.delay == 0 else None
    frozen = _frozen(base)
    found = (budget, timeout, state, degrade, jitter, frozen)
    header = recording.header
    return Budgets(
        budget_ns=budget[0] if budget else None,
        inference_timeout_ns=timeout[0],
        state_timeout_ns=state[0],
        degrade=degrade[0],
        jitter=jitter[0],
        frozen_ticks=frozen[0] if frozen else None,
        learned=tuple(one[1] for one in found if one is not None),
        inference=summarize(base.inference, _NEEDED),
        ticks=base.ticks,
        seconds=base.seconds,
        period_ns=base.loop.period_ns,
        divider=base.loop.divider,
        delay=base.loop.delay,
        bundle=header.bundle,
        robot=header.robot,
        machine=header.machine,
        started_unix_ns=header.started_unix_ns,
    )


def _refuse_few(base: Baseline) -> None:
    loop, ticks = base.loop, base.ticks
    answers, gaps = base.inference.size + base.late_answers, base.state_gap.size
    for n, what, need in (
        (answers, "answers of the policy", SAMPLES * loop.divider),
        (base.lateness.size, "ticks", SAMPLES),
        (gaps, "states that followed another one", SAMPLES * ticks // max(1, gaps)),
    ):
        if n < SAMPLES:
            run = need * 11 // 10
            raise NoBaseline(
                f"the run has {n:,} {what} in real time, and a 99th percentile needs {SAMPLES:,}",
                f"Drive for at least {run * loop.period_ns * 1e-9:,.3g} s in real time: --ticks {run}",
            )


def _refuse_slow(base: Baseline) -> None:
    """The 99th percentile of what the policy takes must be known, and be in the time that it can have."""
    loop, answers = base.loop, base.inference.size + base.late_answers
    most_ns = loop.delay * loop.period_ns or loop.period_ns
    if base.late_answers * 100 > answers:
        had = time_text(loop.has_ns)
        took = f"{base.late_answers:,} of {answers:,} answers came after the {had} that the policy had"
        slow_ns = loop.has_ns
    elif (slow_ns := _p99(base.inference)) > most_ns:
        took = (
            f"the 99th percentile of {answers:,} inferences is {time_text(slow_ns)}, and the policy can have "
            f"{time_text(most_ns)} at most"
        )
    else:
        return
    raise NoBaseline(took, _what_fits(base, slow_ns))


def _what_fits(base: Baseline, slow_ns: int) -> str:
    loop = base.loop
    delay = max(loop.delay + 1, -(-2 * slow_ns // loop.period_ns))
    divider = max(delay, loop.divider)
    spec = f"policy_divider = {divider} in its spec and " if divider != loop.divider else ""
    leaves = time_text(delay * loop.period_ns)
    return (
        f"What would fit: {spec}action_delay = {delay} in the envelope, which leave it {leaves}, where it was trained "
        "so; a smaller policy; or a faster target."
    )


def _budget(base: Baseline) -> tuple[int, Learned]:
    loop = base.loop
    longest = max(int(base.answer.max()), loop.budget_ns if base.late_answers else 0)
    wanted = _round_up(max(2 * _p99(base.answer), longest + longest // 4, LEAST_NS))
    rest = 2 * _p99(base.rest) if base.rest.size else 0
    budget = min(wanted, max(longest, loop.period_ns - 1 - rest, LEAST_NS))
    if budget >= loop.period_ns:
        raise NoBaseline(
            f"the longest answer of the policy came {time_text(longest)} after its tick's start, and the period is "
            f"{time_text(loop.period_ns)}",
            _what_fits(base, _p99(base.answer)),
        )
    rule = "twice the 99th percentile, at least a quarter more than the longest"
    if budget < wanted:
        rule += "; less than that, because the rest of the tick needs its time before the period is over"
    what = "from the start of a tick to the policy's answer"
    return budget, Learned("loop.budget_s", what, summarize(base.answer, _NEEDED), base.late_answers, rule)


def _inference_timeout(base: Baseline, degrade: Degrade) -> tuple[int, Learned]:
    """No stricter than the bucket: late answers that it forgives are no fault by another name."""
    loop = base.loop
    has_ns = max(1, loop.delay) * loop.period_ns
    filled_ns = (loop.delay + degrade.misses - 1) * loop.period_ns
    longest = int(base.owed.max()) if base.owed.size else 0
    return _timeout(max(2 * longest, 2 * has_ns, filled_ns)), Learned(
        "loop.inference_timeout_s",
        "how long the policy owed an answer" + (", until that took effect" if loop.delay else ""),
        summarize(base.owed, _NEEDED),
        0,
        f"twice the longest, at least twice the {time_text(has_ns)} that a policy can have and the "
        f"{time_text(filled_ns)} in which late answers in a row fill degrade",
    )


def _state_timeout(base: Baseline) -> tuple[int, Learned]:
    longest = int(base.state_gap.max())
    return _timeout(max(2 * longest, 2 * base.loop.period_ns)), Learned(
        "loop.state_timeout_s",
        "from one state to the next",
        summarize(base.state_gap, _NEEDED),
        0,
        "twice the longest, at least two periods",
    )


def _timeout(time_ns: int) -> int:
    """A fault when it is exceeded once."""
    if time_ns > MAX_TIME_NS:
        raise NoBaseline(
            f"a time-out would be {time_ns * 1e-9:,.0f} s, and an hour is the most that an envelope may say",
            "Check the clock of the machine that made the recording.",
        )
    return min(_round_up(time_ns), MAX_TIME_NS)


def _degrade(base: Baseline) -> tuple[Degrade, Learned]:
    loop = base.loop
    seen, misses = _misses(base.bad, loop.window, 2 * loop.divider + 1, "bad ticks (late, lost or rejected)")
    return Degrade(misses, loop.window), Learned(
        "loop.degrade",
        f"most bad ticks of any {loop.window} in a row",
        Summary(base.bad.size, (), seen),
        0,
        f"more than twice as many, at least {LEAST_MISSES} and what two late answers cost",
    )


def _jitter(base: Baseline) -> tuple[Jitter, Learned]:
    period_ns = base.loop.period_ns
    p99 = _p99(base.lateness)
    if 2 * p99 >= period_ns:
        period = time_text(period_ns)
        raise NoBaseline(
            f"one tick in a hundred began {time_text(p99)} late or later, and the period is {period}",
            "edgerl doctor says what makes a machine wake up in time; or let the loop run at a lower rate.",
        )
    budget = min(_round_up(max(2 * p99, period_ns // 20, LEAST_NS)), max(1, period_ns - 1))
    window = min(max(round(1e9 / period_ns), 20), MAX_WINDOW)
    seen, misses = _misses(base.lateness > budget, window, 0, "ticks that begin too late")
    return Jitter(budget, misses, window), Learned(
        "watchdog.jitter",
        "from the scheduled start of a tick to its start",
        summarize(base.lateness, _NEEDED),
        0,
        f"twice the 99th percentile, at least a 20th of the period; beyond it: {seen} of {window} in a row at most, "
        f"misses are more than twice as many, at least {LEAST_MISSES}",
    )


def _frozen(base: Baseline) -> tuple[int, Learned] | None:
    if base.repeats is None:
        return None
    n, longest = base.repeats
    if 2 * longest > MAX_FROZEN_TICKS:
        raise NoBaseline(f"a noisy channel said the same {longest:,} times", "Look at it, or do not call it noisy.")
    return max(LEAST_FROZEN_TICKS, 2 * longest), Learned(
        "watchdog.frozen_ticks",
        "most states in which a noisy channel repeated itself",
        Summary(n, (), longest),
        0,
        f"twice as many, at least {LEAST_FROZEN_TICKS}",
    )


def _misses(flags: Flags, window: int, least: int, what: str) -> tuple[int, int]:
    """Return the most flags in a window, and more than twice as many, or all of it where half of it is fine."""
    seen = worst_window(flags, window)
    misses = max(2 * seen + 1, LEAST_MISSES, least)
    if misses > window and 2 * seen >= window:
        raise NoBaseline(
            f"{seen:,} of {window:,} ticks in a row were {what}, which is no healthy run",
            "edgerl doctor and edgerl inspect RECORDING say more. Mend it, and run again.",
        )
    return seen, min(misses, window)


def _p99(values: Times) -> int:
    (one,) = summarize(values, (0.99,)).quantiles
    return one.value or 0


def _round_up(value: int) -> int:
    unit: int = 10 ** max(0, len(str(value)) - 2)
    return -(-value // unit) * unit
