"""The operator channel: what a person says, its limits, its age, and the dead-man switch."""

from __future__ import annotations

import ctypes
import math

import numpy as np
import pytest

from edgerl.errors import GuardianError
from edgerl.runtime import core, structs
from edgerl.runtime.enums import MAX_OPERATOR, ArmBlocker, Dtype, ElementSource, Event, Mode, Request
from tests.core_world import MS, Answer, World, enter, small_config

INF = math.inf
TIMEOUT = 25 * MS
FRESH, LOST = set(), {Event.OPERATOR_LOST}


def operated(*, dead_man: int = 0, timeout_ns: int = TIMEOUT) -> structs.Config:
    """Two values, in [-1, 2] and [0, 10], that fall back to 0.5 and 3, observed as they are."""
    config = small_config(
        operator_count=2, operator_timeout_ns=timeout_ns, dead_man=dead_man, element_count=2, term_count=1
    )
    config.operators[0] = structs.OperatorChannel(-1.0, 2.0, 0.5, 0)
    config.operators[1] = structs.OperatorChannel(0.0, 10.0, 3.0, 0)
    for index in range(2):
        config.elements[index] = structs.Element(ElementSource.OPERATOR, index, 0.0, 1.0, -INF, INF)
    config.terms[0] = structs.Term(0, 2, Dtype.FLOAT32, 0, 1, 8, 0, 0)
    return config


def tick(world: World) -> set[Event]:
    world.ticks(1)
    return world.record().events - {Event.NOMINAL}


def in_use(world: World) -> list[float]:
    return world.record().operator.tolist()


def test_before_anybody_spoke_the_time_out_values_stand_in():
    world = World(operated())
    assert tick(world) == LOST
    assert in_use(world) == [0.5, 3.0]
    assert world.record().header.operator_stamp_ns == 0
    assert world.read_status().operator_lost == 1


@pytest.mark.parametrize(
    ("said", "used"),
    [([0.25, 7.0], [0.25, 7.0]), ([2.5, -1.0], [2.0, 0.0]), ([-1.5, 10.5], [-1.0, 10.0]), ([2.0, 0.0], [2.0, 0.0])],
)
def test_values_are_brought_to_their_limits(said, used):
    world = World(operated())
    world.operate(said)
    stamp = world.now
    assert tick(world) == FRESH
    assert in_use(world) == used
    assert world.record().header.operator_stamp_ns == stamp
    assert world.read_status().operator_lost == 0


@pytest.mark.parametrize(("age", "events", "used"), [(TIMEOUT, FRESH, 1.0), (TIMEOUT + 1, LOST, 0.5)])
def test_values_that_are_too_old_are_replaced(age, events, used):
    world = World(operated())
    world.ticks(1)
    start = world.record().header.start_ns + world.config.period_ns
    world.operate([1.0, 1.0], stamp=start - age)
    assert tick(world) == events
    assert in_use(world)[0] == used


def test_before_anybody_spoke_no_time_out_is_long_enough():
    world = World(operated(timeout_ns=3_600_000 * MS))
    assert tick(world) == LOST
    world.operate([1.0, 1.0], stamp=1)
    assert tick(world) == FRESH


def test_ticks_without_an_operator_are_counted():
    world = World(operated())
    for _ in range(3):
        tick(world)
    assert world.read_status().operator_lost == 3
    world.operate([1.0, 1.0])
    tick(world)
    assert world.read_status().operator_lost == 3


def test_what_stands_beyond_the_configured_values_is_not_looked_at():
    world = World(operated())
    world.operate([1.0, 1.0, math.nan], count=2)
    assert tick(world) == FRESH


def test_an_operator_may_say_as_many_values_as_fit():
    config = operated()
    config.operator_count = MAX_OPERATOR
    for index in range(MAX_OPERATOR):
        config.operators[index] = structs.OperatorChannel(0.0, 1.0, 0.5, 0)
    world = World(config)
    world.operate([0.25] * MAX_OPERATOR)
    assert tick(world) == FRESH
    assert in_use(world) == [0.25] * MAX_OPERATOR


def test_values_grow_old_without_a_word_and_come_back_with_one():
    world = World(operated())
    world.operate([1.0, 1.0])
    assert [tick(world) for _ in range(4)] == [FRESH, FRESH, FRESH, LOST]
    world.operate([1.5, 1.0])
    assert tick(world) == FRESH
    assert in_use(world)[0] == 1.5


@pytest.mark.parametrize(
    "nonsense",
    [
        {"values": [math.nan, 0.0]},
        {"values": [0.0, INF]},
        {"values": [0.0, -INF]},
        {"values": [0.0, 0.0], "count": 1},
        {"values": [0.0, 0.0], "count": 3},
        {"values": [0.0, 0.0], "dead_man": 2},
        {"values": [0.0, 0.0], "stamp": 0},
    ],
)
def test_nonsense_was_not_said(nonsense):
    world = World(operated())
    world.operate([1.0, 1.0])
    tick(world)
    world.operate(nonsense.pop("values"), **nonsense)
    assert tick(world) == FRESH
    assert in_use(world) == [1.0, 1.0]


