"""Policies slower than the tick: the answer to tick j * n takes effect in tick j * n + d, or it is late."""

from __future__ import annotations

import itertools

import pytest

from edgerl.runtime.enums import Event, Mode, Request, Source, StateFlag
from tests.core_world import MS, PERIOD, Answer, World, silent, small_config


def armed(divider: int, delay: int, answer_ns: int = 1 * MS) -> World:
    """Return a world that has just become ACTIVE; the policy answers with a value that names the observation."""
    world = World(small_config(policy_divider=divider, action_delay=delay, bucket_limit=10, arm_ticks=50))
    world.policy = lambda header, record: Answer([header.sequence / 1024, 0.0], delay_ns=answer_ns)
    world.ticks(1)
    world.request(Request.ARM)
    for _ in range(divider + delay + 1):
        world.ticks(1)
        if world.now_mode() == Mode.ACTIVE:
            return world
    raise AssertionError("it was not armed")


@pytest.mark.parametrize(("divider", "delay"), [(1, 1), (4, 1), (4, 3), (4, 4), (20, 16)])
def test_an_action_takes_effect_exactly_d_ticks_after_its_observation_and_stays_for_n(divider, delay):
    world = armed(divider, delay)
    for _ in range(5 * divider):
        header = world.record().header
        since = header.tick - world.observations[0].sequence
        answered = world.observations[0].sequence + max(0, since - delay) // divider * divider
        assert world.record().command[0] == answered / 1024
        assert Source(header.source) == Source.POLICY
        world.ticks(1)
    asked = [header.sequence for header in world.observations]
    assert {after - before for before, after in itertools.pairwise(asked)} == {divider}
    assert world.read_status().actions_late == 0


def test_an_answer_in_the_last_moment_is_in_time_and_one_after_it_is_late():
    for answer_ns, late in ((3 * PERIOD - 2 * MS, False), (3 * PERIOD + 2 * MS, True)):
        world = armed(4, 3)
        world.policy = lambda header, record, taken=answer_ns: Answer([0.5, 0.0], delay_ns=taken)
        world.ticks(8)
        assert (world.read_status().actions_late > 0) == late


def test_late_lasts_until_an_answer_comes_in_time_again():
    world = armed(4, 2)
    good = world.policy
    world.until_posted()
    world.policy = silent
    world.ticks(4)  # the answer to the observation before takes effect, the next one is asked and not answered
    world.policy = good
    events = []
    for _ in range(8):
        world.ticks(1)
        events.append(Event.ACTION_LATE in world.record().events)
    assert events == [False, True, True, True, True, False, False, False]
    assert world.now_mode() == Mode.ACTIVE


def test_a_policy_that_stays_silent_fills_the_bucket():
    world = armed(4, 2)
    world.policy = silent
    world.ticks(24)
    assert (world.now_mode(), world.read_status().fault) == (Mode.STOPPED, Event.BUCKET_FAULT)


def test_a_tick_with_a_delay_never_waits_for_the_policy():
    world = armed(4, 2, answer_ns=15 * MS)
    world.ticks(8)
    header = world.record().header
    assert header.write_ns - header.start_ns < 1 * MS


def test_an_episodes_start_asks_at_once_and_drops_what_was_asked_before():
    world = armed(4, 3)
    world.until_posted()
    asked = len(world.observations)
    episode = world.observations[-1].episode
    world.ticks(1)
    world.ticks(1, StateFlag.EPISODE_START)
    assert len(world.observations) == asked + 1
    assert world.observations[-1].episode == episode + 1
    world.ticks(8)
    assert world.now_mode() == Mode.ACTIVE


def test_an_episodes_start_during_the_trial_begins_it_anew():
    world = World(small_config(policy_divider=4, action_delay=4, bucket_limit=10, arm_ticks=50))
    world.policy = lambda header, record: Answer([0.25, 0.0])
    world.ticks(1)
    world.request(Request.ARM)
    world.ticks(2)
    world.ticks(1, StateFlag.EPISODE_START)
    assert len(world.observations) == 2
    world.ticks(3)
    assert world.now_mode() == Mode.SAFE
    world.ticks(1)
    assert world.now_mode() == Mode.ACTIVE


def test_a_state_that_is_lost_when_the_answer_is_due_leaves_the_answer_in_effect():
    world = armed(4, 2)
    world.until_posted()
    world.ticks(1)
    world.tick()  # the answer falls due in it, and no state came
    assert world.record().events == {Event.STATE_LOST}
    world.ticks(1)
    assert world.record().command[0] == world.observations[-1].sequence / 1024
    assert world.read_status().actions_late == 0


def test_in_lockstep_a_delayed_answer_is_waited_for_as_long_as_it_would_have_had():
    world = World(small_config(policy_divider=2, action_delay=1, bucket_limit=10, arm_ticks=50))
    world.policy = lambda header, record: Answer([0.25, 0.0], delay_ns=4 * MS)
    world.ticks(1, StateFlag.LOCKSTEP)
    world.request(Request.ARM)
    world.ticks(8, StateFlag.LOCKSTEP)
    assert world.now_mode() == Mode.ACTIVE
    assert world.read_status().actions_late == 0


def test_an_episodes_start_without_an_askable_state_is_made_up_for():
    world = armed(4, 2)
    world.until_posted()
    episode = world.observations[-1].episode
    world.state([1.5, 2.0, 300.0], StateFlag.EPISODE_START)  # of the wrong range for its byte
    world.tick()
    world.ticks(1)
    assert world.now_mode() in (Mode.ACTIVE, Mode.FALLBACK)
    assert world.observations[-1].episode >= episode
