"""Listening to policies: whose answer counts, to which observation, and for how long it is waited for."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgerl.runtime import core
from edgerl.runtime.enums import Event, Mode, Request
from tests.core_pair import SECOND, Pair
from tests.core_world import EPOCH, MS, Answer, World, silent, small_config


def test_the_first_epoch_of_all_is_somebody():
    world = World()
    world.act(1)
    core.say_ready(world.at["action"], 1)
    world.arm()
    world.ticks(2)
    assert world.read_status().actions_late == 0


def test_nobody_is_never_ready():
    pair = Pair()
    core.set_policies(pair.world.at["requests"], core.policy_word(0, 2), 0)
    pair.world.ticks(1)
    pair.world.request(Request.ARM)
    pair.world.ticks(2)
    assert (pair.world.now_mode(), pair.world.observations) == (Mode.SAFE, [])


def test_without_a_candidate_no_mailbox_is_read_for_one():
    pair = Pair()
    pair.name(SECOND, 0)
    core.set_policies(pair.world.at["requests"], core.policy_word(SECOND, 1), 0)
    world = pair.arm()
    world.ticks(1)
    stale = world.read_status().actions_stale
    core.post_action(world.slots[0], 0, world.record().header.tick, np.zeros(2, np.float32))
    world.ticks(1)
    assert world.read_status().actions_stale == stale


def test_an_answer_to_an_earlier_observation_is_counted_and_is_a_sign_of_life():
    world = World(small_config(bucket_limit=10, inference_timeout_ns=25 * MS))
    world.arm()
    world.policy = lambda header, record: Answer([0.1, 0.2], sequence=header.sequence - 1)
    for late in range(1, 9):
        world.ticks(1)
        assert world.record().events == {Event.ACTION_LATE}
        assert world.read_status().actions_stale == late
        assert world.read_status().actions_late == late


def test_a_policy_that_answers_owes_nothing_however_long_it_goes_on():
    world = World(small_config(inference_timeout_ns=25 * MS))
    world.arm()
    world.ticks(8)
    assert world.now_mode() == Mode.ACTIVE
    assert world.read_status().actions_stale == 0


@pytest.mark.parametrize("bad", [(math.nan, 0.0), (0.0, math.inf)])
def test_no_value_of_an_answer_counts_whose_raw_action_is_not_finite(bad):
    world = World(small_config(raw_count=2))
    world.arm()
    world.policy = lambda header, record: Answer([0.3, 0.4], raw=list(bad))
    world.ticks(1)
    assert np.isnan(world.record().action).all()
    assert world.record().events == {Event.REJECT}


def test_the_answers_of_a_candidate_are_counted_one_by_one():
    pair = Pair()
    world = pair.arm()
    before = world.read_status().shadow_taken
    world.ticks(3)
    assert world.read_status().shadow_taken == before + 3


def test_at_the_deadline_nobody_waits_any_more():
    world = World()
    world.arm()
    waits = []

    def sleep() -> None:
        waits.append(world.now)
        world.now = world.record().header.start_ns + world.config.period_ns + world.config.budget_ns

    world.on_wait = sleep
    world.ticks(1)
    assert len(waits) == 1
    assert world.record().events == {Event.ACTION_LATE}


def test_a_policy_that_posts_without_end_is_read_a_bounded_number_of_times():
    world = World()
    world.arm()
    stale = world.read_status().actions_stale
    old = np.array([0.1, 0.2], np.float32)
    world.on_wait = lambda: core.post_action(world.at["action"], EPOCH + 1, 0, old)
    world.ticks(1)
    assert world.record().events == {Event.ACTION_LATE}
    assert world.read_status().actions_stale == stale + 4095


def test_an_answer_that_was_looked_at_before_it_was_due_is_taken_when_it_is():
    """Its policy is late enough to be suspected; its mailbox is read, and it is found to have answered."""
    world = World(small_config(policy_divider=4, action_delay=4, bucket_limit=10, arm_ticks=50))
    world.config.inference_timeout_ns = 25 * MS
    world = World(world.config)
    world.policy = lambda header, record: Answer([0.25, 0.0], delay_ns=12 * MS)
    world.ticks(1)
    world.request(Request.ARM)
    world.ticks(16)
    assert world.now_mode() == Mode.ACTIVE
    assert world.read_status().actions_late == 0
    world.policy = silent
    world.ticks(8)
    assert world.read_status().fault == Event.INFERENCE_TIMEOUT
