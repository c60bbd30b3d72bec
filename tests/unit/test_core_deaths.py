"""Which policy died is reported; whether that is a fault, and who acts then, the guardian judges."""

from __future__ import annotations

from functools import partial

import pytest

from edgerl.runtime import core
from edgerl.runtime.enums import Event, Mode, Request, StateFlag
from tests.core_pair import SECOND, Pair
from tests.core_world import EPOCH, MS, World


def switched(**fields: int) -> World:
    """Return a world in which the candidate has just taken over, and the supervisor does not know yet."""
    world = Pair(**fields).arm()
    world.request(Request.SWITCH)
    world.ticks(1)
    assert world.read_status().acting == core.policy_word(SECOND, 1)
    return world


def test_an_old_policy_that_dies_as_another_one_takes_over_is_no_fault():
    world = switched()
    core.policy_died(world.at["requests"], core.policy_word(EPOCH, 0))
    world.ticks(2)
    assert (world.now_mode(), world.record().events) == (Mode.ACTIVE, {Event.NOMINAL})
    assert (world.read_status().acting, world.read_status().candidate) == (core.policy_word(SECOND, 1), 0)


def test_a_policy_that_dies_as_it_has_taken_over_is_a_fault_and_the_one_that_is_named_acts_again():
    world = switched()
    core.policy_died(world.at["requests"], core.policy_word(SECOND, 1))
    world.ticks(1)
    assert (world.now_mode(), world.record().events) == (Mode.FALLBACK, {Event.POLICY_FAULT})
    assert (world.read_status().acting, world.read_status().candidate) == (core.policy_word(EPOCH, 0), 0)
    world.ticks(1)
    assert Event.POLICY_FAULT not in world.record().events


def test_the_acting_policys_death_is_a_fault_once_and_nobody_acts_then():
    world = Pair().arm()
    core.policy_died(world.at["requests"], core.policy_word(EPOCH, 0))
    world.ticks(1)
    assert (world.now_mode(), world.record().events) == (Mode.FALLBACK, {Event.POLICY_FAULT})
    assert world.read_status().acting == 0
    world.ticks(1)
    assert world.record().events == {Event.NOMINAL}


def test_a_candidates_death_ends_the_wish_for_it_and_is_no_fault():
    pair = Pair()
    pair.values = None
    world = pair.arm()
    world.request(Request.SWITCH)
    world.ticks(1)
    core.policy_died(world.at["requests"], core.policy_word(SECOND, 1))
    world.ticks(1)
    assert (world.now_mode(), world.record().events) == (Mode.ACTIVE, {Event.NOMINAL})
    assert (world.read_status().candidate, world.read_status().switch_refused) == (0, 1)


@pytest.mark.parametrize("word", [core.policy_word(EPOCH - 1, 0), core.policy_word(EPOCH, 2), core.policy_word(99, 3)])
def test_the_death_of_an_earlier_policy_or_of_one_in_another_slot_is_nobodys_here(word):
    world = Pair().arm()
    core.policy_died(world.at["requests"], word)
    world.ticks(2)
    assert (world.now_mode(), world.record().events) == (Mode.ACTIVE, {Event.NOMINAL})


def test_a_successor_in_the_slot_of_the_dead_lives():
    world = Pair().arm()
    world.die()
    world.ticks(1)
    assert (world.now_mode(), world.read_status().acting) == (Mode.FALLBACK, core.policy_word(EPOCH + 1, 0))
    world.request(Request.RESET)
    world.ticks(1)
    world.arm()


def test_only_the_acting_policys_death_does_not_wait_for_a_state():
    for slot, waits in ((0, False), (1, True)):
        world = Pair(state_timeout_ns=1000 * MS).world
        world.arm(StateFlag.LOCKSTEP)
        before, word = world.now, core.policy_word(EPOCH if slot == 0 else SECOND, slot)
        world.hooks.append((before + 12 * MS, partial(core.policy_died, world.at["requests"], word)))
        world.state(flags=StateFlag.LOCKSTEP, at=before + 60 * MS)
        world.tick()
        assert (world.now - before >= 60 * MS) is waits
