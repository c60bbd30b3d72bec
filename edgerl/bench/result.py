"""What a run of the benchmarks says, as one document: samples, gates with their verdicts, and the machine.

A gate is one number beside its limit. It is ``passed`` only where the whole interval is on the good side, ``failed``
where the number itself is not, and ``undecided`` in between or with too few samples: not enough to say, which is no
pass. What could not be run is ``not_run``, with the reason.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from edgerl.bench.statistics import (
    Estimate,
    Rounds,
    Times,
    carried,
    difference_of_quantiles,
    ratio_of_quantiles,
    survival,
)
from edgerl.deploy.doctor.facts import Facts
from edgerl.runtime.quantiles import Summary, summarize

SCHEMA = 1
Verdict = Literal["passed", "failed", "undecided", "not_run"]


@dataclass(frozen=True)
class Sample:
    """One measured time of one variant, all rounds together, in [ns]."""

    name: str
    summary: Summary
    curve: tuple[tuple[int, float], ...]
    """Time, and the share of samples at or above it; what the drawing needs."""


@dataclass(frozen=True)
class Fact:
    """A number that belongs to the picture and has no limit."""

    name: str
    value: float
    unit: str


@dataclass(frozen=True)
class Gate:
    """One number beside its limit."""

    name: str
    verdict: Verdict
    value: float | None
    limit: float
    """The number must be at most this."""
    unit: str
    """Empty for a ratio."""
    low: float | None
    high: float | None
    """Ends of the 95 % interval, where one was drawn."""
    reason: str
    """Why there is no verdict, or what a reader must know of it."""


@dataclass(frozen=True)
class Benchmark:
    """One benchmark's result."""

    name: str
    title: str
    how: str
    """What was done, for people."""
    seconds: float
    samples: tuple[Sample, ...]
    facts: tuple[Fact, ...]
    gates: tuple[Gate, ...]


@dataclass(frozen=True)
class RuntimeBench:
    """The document."""

    schema: int
    edgerl: str
    """Version."""
    date: str
    """UTC, to the day."""
    quick: bool
    """Made with ``--quick``: enough to see that everything runs, too little to be quoted."""
    machine: Facts
    python: str
    unfit_for: tuple[str, ...]
    """Checks of ``edgerl doctor`` that fail on this machine for 1 kHz."""
    load_before: float
    """Load average over the last minute when it began: what others did on the machine."""
    seconds: float
    benchmarks: tuple[Benchmark, ...]

    @property
    def passed(self) -> bool:
        """Whether every gate of every benchmark passed."""
        gates = [gate for one in self.benchmarks for gate in one.gates]
        return bool(gates) and all(gate.verdict == "passed" for gate in gates)


def sample(name: str, values: Times) -> Sample:
    """Return what the values of one variant say."""
    return Sample(name, summarize(values), survival(values))


def ratio_gate(name: str, ours: Sequence[Times], theirs: Sequence[Times], q: float, limit: float) -> Gate:
    """Return the gate of a ratio of quantiles of two variants that took turns, samples by round."""
    return _compare(name, (ours, theirs), q, (limit, ""), ratio_of_quantiles)


def difference_gate(name: str, ours: Sequence[Times], theirs: Sequence[Times], q: float, limit_ns: float) -> Gate:
    """Return the gate of a difference of quantiles of two variants that took turns, samples by round, in [ns]."""
    return _compare(name, (ours, theirs), q, (limit_ns, "ns"), difference_of_quantiles)


def _compare(
    name: str,
    rounds: tuple[Sequence[Times], Sequence[Times]],
    q: float,
    limit: tuple[float, str],
    estimate: Callable[[Rounds, Rounds, float], Estimate],
) -> Gate:
    if not all(rounds) or not all(one.size for variant in rounds for one in variant):
        return undecided(name, *limit, "a round of it has no sample")
    left, right = map(Rounds, rounds)
    if not carried(q, left, right):
        why = f"n = {left.values.size} and {right.values.size} in {left.count} rounds are not enough to say"
        return undecided(name, *limit, why)
    return judged(name, estimate(left, right, q), *limit)


def judged(name: str, found: Estimate, limit: float, unit: str) -> Gate:
    """Return the gate of a number with an interval: passed where all of it is within the limit."""
    verdict: Verdict = "passed" if found.high <= limit else "failed" if not found.value <= limit else "undecided"
    reason = "the interval reaches beyond the limit: not enough samples to say" if verdict == "undecided" else ""
    return Gate(name, verdict, _finite(found.value), limit, unit, _finite(found.low), _finite(found.high), reason)


def counted(name: str, found: int, *, of: int, needed: int, said: str = "") -> Gate:
    """Return the gate of something that must never happen, in ``of`` trials where ``needed`` are enough to say so.

    Args:
        name: The gate's.
        found: How often it happened.
        of: Trials made.
        needed: Fewer are not enough to say that it never happens.
        said: About the first time that it happened.
    """
    if found > 0:
        return Gate(name, "failed", float(found), 0.0, "", None, None, "; ".join(filter(None, (f"of {of:,}", said))))
    if of < needed:
        return Gate(name, "undecided", 0.0, 0.0, "", None, None, f"of {of:,}; {needed:,} are needed to say")
    return Gate(name, "passed", 0.0, 0.0, "", None, None, f"of {of:,}")


def at_most(name: str, value: float, limit: float, unit: str, reason: str = "") -> Gate:
    """Return the gate of a number without an interval."""
    verdict: Verdict = "passed" if value <= limit else "failed"
    return Gate(name, verdict, _finite(value), limit, unit, None, None, reason)


def not_run(name: str, limit: float, unit: str, why: str) -> Gate:
    """Return the gate of what could not be run."""
    return Gate(name, "not_run", None, limit, unit, None, None, why)


def undecided(name: str, limit: float, unit: str, why: str) -> Gate:
    """Return the gate of what there are not enough samples to speak of."""
    return Gate(name, "undecided", None, limit, unit, None, None, why)


def _finite(value: float) -> float | None:
    """NaN and infinity have no place in the document; a gate that met one has not passed."""
    return float(value) if math.isfinite(value) else None
