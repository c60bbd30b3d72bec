"""The envelope, through the same code that the guardian runs: examples of each rule, and what must hold for all."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgerl.errors import EnvelopeError
from edgerl.runtime import core
from edgerl.runtime.enums import MAX_COMMANDS, OnViolation, Source, Verdict
from edgerl.runtime.structs import CommandChannel

INF = math.inf
MAX = float(np.finfo(np.float32).max)
S = 1_000_000_000
REJECT, SATURATE = OnViolation.REJECT, OnViolation.SATURATE


def channel(low=-1.0, high=1.0, rate=INF, acceleration=INF, safe=0.0, on=REJECT) -> CommandChannel:
    return core.command_channel(
        low=low, high=high, max_rate=rate, max_acceleration=acceleration, safe=safe, on_violation=on
    )


def replay(channels, rows, *, times=None, starts=None, **options):
    """Replay rows one second apart, the first beginning an episode."""
    commands = np.array(rows, np.float32).reshape(-1, len(channels))
    times = np.arange(1, len(commands) + 1) * S if times is None else np.array(times)
    starts = np.arange(len(commands)) == 0 if starts is None else np.array(starts)
    return core.replay_envelope(channels, commands, times.astype(np.uint64), starts, **options)


def one(limits, values, **options):
    """Replay one channel; verdicts and written values as lists."""
    result = replay([limits], values, **options)
    return [Verdict(int(bits)) for bits in result.verdicts[:, 0]], result.written[:, 0].tolist()


def just_above(value: float) -> float:
    return float(np.nextafter(np.float32(value), np.float32(INF)))


def just_below(value: float) -> float:
    return float(np.nextafter(np.float32(value), np.float32(-INF)))


def test_a_command_inside_is_written_unchanged():
    verdicts, written = one(channel(), [0.0, 0.25, -0.75])
    assert verdicts == [0, 0, 0]
    assert written == [0.0, 0.25, -0.75]


def test_the_limits_themselves_are_inside():
    assert one(channel(), [1.0, -1.0])[0] == [0, 0]


@pytest.mark.parametrize(
    ("value", "cause"),
    [(just_above(1.0), Verdict.HIGH), (just_below(-1.0), Verdict.LOW), (MAX, Verdict.HIGH), (-MAX, Verdict.LOW)],
)
def test_the_next_float_outside_a_limit_is_rejected_and_the_last_written_is_held(value, cause):
    verdicts, written = one(channel(), [0.5, value])
    assert verdicts[1] == cause | Verdict.REJECTED
    assert written == [0.5, 0.5]


@pytest.mark.parametrize(
    ("value", "expected", "cause"), [(7.0, 1.0, Verdict.HIGH), (-7.0, -1.0, Verdict.LOW), (MAX, 1.0, Verdict.HIGH)]
)
def test_a_saturating_channel_writes_the_limit(value, expected, cause):
    verdicts, written = one(channel(on=SATURATE), [0.0, value])
    assert verdicts[1] == cause | Verdict.SATURATED
    assert written[1] == expected


@pytest.mark.parametrize("bad", [math.nan, INF, -INF])
@pytest.mark.parametrize("on", [REJECT, SATURATE])
@pytest.mark.parametrize("bound", [1.0, INF])
def test_what_is_not_finite_is_rejected_whatever_the_channel_says(bad, on, bound):
    verdicts, written = one(channel(-bound, bound, on=on), [0.5, bad])
    assert verdicts[1] == Verdict.NOT_FINITE | Verdict.REJECTED
    assert written == [0.5, 0.5]


def test_one_rejected_channel_holds_all_of_them():
    result = replay([channel(), channel(on=SATURATE), channel()], [[0.1, 0.2, 0.3], [0.4, 9.0, 9.0]])
    assert result.verdicts[1].tolist() == [0, Verdict.HIGH | Verdict.SATURATED, Verdict.HIGH | Verdict.REJECTED]
    assert result.written[1] == pytest.approx([0.1, 0.2, 0.3])


def test_a_good_channel_after_a_rejected_one_does_not_save_the_command():
    result = replay([channel(), channel()], [[0.1, 0.2], [9.0, 0.4]])
    assert result.verdicts[1].tolist() == [Verdict.HIGH | Verdict.REJECTED, 0]
    assert result.written[1] == pytest.approx([0.1, 0.2])


@pytest.mark.parametrize(
    ("on_reject", "expected"), [(Source.HOLD, 0.75), (Source.SAFE, 0.25), (Source.LAPSE, math.nan)]
)
def test_a_reject_writes_what_on_reject_says(on_reject, expected):
    _, written = one(channel(safe=0.25), [0.75, 2.0], on_reject=on_reject)
    assert written[1] == pytest.approx(expected, nan_ok=True)


def test_holding_with_nothing_written_is_the_safe_command():
    assert one(channel(safe=0.25), [2.0])[1] == [0.25]


def test_rate_counts_from_the_last_written_command():
    verdicts, written = one(channel(rate=0.5), [0.0, 0.5, just_above(1.0), 0.0])
    assert verdicts[1] == 0
    assert verdicts[2] == Verdict.HIGH | Verdict.RATE | Verdict.REJECTED
    assert verdicts[3] == 0
    assert written == [0.0, 0.5, 0.5, 0.0]


def test_rate_is_exact_at_its_limit_in_both_directions():
    assert one(channel(rate=0.5), [0.0, 0.5])[0] == [0, 0]
    assert one(channel(rate=0.5), [0.0, -0.5])[0] == [0, 0]
    assert one(channel(rate=0.5), [0.0, just_above(0.5)])[0][1] == Verdict.RATE | Verdict.REJECTED
    assert one(channel(rate=0.5), [0.0, just_below(-0.5)])[0][1] == Verdict.RATE | Verdict.REJECTED


def test_a_rejected_command_is_not_what_the_next_rate_counts_from():
    verdicts, _ = one(channel(-10, 10, rate=1.0), [0.0, 5.0, 5.5])
    assert verdicts[2] == Verdict.RATE | Verdict.REJECTED


def test_rate_grows_with_the_time_since_the_last_write():
    verdicts, _ = one(channel(-10, 10, rate=1.0), [0.0, 4.5, 4.5], times=[0, 2 * S, 5 * S], on_reject=Source.LAPSE)
    assert verdicts[1] == Verdict.RATE | Verdict.REJECTED
    assert verdicts[2] == 0


def test_saturated_rate_moves_as_far_as_it_may():
    _, written = one(channel(rate=0.25, on=SATURATE), [0.0, 1.0, 1.0, -1.0])
    assert written == [0.0, 0.25, 0.5, 0.25]


def test_no_time_means_no_movement():
    verdicts, written = one(channel(rate=1.0, on=SATURATE), [0.5, 0.75, 0.5], times=[S, S, S])
    assert verdicts == [0, Verdict.RATE | Verdict.SATURATED, 0]
    assert written == [0.5, 0.5, 0.5]


def test_the_safe_command_is_in_reach_at_once_where_neither_time_nor_a_limit_is_between():
    verdicts, written = one(channel(safe=0.25), [0.75, math.nan], times=[S, S], on_reject=Source.SAFE)
    assert verdicts[1] == Verdict.NOT_FINITE | Verdict.REJECTED
    assert written == [0.75, 0.25]


def test_with_nothing_written_there_is_nothing_to_brake_from():
    assert one(channel(acceleration=1.0, safe=0.25), [2.0], on_reject=Source.SAFE)[1] == [0.25]


def test_time_that_runs_backwards_means_no_movement():
    assert one(channel(rate=1.0), [0.5, 0.75], times=[2 * S, S])[0][1] == Verdict.RATE | Verdict.REJECTED


def test_without_a_rate_limit_no_time_is_no_obstacle():
    assert one(channel(), [0.5, 0.75], times=[S, S])[0] == [0, 0]


def test_acceleration_counts_from_the_rate_of_the_last_two_writes():
    limits = channel(-100, 100, acceleration=1.0)
    assert one(limits, [0.0, 5.0])[0] == [0, 0]
    assert one(limits, [0.0, 5.0, 11.0])[0][2] == 0
    assert one(limits, [0.0, 5.0, 9.0])[0][2] == 0
    assert one(limits, [0.0, 5.0, just_above(11.0)])[0][2] == Verdict.ACCELERATION | Verdict.REJECTED
    assert one(limits, [0.0, 5.0, just_below(9.0)])[0][2] == Verdict.ACCELERATION | Verdict.REJECTED


def test_acceleration_grows_with_the_square_of_the_time():
    limits = channel(-100, 100, acceleration=1.0)
    times = [0, S, 3 * S]
    assert one(limits, [0.0, 1.0, 7.0], times=times)[0][2] == 0
    assert one(limits, [0.0, 1.0, just_above(7.0)], times=times)[0][2] & Verdict.ACCELERATION


def test_rate_divides_by_the_time_between_the_writes():
    limits = channel(-100, 100, acceleration=1.0)
    assert one(limits, [0.0, 8.0, 13.0], times=[0, 2 * S, 3 * S])[0][2] == 0
    assert one(limits, [0.0, 8.0, just_above(13.0)], times=[0, 2 * S, 3 * S])[0][2] & Verdict.ACCELERATION


def test_saturated_acceleration_changes_speed_as_much_as_it_may():
    _, written = one(channel(-100, 100, acceleration=1.0, on=SATURATE), [0.0, 0.0, 50.0, 50.0, -50.0])
    assert written == [0.0, 0.0, 1.0, 3.0, 4.0]


def test_acceleration_yields_to_range_where_they_conflict():
    verdicts, written = one(channel(-1, 6, acceleration=1.0, on=SATURATE), [0.0, 5.0, 6.5])
    assert verdicts[2] == Verdict.HIGH | Verdict.ACCELERATION | Verdict.SATURATED
    assert written[2] == 6.0


def test_acceleration_yields_to_rate_where_they_conflict():
    limits = [channel(-100, 100, rate=5.0, acceleration=1.0, on=SATURATE)]
    result = replay(limits, [[0.0], [5.0], [50.0]])
    assert result.written[:, 0].tolist() == [0.0, 5.0, 10.0]


def test_a_write_without_elapsed_time_has_no_rate_of_its_own():
    limits = channel(-100, 100, acceleration=1.0)
    assert one(limits, [0.0, 3.0, 3.0, 7.0], times=[0, S, S, 2 * S])[0] == [0, 0, 0, 0]
    assert one(limits, [0.0, 3.0, 3.0, just_above(7.0)], times=[0, S, S, 2 * S])[0][3] & Verdict.ACCELERATION
    assert one(channel(-100, 100, acceleration=1.0), [0.0, 50.0, 90.0], times=[S, S, 2 * S])[0] == [0, 0, 0]


def test_a_change_of_source_seeds_the_acceleration_anew():
    limits = channel(-100, 100, acceleration=1.0, safe=3.0)
    verdicts, written = one(limits, [0.0, 1.0, 50.0, 40.0, 41.0], on_reject=Source.SAFE)
    assert verdicts[2] == Verdict.ACCELERATION | Verdict.REJECTED
    assert written[2] == 2.0
    assert verdicts[3] == 0
    assert verdicts[4] == Verdict.ACCELERATION | Verdict.REJECTED


def test_the_safe_command_is_approached_within_the_rate_and_never_rejected():
    limits = channel(-100, 100, rate=1.0, safe=0.0)
    _, written = one(limits, [5.0, 50.0, math.nan, 50.0], on_reject=Source.SAFE)
    assert written == [5.0, 4.0, 3.0, 2.0]


def test_what_one_tick_can_brake_is_approached_in_one_tick():
    limits = channel(-100, 100, acceleration=1.0, safe=0.0)
    assert one(limits, [1.0, math.nan], on_reject=Source.SAFE)[1] == [1.0, 0.0]


def test_an_episode_begins_with_nothing_written():
    verdicts, _ = one(channel(-9, 9, rate=1.0), [0.0, 8.0, 8.0], starts=[True, True, False])
    assert verdicts == [0, 0, 0]


def test_an_episode_can_begin_from_the_safe_command():
    limits = channel(-9, 9, rate=1.0, safe=2.0)
    assert one(limits, [4.0, 5.0], seed_ns=2 * S)[0] == [0, 0]
    assert one(limits, [just_above(4.0)], seed_ns=2 * S)[0] == [Verdict.RATE | Verdict.REJECTED]
    assert one(limits, [just_above(4.0)], seed_ns=2 * S)[1] == [2.0]


def test_the_first_row_begins_an_episode_even_if_nobody_says_so():
    assert one(channel(-9, 9, rate=1.0), [8.0], starts=[False])[0] == [0]


@pytest.mark.parametrize(
    ("start", "wanted", "nearest"), [(0.0, 5.0, 0.1), (0.0, -5.0, -0.1), (-1.0, 5.0, -0.9), (1.0, -5.0, 0.9)]
)
def test_a_saturated_float_rounds_inside_where_the_nearest_one_is_outside(start, wanted, nearest):
    _, written = one(channel(-10, 10, rate=1.0, on=SATURATE), [start, wanted], times=[0, S // 10])
    closest = float(np.float32(nearest))
    outside = closest > nearest if wanted > 0 else closest < nearest
    assert outside
    assert written[1] == (just_below(closest) if wanted > 0 else just_above(closest))


def test_unbounded_channels_never_overflow_to_infinity():
    limits = channel(-INF, INF, acceleration=1e-30, on=SATURATE)
    _, written = one(limits, [-MAX, MAX, 0.0], times=[0, 1, 10 * S])
    assert written == [-MAX, MAX, MAX]


@pytest.mark.parametrize(
    "limits",
    [
        channel(1.0, -1.0),
        channel(safe=1.5),
        channel(safe=-1.5),
        channel(safe=math.nan),
        channel(-INF, INF, safe=INF),
        channel(-INF, INF, safe=-INF),
        channel(low=math.nan),
        channel(high=math.nan),
        channel(rate=0.0),
        channel(rate=-1.0),
        channel(rate=math.nan),
        channel(acceleration=0.0),
        channel(acceleration=math.nan),
        CommandChannel(-1.0, 1.0, INF, INF, 0.0, 2),
    ],
)
def test_limits_that_contradict_themselves_are_refused(limits):
    with pytest.raises(EnvelopeError, match="low <= safe <= high"):
        replay([channel(), limits], [[0.0, 0.0]])


def test_limits_of_a_single_value_are_valid():
    assert one(channel(0.5, 0.5, safe=0.5), [0.5])[0] == [0]


@pytest.mark.parametrize("on_reject", [Source.POLICY, Source.LADDER, Source.ON_REJECT])
def test_a_reject_cannot_be_answered_by_what_is_no_rung(on_reject):
    with pytest.raises(EnvelopeError):
        one(channel(), [0.0], on_reject=on_reject)


def test_too_many_and_too_few_channels_are_refused():
    assert replay([channel()] * MAX_COMMANDS, [[0.5] * MAX_COMMANDS]).written.tolist() == [[0.5] * MAX_COMMANDS]
    for count in (0, MAX_COMMANDS + 1):
        with pytest.raises(EnvelopeError):
            core.replay_envelope(
                [channel()] * count, np.zeros((1, count), np.float32), np.zeros(1, np.uint64), np.ones(1, bool)
            )


@pytest.mark.parametrize("rows", [(3,), (2, 2), (3, 1, 1)])
def test_arrays_that_do_not_fit_are_refused_with_their_shapes(rows):
    with pytest.raises(EnvelopeError, match="do not fit 1 channels"):
        core.replay_envelope([channel()], np.zeros(rows, np.float32), np.zeros(3, np.uint64), np.ones(3, bool))


anything = st.floats(width=32, allow_nan=True, allow_infinity=True)
positive = st.floats(min_value=2.0**-60, max_value=MAX, width=32) | st.just(INF)


@st.composite
def any_channel(draw):
    ordered = sorted(draw(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=3, max_size=3)))
    low = draw(st.sampled_from([ordered[0], -INF]))
    high = draw(st.sampled_from([ordered[2], INF]))
    return channel(low, high, draw(positive), draw(positive), ordered[1], draw(st.sampled_from(OnViolation)))


@given(
    st.lists(any_channel(), min_size=1, max_size=3),
    st.lists(st.tuples(anything, anything, anything, st.integers(0, 10 * S)), min_size=1, max_size=12),
    st.sampled_from([Source.HOLD, Source.SAFE]),
    st.sampled_from([0, 1, S]),
)
def test_whatever_is_written_is_finite_inside_and_never_too_fast(channels, rows, on_reject, seed_ns):
    commands = np.array([row[: len(channels)] for row in rows], np.float32)
    elapsed = np.array([row[3] for row in rows], np.uint64)
    result = replay(channels, commands, times=np.cumsum(elapsed), on_reject=on_reject, seed_ns=seed_ns)
    written = result.written.astype(np.float64)
    assert np.isfinite(written).all()
    for i, limits in enumerate(channels):
        assert (written[:, i] >= limits.low).all()
        assert (written[:, i] <= limits.high).all()
        steps = np.diff(written[:, i])
        if limits.max_rate != INF:
            allowed = np.float64(limits.max_rate) * (elapsed[1:].astype(np.float64) * 1e-9)
            rounding = np.spacing(np.maximum(np.abs(written[1:, i]), np.abs(written[:-1, i])))
            assert (np.abs(steps) <= allowed * (1 + 1e-12) + rounding).all()


@given(
    st.lists(any_channel(), min_size=1, max_size=3),
    st.lists(st.tuples(anything, anything, anything), min_size=1, max_size=6),
)
def test_every_verdict_says_what_was_done(channels, rows):
    commands = np.array([row[: len(channels)] for row in rows], np.float32)
    result = replay(channels, commands)
    causes = result.verdicts & 0x1F
    rejected = (result.verdicts & Verdict.REJECTED) != 0
    saturated = (result.verdicts & Verdict.SATURATED) != 0
    assert ((causes != 0) == (rejected | saturated)).all()
    assert not (rejected & saturated).any()
    assert ((causes & Verdict.NOT_FINITE != 0) == ~np.isfinite(commands)).all()
    rejecting = np.array([limits.on_violation == REJECT for limits in channels])
    assert (rejected == ((causes != 0) & (rejecting | ~np.isfinite(commands)))).all()
    clean = ~(causes != 0).any(axis=1)
    assert (result.written[clean] == commands[clean]).all()
    for row in np.flatnonzero(~rejected.any(axis=1)):
        kept = causes[row] == 0
        assert (result.written[row][kept] == commands[row][kept]).all()