@pytest.mark.parametrize(("ahead", "taken"), [(0, True), (1, False), (2**63, False)])
def test_a_stamp_from_the_future_would_never_grow_old(ahead, taken):
    world = World(operated())
    world.ticks(1)
    start = world.record().header.start_ns + world.config.period_ns
    world.operate([1.0, 1.0], stamp=start + ahead)
    assert tick(world) == (FRESH if taken else LOST)


def test_a_writer_that_died_half_way_says_nothing_new():
    world = World(operated())
    world.operate([1.0, 1.0])
    tick(world)
    sequence = ctypes.c_uint32.from_address(world.at["requests"] + structs.Requests.operator_sequence.offset)
    sequence.value |= 1
    assert [tick(world) for _ in range(3)] == [FRESH, FRESH, LOST]
    world.operate([0.75, 1.0])
    assert tick(world) == FRESH
    assert in_use(world)[0] == 0.75


def test_the_policy_observes_what_is_in_use_also_when_it_is_lost():
    world = World(operated())
    seen = []
    world.policy = lambda header, record: seen.append(np.frombuffer(record, np.float32, 2).tolist()) or Answer([0, 0])
    world.operate([5.0, 5.0])
    world.arm()
    assert world.record().events == {Event.ARM}
    world.ticks(2)
    assert (world.record().events, world.now_mode()) == (LOST, Mode.ACTIVE)
    assert seen == [[2.0, 5.0], [2.0, 5.0], [0.5, 3.0]]


def test_a_lost_operator_does_not_keep_a_policy_from_arming():
    world = World(operated())
    world.ticks(1)
    world.request(Request.ARM)
    assert tick(world) == {Event.OPERATOR_LOST, Event.ARM}
    assert world.now_mode() == Mode.ACTIVE


def test_without_an_operator_channel_nobody_is_lost():
    world = World()
    world.ticks(1)
    assert world.record().events == {Event.NOMINAL}
    assert world.record().operator.tolist() == []
    assert world.read_status().operator_lost == 0
    world.arm()
    assert world.record().events == {Event.ARM}


@pytest.mark.parametrize("held", [0, 1])
def test_arming_needs_the_dead_man_switch_where_one_is_required(held):
    world = World(operated(dead_man=1, timeout_ns=1000 * MS))
    world.operate([0.0, 0.0], dead_man=held)
    world.ticks(1)
    world.request(Request.ARM)
    world.ticks(4)
    status = world.read_status()
    assert status.mode == (Mode.ACTIVE if held else Mode.SAFE)
    assert status.arm_blockers == (0 if held else ArmBlocker.DEAD_MAN)
    assert world.record().events == {Event.NOMINAL}


@pytest.mark.parametrize("released", [True, False])
def test_a_released_or_silent_dead_man_switch_is_a_fault(released):
    world = enter(Mode.ACTIVE, operated(dead_man=1, timeout_ns=(1000 if released else 25) * MS))
    if released:
        world.operate([0.0, 0.0], dead_man=0)
    else:
        world.now += 20 * MS
    world.ticks(1)
    assert Event.DEAD_MAN in world.record().events
    assert (world.now_mode(), world.read_status().fault) == (Mode.FALLBACK, Event.DEAD_MAN)
    world.ticks(1)
    assert Event.DEAD_MAN not in world.record().events  # there is nothing left to let go of


def test_where_none_is_required_the_switch_may_be_open():
    world = enter(Mode.ACTIVE, operated(timeout_ns=1000 * MS))
    world.operate([0.0, 0.0], dead_man=0)
    assert tick(world) == FRESH


def test_the_switch_alone_needs_no_values():
    world = enter(Mode.ACTIVE, small_config(dead_man=1, operator_timeout_ns=1000 * MS))
    assert tick(world) == FRESH
    world.operate([], dead_man=0)
    assert tick(world) == {Event.DEAD_MAN}


@pytest.mark.parametrize(
    "channel", [(-INF, 1, 0), (0, INF, 0), (0, 1, 2), (0, 1, -1), (0, 1, math.nan), (math.nan, 1, 0), (2, 1, 1)]
)
def test_an_operator_value_is_limited_and_its_substitute_is_within(channel):
    config = operated()
    config.operators[1] = structs.OperatorChannel(*channel, 0)
    with pytest.raises(GuardianError, match="operator value"):
        core.check_config(config)


@pytest.mark.parametrize("changed", [{"operator_timeout_ns": 0}, {"dead_man": 2}])
def test_an_operator_channel_has_a_time_out(changed):
    config = operated()
    for name, value in changed.items():
        setattr(config, name, value)
    with pytest.raises(GuardianError, match="operator value"):
        core.check_config(config)


def test_a_dead_man_switch_alone_has_a_time_out_too():
    with pytest.raises(GuardianError, match="operator value"):
        core.check_config(small_config(dead_man=1))
