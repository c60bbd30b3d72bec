"""Which state led to a fault, or keeps a policy from being armed, in words."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgerl.runtime import core
from edgerl.runtime.enums import Attitude, Event, Mode, StateFlag
from edgerl.runtime.layout import Channel, Layout
from edgerl.runtime.recording import Records, arrays_of, record_dtype
from edgerl.runtime.state_watch import StateWatch
from edgerl.runtime.structs import StateChannel

CHANNELS = (
    *(Channel(f"imu.quat.{part}", "1") for part in "wxyz"),
    Channel("q[hip]", "rad"),
    Channel("dq[hip]", "rad/s"),
)
DTYPE = record_dtype(arrays_of(Layout(CHANNELS, (Channel("hip", "1"),))))
UPRIGHT = (1.0, 0.0, 0.0, 0.0)
FREE = (-math.inf, math.inf)


def leaning(angle: float) -> tuple[float, ...]:
    return (math.cos(angle / 2), math.sin(angle / 2), 0.0, 0.0)


def row(*values: float, tick: int = 0, events: int = 0, mode: Mode = Mode.ACTIVE, flags: int = 0) -> Records:
    made = np.zeros(1, DTYPE)
    made["state"], made["tick"], made["events"], made["from_mode"] = values, tick, events, mode
    made["observed"], made["state_flags"] = 1, flags
    return made


def watch(
    position: tuple[float, float] = FREE,
    speed: tuple[float, float] = FREE,
    start: tuple[float, float] = FREE,
    *,
    frozen: int = 0,
    tilt: float = math.pi,
    start_tilt: float = math.pi,
) -> StateWatch:
    config = core.new_config()
    config.state_count = len(CHANNELS)
    for index in range(len(CHANNELS)):
        config.states[index] = StateChannel(*FREE, *FREE, 0, 0)
    config.states[4] = StateChannel(*position, *start, 0, 0)
    config.states[5] = StateChannel(*speed, *FREE, 1, 0)
    config.frozen_ticks, config.attitude, config.attitude_channel = frozen, Attitude.WXYZ, 0
    config.tilt_cos, config.start_tilt_cos = math.cos(tilt), math.cos(start_tilt)
    return StateWatch(config, CHANNELS)


LIMIT, FROZEN, FAULT = (1 << event for event in (Event.STATE_LIMIT, Event.STATE_FROZEN, Event.STATE_FAULT))


def test_every_channel_beyond_its_limits_is_named_with_value_unit_and_limits():
    own = watch((-1.0, 2.0), (-math.inf, 20.0))
    own.take(np.concatenate([row(*UPRIGHT, 0.0, 0.0, tick=6), row(*UPRIGHT, -1.5, 25.25, tick=7, events=LIMIT)]))
    assert own.fault(7) == "q[hip] is -1.5 rad, valid is -1 to 2; dq[hip] is 25.25 rad/s, valid is up to 20."
    assert (own.fault(6), own.fault(8)) == ("", "")
    below = watch((-1.0, math.inf))
    below.take(row(*UPRIGHT, -1.5, 0.0, events=LIMIT))
    assert below.fault(0) == "q[hip] is -1.5 rad, valid is -1 or more."


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (Attitude.WXYZ, leaning(0.5)),
        (Attitude.XYZW, (*leaning(0.5)[1:], leaning(0.5)[0])),
        (Attitude.GRAVITY, (0.0, -math.sin(0.5), -math.cos(0.5), 9.0)),
    ],
)
def test_a_tilt_is_named_in_rad(kind, values):
    own = watch(tilt=0.25, start_tilt=0.125)
    own._config.attitude = kind
    own.take(row(*values, 0.0, 0.0, tick=3, events=LIMIT))
    assert own.fault(3) == "It leans by 0.5 rad, valid is up to 0.25."
    assert own.not_in_start_set() == "It leans by 0.5 rad, its start set is up to 0.125."


def test_the_start_set_is_held_against_the_newest_state():
    own = watch(start=(-0.25, 0.25))
    assert own.not_in_start_set() == own.wrong() == ""
    own.take(row(*UPRIGHT, 0.5, 0.0, mode=Mode.SAFE))
    assert own.not_in_start_set() == "q[hip] is 0.5 rad, its start set is -0.25 to 0.25."
    own.take(row(*UPRIGHT, 0.25, 0.0, mode=Mode.SAFE))
    assert own.not_in_start_set() == ""


def test_a_state_at_fault_before_arming_is_named_but_no_fault():
    own = watch((-1.0, 1.0))
    own.take(row(*UPRIGHT, math.nan, 0.0, events=FAULT, mode=Mode.SAFE))
    assert (own.wrong(), own.fault(0)) == ("q[hip] is nan.", "")
    own.take(row(*UPRIGHT, 3.0, 0.0, events=LIMIT, mode=Mode.SAFE))
    assert own.wrong() == "q[hip] is 3 rad, valid is -1 to 1."
    own.take(row(*UPRIGHT, 0.0, 0.0, mode=Mode.SAFE))
    assert own.wrong() == ""


def test_a_stuck_channel_is_named_with_how_long():
    own = watch(frozen=3)
    rows = [row(*UPRIGHT, 0.0, value, tick=tick) for tick, value in enumerate((0.1, 0.2, 0.2, 0.2))]
    own.take(np.concatenate([*rows, row(*UPRIGHT, 0.0, 0.2, tick=4, events=FROZEN), row(*UPRIGHT, 0.0, 0.2, tick=5)]))
    assert own.fault(4) == "dq[hip] is 0.2 rad/s since 4 states."


@given(st.lists(st.tuples(st.sampled_from((0.0, 1.0)), st.booleans(), st.booleans()), max_size=60), st.data())
def test_how_long_a_channel_was_the_same_does_not_depend_on_the_batches(states, data):
    own, unchanged, before, rows = watch(frozen=2), 0, math.nan, []
    for tick, (value, waiting, observed) in enumerate(states):
        one = row(*UPRIGHT, 0.0, value, tick=tick, flags=StateFlag.WAITING if waiting else 0)
        one["observed"] = observed
        rows.append(one)
        if observed:
            unchanged = unchanged + 1 if value == before and not waiting else 0
            before = value
    left = list(rows)
    while left:
        size = data.draw(st.integers(1, len(left)))
        own.take(np.concatenate(left[:size]))
        del left[:size]
    assert own._unchanged[5] == unchanged


def test_the_fault_in_charge_is_remembered_however_often_it_comes_on_the_ladder():
    own = watch((-1.0, 1.0))
    own.take(row(*UPRIGHT, 2.0, 0.0, tick=0, events=LIMIT))
    for tick in range(1, 2000):
        bits = LIMIT if tick % 2 == 0 else 0
        own.take(row(*UPRIGHT, 3.0, 0.0, tick=tick, events=bits, mode=Mode.FALLBACK))
    assert own.fault(0) == "q[hip] is 2 rad, valid is -1 to 1."
    assert own.fault(2) == "q[hip] is 3 rad, valid is -1 to 1."
    assert len(own._faults) == 64
    own.take(row(*UPRIGHT, 4.0, 0.0, tick=3000, events=0, mode=Mode.SAFE))
    own.take(row(*UPRIGHT, 4.0, 0.0, tick=3001, events=LIMIT))
    assert (own.fault(0), own.fault(3001)) == ("", "q[hip] is 4 rad, valid is -1 to 1.")


def test_a_long_list_is_cut():
    config = core.new_config()
    config.state_count = 9
    for index in range(9):
        config.states[index] = StateChannel(-1.0, 1.0, -1.0, 1.0, 0, 0)
    channels = tuple(Channel(f"o[{index}]", "1") for index in range(9))
    own = StateWatch(config, channels)
    made = np.zeros(1, record_dtype(arrays_of(Layout(channels, (Channel("hip", "1"),)))))
    made["state"], made["observed"] = 2.0, 1
    own.take(made)
    assert own.not_in_start_set().endswith("o[3] is 2, its start set is -1 to 1; and 5 more.")


def test_a_robot_without_states_has_nothing_to_say():
    own = StateWatch(core.new_config(), ())
    made = np.zeros(3, record_dtype(arrays_of(Layout((), (Channel("hip", "1"),)))))
    made["observed"] = 1
    own.take(made)
    assert own.not_in_start_set() == own.wrong() == ""
