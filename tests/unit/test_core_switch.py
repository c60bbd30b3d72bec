"""A wish for the candidate: until when it counts, what comes of it, and what is left of the policy before."""

from __future__ import annotations

import numpy as np
import pytest

from edgerl.runtime import core
from edgerl.runtime.enums import Event, Mode, Request, Verdict
from tests.core_pair import SECOND, Pair
from tests.core_world import EPOCH, MS


def wishing(**fields: int) -> Pair:
    """Return a pair in ACTIVE whose candidate says nothing, in the first tick of a wish for it."""
    pair = Pair(**fields)
    pair.values = None
    world = pair.arm()
    world.request(Request.SWITCH)
    world.ticks(1)
    assert world.read_status().switched == 0
    return pair


def test_a_wish_counts_for_as_many_ticks_as_it_is_given_and_not_for_one_more():
    world = wishing(arm_ticks=3).world
    left = []
    for _ in range(3):
        left.append((world.read_status().switch_pending, world.read_status().switch_refused))
        world.ticks(1)
    assert left == [(2, 0), (1, 0), (0, 1)]
    assert (world.read_status().switch_pending, world.read_status().switch_refused) == (0, 1)


def test_in_the_last_tick_of_its_wish_a_candidate_still_takes_over():
    pair = wishing(arm_ticks=3)
    pair.world.ticks(1)
    pair.values = [0.3, 0.4]
    pair.world.ticks(1)
    status = pair.world.read_status()
    assert (status.switched, status.switch_refused, status.switch_pending) == (1, 0, 0)


def test_a_candidate_that_is_good_after_the_wish_was_given_up_stays_the_candidate():
    pair = wishing(arm_ticks=3)
    pair.world.ticks(3)
    assert pair.world.read_status().switch_refused == 1
    pair.values = [0.3, 0.4]
    pair.world.ticks(3)
    status = pair.world.read_status()
    assert (status.switched, status.switch_refused) == (0, 1)
    assert status.candidate == core.policy_word(SECOND, 1)
    assert pair.world.record().command.tolist() == pytest.approx([0.1, 0.2])


def test_the_same_holds_before_it_is_armed():
    pair = Pair(arm_ticks=2)
    pair.ready(SECOND + 1)
    world = pair.world
    world.ticks(1)
    world.request(Request.SWITCH)
    world.ticks(2)
    assert world.read_status().switch_refused == 1
    pair.ready(SECOND)
    world.ticks(2)
    assert (world.read_status().switched, world.read_status().acting) == (0, core.policy_word(EPOCH, 0))


def test_a_wish_ends_with_the_first_tick_after_a_fault():
    pair = wishing(arm_ticks=8)
    world = pair.world
    world.die()
    world.ticks(1)
    assert world.now_mode() == Mode.FALLBACK
    assert world.read_status().switch_pending > 0
    pair.values = [0.3, 0.4]
    world.ticks(1)
    status = world.read_status()
    assert (status.switched, status.switch_refused, status.switch_pending) == (0, 1, 0)


def test_the_tick_of_a_switch_is_recorded_as_the_new_policys():
    pair = Pair(raw_count=2)
    world = pair.arm()
    taken = world.read_status().actions_taken
    world.request(Request.SWITCH)
    world.ticks(1)
    header = world.record().header
    assert (header.epoch, header.acting_slot, header.infer_ns) == (SECOND, 1, 77)
    assert header.action_sequence == header.tick
    assert header.action_ns == header.post_ns + 1 * MS
    assert world.record().action.tolist() == pytest.approx([0.3, 0.4])
    assert world.read_status().actions_taken == taken + 1


def test_nobody_is_beside_the_new_policy():
    pair = Pair()
    world = pair.arm()
    world.request(Request.SWITCH)
    world.ticks(1)
    header = world.record().header
    assert (header.shadow_epoch, header.shadow_sequence, header.shadow_infer_ns) == (0, 0, 0)
    assert np.isnan(pair.shadow()).all()


def test_between_two_answers_the_new_policys_action_stays_in_effect():
    pair = Pair(policy_divider=3, action_delay=1, arm_ticks=9)
    world = pair.world
    world.ticks(1)
    world.request(Request.ARM)
    world.ticks(4)
    assert world.now_mode() == Mode.ACTIVE
    world.until_posted()
    world.request(Request.SWITCH)
    world.ticks(1)
    assert world.read_status().switched == 1
    for _ in range(3):
        assert world.record().command.tolist() == pytest.approx([0.3, 0.4])
        assert Event.ACTION_LATE not in world.record().events
        world.ticks(1)


def test_what_the_policy_before_owed_is_not_owed_by_the_new_one():
    """The wish comes true in the tick in which the old policy would have been out of time."""
    pair = Pair(inference_timeout_ns=24 * MS)
    world = pair.arm()
    pair.acting, pair.values = None, None
    world.ticks(2)
    assert world.read_status().actions_late == 2
    pair.values = [0.3, 0.4]
    world.request(Request.SWITCH)
    world.ticks(1)
    assert world.record().events == {Event.SWITCH}
    world.ticks(6)
    assert (world.now_mode(), world.read_status().actions_late) == (Mode.ACTIVE, 2)


def test_what_is_saturated_of_the_first_action_of_a_new_policy_is_counted():
    pair = Pair()
    pair.values = [0.3, 9.0]
    world = pair.arm()
    world.request(Request.SWITCH)
    world.ticks(1)
    assert world.record().events == {Event.SWITCH}
    header = world.record().header
    assert (header.saturated[0], header.causes) == (2, Verdict.HIGH)
    assert (world.read_status().saturated, world.status.violations[1][2]) == (1, 1)
