"""Asking: what a tick posts and takes, what it counts, and what is left of it when the asking ends."""

from __future__ import annotations

import numpy as np
import pytest

from edgerl.runtime import core
from edgerl.runtime.enums import Event, LadderClass, Mode, Request, Source, StateFlag
from tests.core_pair import SECOND, Pair, pair_config, standby
from tests.core_world import EPOCH, MS, PERIOD, Answer, World, set_ladder, silent, small_config


def source(world: World) -> Source:
    return Source(world.record().header.source)


def slow(divider: int, delay: int, **fields: object) -> Pair:
    """Return a pair in ACTIVE that is asked every few ticks; the answer takes effect some ticks later."""
    pair = Pair(pair_config(policy_divider=divider, action_delay=delay, **{"arm_ticks": 50, **fields}))
    world = pair.world
    world.ticks(1)
    world.request(Request.ARM)
    for _ in range(divider + delay + 1):
        if world.now_mode() != Mode.ACTIVE:
            world.ticks(1)
    assert world.now_mode() == Mode.ACTIVE
    return pair


def test_every_answer_is_counted_once_and_recorded_with_what_it_answers():
    world = World()
    world.arm()
    taken = world.read_status().actions_taken
    for more in range(1, 4):
        world.ticks(1)
        header = world.record().header
        assert world.read_status().actions_taken == taken + more
        assert (header.epoch, header.action_sequence, header.infer_ns) == (EPOCH, header.tick, 123)


def test_after_a_switch_too_every_answer_is_counted_once():
    pair = Pair()
    world = pair.arm()
    world.request(Request.SWITCH)
    world.ticks(1)
    taken = world.read_status().actions_taken
    pair.acting = None
    world.policy = lambda header, record: None
    world.ticks(1)
    assert world.read_status().actions_taken == taken


def test_after_a_slow_switch_nothing_is_taken_until_an_answer_is_due():
    pair = slow(4, 1)
    world = pair.world
    world.until_posted()
    world.request(Request.SWITCH)
    world.ticks(1)
    assert world.read_status().switched == 1
    taken = world.read_status().actions_taken
    world.ticks(2)
    assert world.read_status().actions_taken == taken


@pytest.mark.parametrize(("divider", "delay"), [(4, 2), (2, 2), (1, 1)])
def test_a_slow_switch_ends_the_lateness_of_the_policy_before(divider, delay):
    pair = slow(divider, delay)
    world = pair.world
    pair.acting = pair.values = None
    world.until_posted()
    world.ticks(divider + delay)
    assert Event.ACTION_LATE in world.record().events
    pair.values = [0.3, 0.4]
    world.request(Request.SWITCH)
    for _ in range(divider + delay + 1):
        if world.read_status().switched == 0:
            world.ticks(1)
    assert world.record().events == {Event.SWITCH}
    assert world.record().command.tolist() == pytest.approx([0.3, 0.4])


def test_late_is_the_tick_that_waited_and_not_the_one_after_it():
    world = World()
    world.arm()
    world.policy = silent
    world.ticks(1)
    assert world.record().events == {Event.ACTION_LATE}
    world.tick()
    assert world.record().events == {Event.STATE_LOST}


def test_a_slow_answer_is_due_so_many_periods_after_its_tick():
    world = slow(4, 3).world
    world.until_posted()
    assert world.observations[-1].deadline_ns == world.record().header.scheduled_ns + 3 * PERIOD


def test_missed_periods_count_as_ticks():
    world = slow(4, 1).world
    world.until_posted()
    world.now += 3 * PERIOD
    world.ticks(1)
    assert (world.record().header.missed_periods, world.record().header.post_ns) == (2, 0)
    world.ticks(1)
    assert world.record().header.post_ns != 0


def test_a_policy_owes_its_answer_to_the_nanosecond():
    world = World(small_config(bucket_limit=10, inference_timeout_ns=2 * PERIOD + 5 * MS))
    world.arm()
    world.policy = silent
    for _ in range(2):
        world.ticks(1)
        assert world.record().events == {Event.ACTION_LATE}
    world.ticks(1)
    assert world.record().events == {Event.ACTION_LATE, Event.INFERENCE_TIMEOUT}


def test_whoever_is_named_to_act_owes_nothing_of_what_was_asked_before():
    world = World(small_config(bucket_limit=10, inference_timeout_ns=2 * PERIOD + 5 * MS))
    world.arm()
    world.policy = silent
    world.ticks(2)
    world.act(EPOCH + 1)
    for _ in range(2):
        world.ticks(1)
        assert world.record().events == {Event.ACTION_LATE}
    world.ticks(1)
    assert world.record().events == {Event.ACTION_LATE, Event.INFERENCE_TIMEOUT}


def test_an_answer_of_the_episode_before_that_falls_due_with_the_new_one_is_dropped():
    world = slow(4, 3).world
    world.until_posted()
    world.ticks(2)
    taken = world.read_status().actions_taken
    world.ticks(1, StateFlag.EPISODE_START)
    assert world.read_status().actions_taken == taken
    assert world.record().header.post_ns != 0


