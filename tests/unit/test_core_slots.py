"""A candidate beside the acting policy: heard and recorded, switched to between two ticks, and the last resort."""

from __future__ import annotations

import numpy as np
import pytest

from edgerl.runtime import core, structs
from edgerl.runtime.enums import Event, LadderClass, Mode, Request, Source
from tests.core_pair import SECOND, Pair, pair_config, standby
from tests.core_world import EPOCH, MS, set_ladder, silent


def test_the_candidates_action_is_recorded_and_never_sent():
    pair = Pair()
    world = pair.arm()
    world.ticks(3)
    header = world.record().header
    assert (header.shadow_epoch, header.shadow_sequence, header.shadow_infer_ns) == (SECOND, header.tick, 77)
    assert pair.shadow() == pytest.approx([0.3, 0.4])
    assert world.record().command.tolist() == pytest.approx([0.1, 0.2])
    assert world.read_status().shadow_taken >= 3


def test_an_answer_to_an_earlier_observation_is_recorded_as_what_it_is():
    pair = Pair()
    world = pair.arm()
    pair.lag = 1
    world.ticks(1)
    header = world.record().header
    assert (header.shadow_sequence, header.shadow_epoch) == (header.tick - 1, SECOND)


def test_a_candidate_of_another_epoch_is_nobody():
    pair = Pair()
    world = pair.arm()
    pair.name(EPOCH, SECOND + 1)
    stale = world.read_status().actions_stale
    world.ticks(1)
    assert world.record().header.shadow_epoch == 0
    assert world.read_status().actions_stale > stale
    assert np.isnan(pair.shadow()).all()


def test_a_switch_takes_over_in_one_tick_and_none_is_missed():
    pair = Pair()
    world = pair.arm()
    world.request(Request.SWITCH)
    world.ticks(1)
    header, status = world.record().header, world.read_status()
    assert (Event(header.event), Mode(header.mode), Source(header.source)) == (Event.SWITCH, Mode.ACTIVE, Source.POLICY)
    assert world.record().command.tolist() == pytest.approx([0.3, 0.4])
    assert (status.acting, status.candidate, status.switched) == (core.policy_word(SECOND, 1), 0, 1)
    pair.name(EPOCH, SECOND)  # the supervisor has not taken note of it yet: nothing changes back
    pair.acting = None
    world.ticks(3)
    assert world.record().header.acting_slot == 1
    assert (world.read_status().actions_late, world.read_status().switch_refused) == (0, 0)


@pytest.mark.parametrize("trouble", ["silent", "rejected", "not ready"])
def test_a_switch_that_cannot_be_is_given_up_and_the_old_policy_goes_on(trouble):
    pair = Pair()
    world = pair.arm()
    if trouble == "silent":
        pair.values = None
    if trouble == "rejected":
        pair.values = [5.0, 0.0]
    if trouble == "not ready":
        pair.ready(SECOND + 5)
    world.request(Request.SWITCH)
    world.ticks(1)
    assert world.read_status().switch_pending > 0
    world.ticks(4)
    status = world.read_status()
    assert (status.switched, status.switch_refused, status.switch_pending) == (0, 1, 0)
    assert world.record().command.tolist() == pytest.approx([0.1, 0.2])
    assert world.now_mode() == Mode.ACTIVE


def test_a_wish_dies_with_its_candidate():
    pair = Pair()
    pair.values = None
    world = pair.arm()
    world.request(Request.SWITCH)
    world.ticks(1)
    pair.name(EPOCH, 0)
    world.ticks(1)
    assert (world.read_status().switch_refused, world.read_status().switch_pending) == (1, 0)


def test_without_a_candidate_and_after_a_fault_nothing_is_switched():
    pair = Pair()
    world = pair.arm()
    pair.name(EPOCH, 0)
    world.ticks(1)
    world.request(Request.SWITCH)
    world.ticks(1)
    assert world.read_status().switch_refused == 1
    pair.name(EPOCH, SECOND)
    world.die()
    world.ticks(1)
    world.request(Request.SWITCH)
    world.ticks(1)
    assert (world.read_status().switch_refused, world.read_status().switched) == (2, 0)


def test_before_it_is_armed_a_switch_only_changes_who_will_be_asked():
    pair = Pair()
    world = pair.world
    world.ticks(1)
    world.request(Request.SWITCH)
    world.ticks(1)
    assert (world.read_status().acting, world.now_mode()) == (core.policy_word(SECOND, 1), Mode.SAFE)
    assert Event(world.record().header.event) == Event.SWITCH
    assert Source(world.record().header.source) == Source.SAFE


def test_a_word_of_a_slot_that_is_none_is_nobody():
    pair = Pair()
    world = pair.arm()
    core.set_policies(world.at["requests"], core.policy_word(EPOCH, 3), core.policy_word(SECOND, 200))
    world.ticks(1)
    assert (world.read_status().acting, world.read_status().candidate) == (0, 0)


