"""Whether a policy can answer in time, judged by what it measured of itself; no process is started."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgerl.errors import GateFailed, PolicyTooSlow
from edgerl.runtime.answer_time import ROOM, AnswerTime, answer_time_of, judge_speed
from edgerl.runtime.policies import InferenceTimes
from edgerl.runtime.structs import Config

MS = 1_000_000
AT_ONCE = AnswerTime(period_ns=10 * MS, delay=0, divider=1, budget_ns=8 * MS)
DELAYED = AnswerTime(period_ns=10 * MS, delay=2, divider=2, budget_ns=8 * MS)


def times(median_ms: float, worst_ms: float, n: int = 200) -> InferenceTimes:
    return InferenceTimes(round(median_ms * MS), round(worst_ms * MS), n)


def test_a_policy_of_every_tick_has_its_budget_and_another_one_its_delay() -> None:
    config = Config(period_ns=10 * MS, budget_ns=8 * MS, action_delay=0, policy_divider=1)
    assert answer_time_of(config) == AT_ONCE
    assert AT_ONCE.allowed_ns == 8 * MS
    config.action_delay, config.policy_divider = 2, 2
    assert answer_time_of(config) == DELAYED
    assert DELAYED.allowed_ns == 20 * MS


def test_a_policy_with_room_is_acquitted_without_a_word() -> None:
    assert judge_speed(times(4, 8), AT_ONCE, production=True) == ""
    assert judge_speed(times(10, 20), DELAYED, production=True) == ""


def test_a_usual_inference_beyond_the_budget_is_refused_with_the_figures_and_what_would_fit() -> None:
    with pytest.raises(PolicyTooSlow) as caught:
        judge_speed(times(15.1, 19.4, 33), AT_ONCE)
    text = str(caught.value)
    for said in (
        "15.1 ms",
        "median of 33",
        "19.4 ms",
        "8 ms (budget_s)",
        "quantize",
        "policy_divider = 4",
        "= 4 in the",
    ):
        assert said in text, text
    assert "raise budget_s" not in text  # no budget below the period would be enough
    assert isinstance(caught.value, GateFailed)
    assert caught.value.exit_code == 3


def test_a_higher_budget_is_proposed_where_the_period_has_room_for_it() -> None:
    with pytest.raises(PolicyTooSlow, match="raise budget_s, below the control period of 10 ms"):
        judge_speed(times(9, 9), AT_ONCE)


def test_a_longer_delay_is_proposed_within_the_divider_before_a_larger_divider() -> None:
    short = dataclasses.replace(DELAYED, delay=1, divider=8)
    with pytest.raises(PolicyTooSlow, match="an action_delay of one base tick") as caught:
        judge_speed(times(11, 12), short)
    assert "action_delay = 3 in the envelope leave it 30 ms" in str(caught.value)
    assert "policy_divider" not in str(caught.value)


@pytest.mark.parametrize("slow", [times(2, 9), times(5, 6)], ids=["its longest", "less than twice its usual"])
def test_a_policy_that_may_be_late_now_and_then_is_warned_of(slow) -> None:
    warning = judge_speed(slow, AT_ONCE)
    assert warning.startswith("The policy may be late now and then: one inference took")
    assert "8 ms (budget_s)" in warning


def test_production_asks_for_room_and_forgives_one_long_inference() -> None:
    assert judge_speed(times(2, 900), AT_ONCE, production=True)
    with pytest.raises(PolicyTooSlow, match="2 times as much that production asks for"):
        judge_speed(times(5, 6), AT_ONCE, production=True)


@given(
    st.integers(0, 10**12), st.integers(0, 10**12), st.integers(1, 10**9), st.integers(0, 100), st.integers(1, 100),
    st.floats(0.001, 0.999), st.booleans(),
)  # fmt: skip
def test_what_is_refused_is_what_does_not_fit_and_what_is_proposed_fits(
    median, more, period, delay, divider, share, production
) -> None:
    allowed = AnswerTime(period, delay, max(divider, delay), max(1, int(period * share)))
    slow = InferenceTimes(median, median + more, 200)
    room = ROOM if production else 1
    try:
        warning = judge_speed(slow, allowed, production=production)
    except PolicyTooSlow as error:
        assert room * median > allowed.allowed_ns
        ticks = int(str(error).partition("action_delay = ")[2].split()[0])
        assert ticks * period >= ROOM * median
        assert f"policy_divider = {ticks}" in str(error) or ticks <= allowed.divider
    else:
        assert room * median <= allowed.allowed_ns
        assert bool(warning) == (max(slow.worst_ns, ROOM * median) > allowed.allowed_ns)
