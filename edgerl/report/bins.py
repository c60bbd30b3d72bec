"""Long series made short enough to draw, without hiding what matters.

Each bin of successive samples keeps its smallest and largest value, and where the middle half of its values lies.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Bins:
    """A series by successive bins of equally many samples; the last may hold fewer."""

    size: int
    """Samples in a bin; 1: nothing was put together."""
    x: Floats
    """Position of the first sample of each bin, then of the end of the last one: one more than bins."""
    low: Floats
    """NaN where a bin holds nothing finite."""
    high: Floats
    lower_quarter: Floats
    """A quarter of the bin's finite values lie below it."""
    upper_quarter: Floats


def min_max(x: NDArray[np.int64], y: NDArray[np.floating], limit: int) -> Bins:
    """Return ``y`` over ``x`` in at most ``limit`` bins.

    Args:
        x: Position of each sample, increasing, shape (n,), n > 0.
        y: Values, shape (n,); what is not finite is left out.
        limit: Most bins, > 0.
    """
    size = -(-x.size // limit)
    count = -(-x.size // size)
    values = np.full(count * size, np.nan)
    values[: x.size] = np.where(np.isfinite(y), y, np.nan)
    ordered = np.sort(values.reshape(count, size), axis=1)  # NaN last
    last = np.maximum(np.isfinite(ordered).sum(axis=1) - 1, 0)
    rows = np.arange(count)
    edges = np.append(x[::size], x[-1] + 1).astype(np.float64)
    return Bins(size, edges, *(ordered[rows, (last * part).round().astype(int)] for part in (0.0, 1.0, 0.25, 0.75)))


def log_edges(values: Floats, count: int) -> Floats:
    """Return ``count`` + 1 edges, equal in ratio, that hold all ``values`` > 0, shape (n,), n > 0."""
    low, high = float(np.min(values)), float(np.max(values))
    if high <= low * 1.0001:  # all the same: a bin of a tenth around it
        low, high = low / 1.05, high * 1.05
    return np.asarray(np.geomspace(low * 0.999999, high * 1.000001, count + 1), np.float64)