def test_a_policy_that_owes_its_answer_for_too_long_is_a_fault_of_its_own():
    pair = Pair(inference_timeout_ns=25 * MS)
    world = pair.arm()
    world.ticks(2)
    world.policy = silent
    seen = set()
    for _ in range(4):
        world.ticks(1)
        seen |= world.record().events
    assert Event.INFERENCE_TIMEOUT in seen
    assert (world.now_mode(), world.read_status().fault) == (Mode.FALLBACK, Event.INFERENCE_TIMEOUT)
    assert world.read_status().ladder == LadderClass.POLICY


@pytest.mark.parametrize("fields", [{}, {"policy_divider": 2, "action_delay": 1, "arm_ticks": 8}])
def test_the_ladder_may_lead_to_the_candidate(fields):
    pair = standby(**fields)
    world = pair.world
    world.ticks(1)
    world.request(Request.ARM)
    world.ticks(6)
    assert world.now_mode() == Mode.ACTIVE
    pair.acting = None
    world.die()
    sources = []
    for _ in range(4):
        world.ticks(1)
        sources.append(Source(world.record().header.source))
    assert Source.STANDBY in sources
    assert set(sources) <= {Source.STANDBY, Source.SAFE}
    assert world.record().command.tolist() == pytest.approx([0.3, 0.4])
    assert world.now_mode() == Mode.FALLBACK


@pytest.mark.parametrize("trouble", ["silent", "rejected", "gone", "not ready"])
def test_a_candidate_that_has_no_good_action_is_replaced_by_the_safe_command(trouble):
    pair = standby()
    world = pair.arm()
    pair.acting = None
    pair.values = {"silent": None, "rejected": [5.0, 0.0]}.get(trouble, [0.3, 0.4])
    if trouble == "not ready":
        pair.ready(SECOND + 5)
    if trouble == "gone":
        pair.name(EPOCH, 0)
    world.die()
    world.ticks(2)
    assert Source(world.record().header.source) == Source.SAFE
    assert world.record().command.tolist() == pytest.approx([0.0, 0.5])


def test_a_slow_candidate_that_is_not_ready_is_not_stood_by_with_what_it_said_before():
    pair = standby(policy_divider=2, action_delay=1, arm_ticks=8)
    world = pair.world
    world.ticks(1)
    world.request(Request.ARM)
    world.ticks(6)
    assert world.now_mode() == Mode.ACTIVE
    pair.ready(SECOND + 5)
    world.die()
    world.ticks(1)
    assert Source(world.record().header.source) == Source.SAFE


def test_a_candidate_in_the_place_of_another_is_blended_in_as_well():
    pair = standby(blend_ns=20 * MS)
    world = pair.arm()
    pair.acting = None
    world.die()
    world.ticks(2)
    assert world.record().command.tolist() == pytest.approx([0.3, 0.4])
    third = EPOCH + 20
    core.say_ready(world.slots[2], third)

    def answer(header: structs.ObservationHeader, _: bytes) -> None:
        core.post_action(world.slots[2], third, header.sequence, np.array([0.5, 0.8], np.float32))

    world.policy = answer
    core.set_policies(world.at["requests"], core.policy_word(EPOCH, 0), core.policy_word(third, 2))
    world.ticks(1)
    assert Source(world.record().header.source) == Source.STANDBY
    assert world.record().command.tolist() == pytest.approx([0.4, 0.6])
    world.ticks(1)
    assert world.record().command.tolist() == pytest.approx([0.5, 0.8])


def test_a_candidate_gets_no_observation_that_cannot_be_made():
    pair = standby()
    world = pair.arm()
    asked = len(world.observations)
    world.die()
    world.state([1.5, 2.0, 300.0])  # the third value is a byte
    world.tick()
    assert Source(world.record().header.source) == Source.SAFE
    assert len(world.observations) == asked


def test_a_candidate_is_not_asked_without_a_state():
    pair = standby()
    world = pair.arm()
    asked = len(world.observations)
    world.die()
    world.tick()
    assert Source(world.record().header.source) == Source.SAFE
    assert len(world.observations) == asked


def test_a_slow_candidate_waits_for_the_next_state_when_one_is_lost():
    pair = standby(policy_divider=2, action_delay=1, arm_ticks=8)
    world = pair.world
    world.ticks(1)
    world.request(Request.ARM)
    world.ticks(6)
    pair.acting = None
    world.die()
    for lost in (False, True, True, False, False):
        if not lost:
            world.state()
        world.tick()
    assert world.now_mode() == Mode.FALLBACK


@pytest.mark.parametrize("delay", [0, 1])
def test_the_ladder_of_a_machine_fault_leads_to_the_candidate_from_the_start_pose_too(delay):
    config = pair_config(prepare_ns=200 * MS, heartbeat_timeout_ns=45 * MS, action_delay=delay)
    set_ladder(config, LadderClass.MACHINE, (Source.STANDBY, 60 * MS))
    pair = Pair(config)
    world = pair.world
    world.ticks(1)
    world.request(Request.ARM)
    world.ticks(2)
    assert world.now_mode() == Mode.PREPARE
    for _ in range(5):
        world.ticks(1)
    assert world.now_mode() == Mode.FALLBACK
    assert Source(world.record().header.source) == Source.STANDBY