def test_a_late_tick_without_an_observation_is_both():
    pair = slow(1, 1)
    world = pair.world
    pair.acting = None
    world.ticks(2)
    world.state([1.5, 2.0, 300.0])  # the third value is a byte
    world.tick()
    assert world.record().events == {Event.ACTION_LATE, Event.STATE_FAULT}


def test_without_a_state_nothing_is_made_of_the_action_in_effect():
    pair = slow(4, 2)
    world = pair.world
    pair.acting = Answer([0.1, 9.0])
    world.ticks(9)
    saturated = world.read_status().saturated
    assert saturated > 0
    world.tick()
    assert world.record().events == {Event.STATE_LOST}
    assert world.read_status().saturated == saturated


@pytest.mark.parametrize("broken", ["disarmed", "without a state"])
def test_a_trial_that_is_broken_off_begins_with_a_new_observation(broken):
    pair = Pair(pair_config(policy_divider=4, action_delay=3, arm_ticks=50))
    world = pair.world
    world.ticks(1)
    world.request(Request.ARM)
    world.ticks(2)
    assert len(world.observations) == 1
    if broken == "disarmed":
        world.request(Request.DISARM)
        world.ticks(1)
        world.request(Request.ARM)
    else:
        world.tick()
    world.ticks(3)
    assert (world.now_mode(), len(world.observations)) == (Mode.SAFE, 2)
    world.ticks(1)
    assert world.now_mode() == Mode.ACTIVE


def test_a_switch_beside_another_event_is_recorded_with_it():
    pair = Pair()
    world = pair.world
    world.ticks(2)
    world.request(Request.SWITCH)
    world.tick()
    assert world.record().events == {Event.STATE_LOST, Event.SWITCH}


def preparing(**fields: object) -> Pair:
    """Return a pair that has just reached its start pose; where the machine is at fault, the candidate stands by."""
    config = pair_config(prepare_ns=2 * PERIOD, action_delay=1, arm_ticks=50, **fields)
    set_ladder(config, LadderClass.MACHINE, (Source.STANDBY, 200 * MS))
    return Pair(config)


def until(world: World, mode: Mode) -> None:
    for _ in range(20):
        if world.now_mode() != mode:
            world.ticks(1)
    assert world.now_mode() == mode


def lose_commands(world: World) -> None:
    """Let the socket refuse commands until they have lapsed."""
    world.send_answer = -111
    until(world, Mode.FALLBACK)
    world.send_answer = 0
    assert world.read_status().fault == Event.LAPSED


def test_on_a_ladder_that_does_not_lead_to_the_candidate_nobody_is_asked():
    pair = Pair()
    world = pair.world
    config = world.config
    config.ladders[LadderClass.POLICY].rungs[2].source = Source.STANDBY
    pair = Pair(config)
    world = pair.arm()
    world.die()
    world.ticks(2)
    assert world.now_mode() == Mode.FALLBACK
    assert world.record().header.post_ns == 0


def test_on_a_ladder_that_leads_to_nobody_nobody_is_asked():
    pair = standby()
    world = pair.arm()
    pair.name(EPOCH, 0)
    world.die()
    world.ticks(2)
    assert (world.now_mode(), world.record().header.post_ns) == (Mode.FALLBACK, 0)


def test_while_the_candidate_is_attended_events_are_recorded_as_they_are():
    pair = standby()
    world = pair.arm()
    world.die()
    world.ticks(2)
    world.tick()
    assert world.record().events == {Event.STATE_LOST}


def test_on_the_ladder_a_late_answer_is_not_the_next_ticks():
    pair = standby()
    world = pair.arm()
    pair.acting = None
    world.die()
    world.ticks(1)
    assert source(world) == Source.STANDBY
    pair.values = None
    world.ticks(1)
    assert source(world) == Source.SAFE
    late = np.array([0.6, 0.7], np.float32)
    core.post_action(world.slots[1], SECOND, world.observations[-1].sequence, late)
    world.ticks(1)
    assert source(world) == Source.SAFE


def test_what_the_candidate_said_before_a_stop_counts_no_more():
    pair = preparing(policy_divider=20)
    world = pair.world
    world.ticks(1)
    world.request(Request.ARM)
    until(world, Mode.ACTIVE)
    world.until_posted()
    world.ticks(1)
    world.request(Request.DISARM)
    world.ticks(1)
    world.request(Request.ARM)
    world.ticks(1)
    assert world.now_mode() == Mode.PREPARE
    pair.values = None
    lose_commands(world)
    world.ticks(1)
    assert source(world) == Source.SAFE


def test_what_was_asked_in_a_trial_that_a_fault_broke_off_is_not_answered_on_the_ladder():
    world = preparing(heartbeat_timeout_ns=5 * MS).world
    world.ticks(1)
    world.request(Request.ARM)
    for _ in range(20):
        if not world.observations:
            core.heartbeat(world.at["requests"])
            world.ticks(1)
    assert (world.now_mode(), len(world.observations)) == (Mode.PREPARE, 1)
    found = []
    for _ in range(3):
        world.ticks(1)
        found.append((world.now_mode(), source(world)))
    assert found == [(Mode.FALLBACK, Source.SAFE)] * 2 + [(Mode.FALLBACK, Source.STANDBY)]
