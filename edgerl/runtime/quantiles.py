"""Quantiles of measured times: only those that the sample can carry.

A quantile q says something about the slowest (1 - q) of all ticks; a sample with less than three of these shows luck.
So q needs n >= 3 / (1 - q), and below that there is no number, only the n that is missing. Every quantile is a value
that was measured (nearest rank), never one in between.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

QUANTILES = (0.5, 0.9, 0.99, 0.999)
TAIL_SAMPLES = 3
"""Samples that must lie beyond a quantile: with three, none beyond the true one has a probability under 5 %."""


@dataclass(frozen=True)
class Quantile:
    """One quantile of a sample."""

    q: float
    value: int | None
    """None: the sample cannot carry it."""
    needed: int
    """Samples that would carry it."""


@dataclass(frozen=True)
class Summary:
    """What a sample of times can say, all in its own unit."""

    n: int
    quantiles: tuple[Quantile, ...]
    maximum: int | None
    """None: the sample is empty."""


def samples_needed(q: float) -> int:
    """Return the smallest sample that carries the quantile ``q``, 0 <= q < 1."""
    return math.ceil(round(TAIL_SAMPLES / (1 - q), 6))  # rounded, since 3 / (1 - 0.9) is 30.000000000000004


def summarize(values: NDArray[np.int64], quantiles: tuple[float, ...] = QUANTILES) -> Summary:
    """Return size, carried quantiles and maximum of ``values``, shape (n,), any order."""
    ordered = np.sort(values)
    n = int(ordered.size)
    return Summary(n, tuple(_quantile(ordered, q) for q in quantiles), int(ordered[-1]) if n else None)


def time_text(time_ns: int) -> str:
    """Return a time for people, with three digits that mean something."""
    if time_ns < 999_500:  # which is 1 ms in three digits
        return f"{time_ns / 1e3:.3g} µs"
    return f"{time_ns / 1e6:.3g} ms" if time_ns < 999_500_000 else f"{time_ns / 1e9:,.5g} s"


def _quantile(ordered: NDArray[np.int64], q: float) -> Quantile:
    needed = samples_needed(q)
    if ordered.size < needed:
        return Quantile(q, None, needed)
    rank = max(1, math.ceil(round(q * ordered.size, 6)))
    return Quantile(q, int(ordered[rank - 1]), needed)
