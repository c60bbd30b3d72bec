"""Ratios of quantiles of two variants that took turns, with an interval that says how sure they are.

Noise on a shared machine comes in bursts, so successive samples are not independent; rounds are. The bootstrap draws
whole rounds with replacement, both variants of a round together, and the interval is what the ratio did over the
draws. A quantile that the samples cannot carry (:mod:`edgerl.runtime.quantiles`) gives no ratio.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgerl.runtime.quantiles import samples_needed

Times = npt.NDArray[np.int64]
"""Samples in [ns], shape (n,)."""

CONFIDENCE = 0.95
MIN_ROUNDS = 5
"""With fewer, the smallest and the largest draw of the bootstrap are all that there is to see."""
DRAWS = 2000


@dataclass(frozen=True)
class Estimate:
    """A number, and between what it would lie if the rounds were drawn again."""

    value: float
    low: float
    high: float
    """Ends of the 95 % interval."""


class Rounds:
    """The samples of one variant, by round, sorted once so that a draw of rounds costs one pass.

    Args:
        samples: Of each round, shape (n_i,), each n_i > 0.
    """

    def __init__(self, samples: Sequence[Times]) -> None:
        pooled = np.concatenate(samples)
        order = np.argsort(pooled, kind="stable")
        self.values = pooled[order]
        self.count = len(samples)
        self._round = np.repeat(np.arange(len(samples)), [len(one) for one in samples])[order]

    def quantile(self, q: float, times: npt.NDArray[np.int64] | None = None) -> float:
        """Return the quantile ``q``, nearest rank, where round i counts ``times[i]`` times; None: each once."""
        if times is None:
            return float(self.values[rank(q, self.values.size)])
        above = np.cumsum(times[self._round])
        return float(self.values[int(np.searchsorted(above, max(1.0, math.ceil(q * int(above[-1])))))])


def rank(q: float, n: int) -> int:
    """Return the index of the quantile ``q`` among ``n`` ordered samples."""
    return max(1, math.ceil(round(q * n, 6))) - 1


def carried(q: float, *variants: Rounds) -> bool:
    """Whether every variant has rounds and samples enough to speak of its quantile ``q``."""
    return all(one.count >= MIN_ROUNDS and one.values.size >= samples_needed(q) for one in variants)


def ratio_of_quantiles(ours: Rounds, theirs: Rounds, q: float, *, seed: int = 0) -> Estimate:
    """Return the quantile ``q`` of ``ours`` by that of ``theirs``; both have the same number of rounds.

    A denominator of 0 makes it infinite.
    """
    random = np.random.default_rng(seed)
    draws = np.array([
        _ratio(ours.quantile(q, times), theirs.quantile(q, times))
        for times in random.multinomial(ours.count, [1 / ours.count] * ours.count, size=DRAWS)
    ])  # fmt: skip
    return _estimate(_ratio(ours.quantile(q), theirs.quantile(q)), draws)


def difference_of_quantiles(ours: Rounds, theirs: Rounds, q: float, *, seed: int = 0) -> Estimate:
    """Return the quantile ``q`` of ``ours`` less that of ``theirs``, in [ns]; both have the same number of rounds."""
    random = np.random.default_rng(seed)
    draws = np.array([
        ours.quantile(q, times) - theirs.quantile(q, times)
        for times in random.multinomial(ours.count, [1 / ours.count] * ours.count, size=DRAWS)
    ])  # fmt: skip
    return _estimate(ours.quantile(q) - theirs.quantile(q), draws)


def _ratio(above: float, below: float) -> float:
    return above / below if below > 0 else math.inf


def _estimate(value: float, draws: npt.NDArray[np.float64]) -> Estimate:
    tail = (1 - CONFIDENCE) / 2
    ordered = np.sort(draws)
    low, high = ordered[rank(tail, ordered.size)], ordered[rank(1 - tail, ordered.size)]
    return Estimate(value, float(low), float(high))


def survival(values: Times, points: int = 60) -> tuple[tuple[int, float], ...]:
    """Return times in [ns] and the share of samples at or above each, thinned to what a drawing shows."""
    ordered = np.sort(values)
    n = ordered.size
    if n == 0:
        return ()
    above = np.unique(np.geomspace(1, n, points).round().astype(np.int64))[::-1]
    return tuple((int(ordered[n - count]), float(count / n)) for count in above)
