"""Degrading, faults and the fallback ladder; the policy as a stranger who may say anything, late or never."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgerl.runtime import structs, wire
from edgerl.runtime.enums import Event, Mode, Request, Source, StateFlag
from tests.core_world import BUDGET, EPOCH, MS, PERIOD, Answer, World, command, enter, silent, small_config

LOCKSTEP = StateFlag.LOCKSTEP
NOTHING = StateFlag(0)


def last(world: World) -> wire.Command:
    return world.sent[-1]


def test_one_late_action_holds_and_stays_active():
    world = enter(Mode.ACTIVE)
    world.policy = silent
    world.ticks(1)
    assert (last(world).source, last(world).mode) == (Source.HOLD, Mode.ACTIVE)
    assert last(world).values == pytest.approx([0.1, 0.2])
    assert world.record().header.action_ns == 0
    assert world.now == world.record().header.scheduled_ns + BUDGET


def test_the_bucket_counts_exactly_the_last_ticks():
    world = enter(Mode.ACTIVE)
    good = world.policy
    for _ in range(3):
        for policy in [silent, silent, *[good] * 8]:
            world.policy = policy
            world.ticks(1)
            assert world.now_mode() == Mode.ACTIVE
    assert world.read_status().bucket_level == 2
    world.policy = silent
    levels = []
    for _ in range(3):
        world.ticks(1)
        levels.append(world.read_status().bucket_level)
    assert levels == [2, 2, 3]
    assert world.now_mode() == Mode.FALLBACK


def test_being_late_every_second_tick_does_not_escape():
    world = World(small_config(bucket_limit=5, bucket_window=10))
    world.arm()
    good = world.policy
    for i in range(10):
        world.policy = silent if i % 2 else good
        world.ticks(1)
    assert world.now_mode() == Mode.FALLBACK
    assert world.read_status().fault == Event.BUCKET_FAULT


def test_late_lost_and_rejected_ticks_fill_the_same_bucket():
    world = enter(Mode.ACTIVE)
    world.policy = silent
    world.ticks(1)
    world.tick()
    world.policy = lambda header, record: Answer([math.nan, 0.0])
    world.ticks(1)
    assert world.now_mode() == Mode.FALLBACK
    assert world.record().events == {Event.REJECT, Event.BUCKET_FAULT}


def test_arming_again_starts_with_an_empty_bucket():
    world = enter(Mode.ACTIVE)
    good, world.policy = world.policy, silent
    world.ticks(2)
    world.request(Request.DISARM)
    world.ticks(1)
    world.policy = good
    world.request(Request.ARM)
    world.ticks(1)
    assert world.read_status().bucket_level == 0
    assert world.now_mode() == Mode.ACTIVE


def test_the_ladder_holds_then_is_safe_then_lapses():
    world = enter(Mode.ACTIVE)
    world.die()
    sources = []
    for _ in range(7):
        world.state()
        world.tick()
        sources.append((Source(world.record().header.source), Mode(world.record().header.mode)))
    assert sources == [
        (Source.HOLD, Mode.FALLBACK),
        (Source.HOLD, Mode.FALLBACK),
        (Source.SAFE, Mode.FALLBACK),
        (Source.SAFE, Mode.FALLBACK),
        (Source.SAFE, Mode.FALLBACK),
        (Source.LAPSE, Mode.STOPPED),
        (Source.LAPSE, Mode.STOPPED),
    ]
    status = world.read_status()
    assert (status.fault, status.fault_tick) == (Event.POLICY_FAULT, 2)


def test_a_ladder_without_rungs_goes_straight_to_the_end():
    world = World(small_config(hold_ns=0, safe_ns=0))
    world.arm()
    world.die()
    world.ticks(1)
    assert world.record().header.source == Source.LAPSE
    world.ticks(1)
    assert world.now_mode() == Mode.STOPPED


def test_rungs_behind_the_end_of_a_ladder_are_none():
    config = small_config(hold_ns=0, safe_ns=30 * MS)
    for ladder in config.ladders:
        ladder.count = 1
    world = World(config)
    world.arm()
    world.die()
    world.ticks(1)
    assert (world.record().header.source, world.now_mode()) == (Source.LAPSE, Mode.FALLBACK)
    world.ticks(1)
    assert world.now_mode() == Mode.STOPPED


def test_a_ladder_that_holds_longer_than_it_is_safe_keeps_both():
    world = World(small_config(hold_ns=30 * MS, safe_ns=20 * MS))
    world.arm()
    world.die()
    world.ticks(6)
    sources = [Source(world.record(i).header.source) for i in range(2, 8)]
    assert sources == [Source.HOLD] * 3 + [Source.SAFE] * 2 + [Source.LAPSE]


def test_a_ladder_without_hold_begins_safe():
    world = World(small_config(hold_ns=0))
    world.arm()
    world.die()
    world.ticks(1)
    assert world.record().header.source == Source.SAFE


def test_the_time_spent_active_is_not_time_on_the_ladder():
    world = enter(Mode.ACTIVE)
    world.ticks(20)
    world.die()
    world.ticks(1)
    assert world.record().header.source == Source.HOLD


@pytest.mark.parametrize("mode", [Mode.FALLBACK, Mode.STOPPED])
def test_reset_clears_the_fault_and_the_policy_can_be_armed_again(mode):
    world = enter(mode)
    assert world.read_status().fault in (Event.POLICY_FAULT, Event.ESTOP)
    world.request(Request.RESET)
    world.ticks(1)
    assert (world.now_mode(), world.read_status().fault) == (Mode.SAFE, Event.NOMINAL)
    world.request(Request.ARM)
    world.ticks(1)
    assert world.now_mode() == Mode.ACTIVE


def test_reset_is_no_way_past_a_pressed_estop():
    world = enter(Mode.STOPPED)
    world.request(Request.RESET)
    world.ticks(1, StateFlag.ESTOP)
    assert world.now_mode() == Mode.STOPPED
    assert world.read_status().fault == Event.ESTOP


def test_an_estop_within_fallback_is_the_fault_that_stays():
    world = enter(Mode.FALLBACK)
    world.request(Request.ESTOP)
    world.ticks(1)
    assert world.read_status().fault == Event.ESTOP


def test_estop_sends_the_safe_command_once_and_then_nothing():
    world = enter(Mode.ACTIVE)
    world.request(Request.ESTOP)
    world.ticks(1)
    assert (last(world).mode, last(world).source) == (Mode.STOPPED, Source.SAFE)
    sent = len(world.sent)
    world.ticks(3)
    assert len(world.sent) == sent


def test_the_safe_command_after_active_keeps_to_the_rate():
    config = small_config()
    config.commands[1].max_rate = 50.0
    world = World(config)
    world.policy = lambda header, record: Answer([0.0, 0.9])
    world.arm()
    assert last(world).values[1] == pytest.approx(0.9)
    world.request(Request.DISARM)
    world.ticks(1)
    assert last(world).values[1] == pytest.approx(0.5)
    config.commands[1].max_rate = 10.0
    slow = World(config)
    slow.policy = lambda header, record: Answer([0.0, 0.59])
    slow.arm()
    slow.ticks(2)
    slow.policy = lambda header, record: Answer([0.0, 0.9])
    slow.ticks(2)
    before = float(last(slow).values[1])
    slow.request(Request.DISARM)
    slow.ticks(1)
    assert last(slow).values[1] == pytest.approx(before - 0.1)


@pytest.mark.parametrize(("on_reject", "expected"), [(Source.SAFE, [0.0, 0.5]), (Source.LAPSE, None)])
def test_a_reject_sends_what_the_configuration_says(on_reject, expected):
    world = World(small_config(on_reject=on_reject))
    world.arm()
    sent = len(world.sent)
    world.policy = lambda header, record: Answer([math.nan, 0.0])
    world.ticks(1)
    if expected is None:
        assert len(world.sent) == sent
    else:
        assert last(world).values.tolist() == expected
    assert world.now_mode() == Mode.ACTIVE
    assert world.read_status().rejected == 1


def test_violations_are_counted_by_channel_and_cause():
    world = enter(Mode.ACTIVE)
    world.policy = lambda header, record: Answer([math.nan, 9.0])
    world.ticks(1)
    world.policy = lambda header, record: Answer([0.0, -9.0])
    world.ticks(1)
    counts = np.array(world.status.violations)
    assert counts[0].tolist() == [1, 0, 0, 0, 0, 0, 0, 0]
    assert counts[1].tolist() == [0, 1, 1, 0, 0, 0, 0, 0]
    assert not counts[2:].any()
    status = world.read_status()
    assert (status.rejected, status.saturated) == (1, 2)


def test_verdicts_of_many_channels_have_their_own_bits():
    config = small_config(command_count=130, action_count=130)
    for i in range(130):
        config.commands[i] = command(-1.0, 1.0, math.inf, math.inf, 0.0, i % 2, action=i)
    world = World(config)
    world.policy = lambda header, record: Answer([0.0] * 130)
    world.arm()
    values = [0.0] * 130
    values[64], values[129] = 2.0, 2.0
    world.policy = lambda header, record: Answer(values)
    world.ticks(1)
    header = world.record().header
    assert list(header.rejected) == [0, 1, 0, 0]
    assert list(header.saturated) == [0, 0, 2, 0]
    assert world.record().action.tolist() == values


@pytest.mark.parametrize(
    "answer",
    [
        Answer([0.9, 0.9], epoch=EPOCH - 1),
        Answer([0.9, 0.9], epoch=EPOCH + 1),
        Answer([0.9, 0.9], sequence=0),
        Answer([0.9, 0.9], sequence=10**9),
        Answer([0.9]),
        Answer([0.9, 0.9, 0.9]),
    ],
)
def test_an_answer_to_something_else_is_ignored_and_counted(answer):
    world = enter(Mode.ACTIVE)
    world.policy = lambda header, record: answer
    world.ticks(1)
    assert world.record().events == {Event.ACTION_LATE}
    assert world.read_status().actions_stale == 1
    assert last(world).values == pytest.approx([0.1, 0.2])


def test_the_right_answer_after_a_stale_one_is_taken():
    world = enter(Mode.ACTIVE)

    def policy(header, record):
        world.answer(header, Answer([0.9, 0.9], sequence=header.sequence - 1))
        world.hooks.append((world.now + MS, lambda: world.answer(header, Answer([0.3, 0.4]))))

    world.policy = policy
    world.ticks(1)
    assert last(world).values == pytest.approx([0.3, 0.4])


def test_yesterdays_answer_does_not_arm_tomorrow():
    world = enter(Mode.ACTIVE)
    world.policy = silent
    world.state()
    world.tick()
    world.answer(world.observations[-1], Answer([0.9, 0.9]))
    world.ticks(1)
    assert world.record().events == {Event.ACTION_LATE}
    assert world.read_status().actions_stale == 1


def test_an_answer_that_is_there_at_the_last_look_counts():
    world = enter(Mode.ACTIVE)

    def late(header, record):
        world.hooks.append((header.deadline_ns, lambda: world.answer(header, Answer([0.3, 0.4]))))

    world.policy = late
    world.ticks(1)
    assert world.record().events == {Event.NOMINAL}


def test_a_policy_killed_while_writing_is_late_and_its_successor_is_heard():
    world = enter(Mode.ACTIVE)

    def dies(header, record):
        world.answer(header, Answer([0.9, 0.9]))
        world.action.sequence -= 1

    world.policy = dies
    world.ticks(1)
    assert world.record().events == {Event.ACTION_LATE}
    world.policy = lambda header, record: Answer([0.3, 0.4])
    world.ticks(1)
    assert last(world).values == pytest.approx([0.3, 0.4])


def test_a_policy_that_posts_without_end_is_late():
    world = enter(Mode.ACTIVE)
    waits = []

    def babble():
        waits.append(world.now)
        world.answer(structs.ObservationHeader(), Answer([0.9, 0.9]))

    world.on_wait = babble
    world.ticks(1)
    assert world.record().events == {Event.ACTION_LATE}
    assert len(waits) == 4096


def test_a_tick_that_wakes_after_its_deadline_still_posts_and_holds():
    world = enter(Mode.ACTIVE)
    world.state()
    world.now += PERIOD + BUDGET + MS
    asked = len(world.observations)
    world.tick()
    record = world.record()
    assert record.events == {Event.ACTION_LATE}
    assert record.header.post_ns != 0
    assert len(world.observations) == asked
    assert world.now == record.header.start_ns


def test_a_long_window_forgets_what_has_left_it():
    world = World(small_config(bucket_limit=100, bucket_window=100))
    world.arm()
    good, world.policy = world.policy, silent
    world.ticks(98)
    assert (world.now_mode(), world.read_status().bucket_level) == (Mode.ACTIVE, 98)
    world.policy = good
    levels = []
    for _ in range(300):
        world.ticks(1)
        levels.append(world.read_status().bucket_level)
    assert levels == [98, 98, *range(97, -1, -1), *[0] * 200]


def test_the_longest_window_is_filled_by_its_last_tick_alone():
    world = World(small_config(bucket_limit=1024, bucket_window=1024, ring_capacity=4))
    world.arm()
    world.policy = silent
    world.ticks(1022)
    assert (world.now_mode(), world.read_status().bucket_level) == (Mode.ACTIVE, 1022)
    world.ticks(1)
    assert (world.now_mode(), world.read_status().bucket_level) == (Mode.ACTIVE, 1023)
    world.ticks(1)
    assert (world.now_mode(), world.read_status().bucket_level) == (Mode.FALLBACK, 1024)
    assert world.read_status().start_fault == 0
