"""Ratios between variants that took turns, and how sure they are."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgerl.bench.statistics import (
    MIN_ROUNDS,
    Rounds,
    carried,
    difference_of_quantiles,
    ratio_of_quantiles,
    survival,
)


def rounds(*values: list[int]) -> Rounds:
    return Rounds([np.array(one, np.int64) for one in values])


def noisy(seed: int, scale: float, count: int = 8, n: int = 400) -> Rounds:
    random = np.random.default_rng(seed)
    return Rounds([(scale * (100_000 + 5_000 * random.standard_normal(n))).astype(np.int64) for _ in range(count)])


@given(st.lists(st.lists(st.integers(0, 10**9), min_size=1, max_size=30), min_size=1, max_size=6), st.floats(0, 1))
def test_a_quantile_is_the_nearest_rank_of_all_rounds_together(values, q):
    pooled = sorted(value for one in values for value in one)
    expected = pooled[max(1, math.ceil(round(q * len(pooled), 6))) - 1]
    assert rounds(*values).quantile(q) == expected


@given(
    st.lists(st.lists(st.integers(0, 1000), min_size=1, max_size=10), min_size=2, max_size=5),
    st.lists(st.integers(0, 3), min_size=5, max_size=5),
    st.sampled_from([0.1, 0.5, 0.9, 0.99]),
)
def test_a_round_that_was_drawn_twice_counts_twice(values, times, q):
    times = np.array(times[: len(values)])
    if not times.any():
        return
    repeated = [one for one, count in zip(values, times, strict=True) for _ in range(count)]
    assert rounds(*values).quantile(q, times) == rounds(*repeated).quantile(q)


def test_a_true_ratio_lies_in_its_interval():
    found = ratio_of_quantiles(noisy(1, 0.5), noisy(2, 1.0), 0.5)
    assert found.low < 0.5 < found.high
    assert found.high - found.low < 0.02


def test_a_round_in_which_the_machine_stood_still_widens_the_interval():
    calm = [np.full(400, 100_000, np.int64) for _ in range(8)]
    stalled = [*calm[:7], np.full(400, 900_000, np.int64)]
    found = ratio_of_quantiles(Rounds(stalled), Rounds(calm), 0.99)
    assert (found.low, found.value, found.high) == (1.0, 9.0, 9.0)


def test_the_same_samples_give_the_same_interval():
    assert ratio_of_quantiles(noisy(1, 1.0), noisy(2, 1.0), 0.99) == ratio_of_quantiles(
        noisy(1, 1.0), noisy(2, 1.0), 0.99
    )


def test_a_denominator_of_zero_is_infinite():
    assert ratio_of_quantiles(rounds(*[[5]] * 6), rounds(*[[0]] * 6), 0.5).value == math.inf


def test_a_difference_keeps_its_sign():
    found = difference_of_quantiles(noisy(1, 1.0), noisy(2, 1.1), 0.5)
    assert found.high < 0
    assert found.value == pytest.approx(-10_000, abs=500)


def test_too_few_rounds_or_samples_carry_nothing():
    enough = noisy(1, 1.0, count=MIN_ROUNDS, n=60)
    assert carried(0.99, enough)
    assert not carried(0.999, enough)
    assert not carried(0.99, enough, noisy(1, 1.0, count=MIN_ROUNDS - 1, n=100))


def test_the_curve_begins_with_the_smallest_and_ends_with_the_largest():
    values = np.random.default_rng(0).integers(1, 10**6, 5000)
    curve = survival(values)
    assert curve[0] == (int(values.min()), 1.0)
    assert curve[-1] == (int(values.max()), 1 / 5000)
    assert [share for _, share in curve] == sorted((share for _, share in curve), reverse=True)
    assert survival(np.zeros(0, np.int64)) == ()
