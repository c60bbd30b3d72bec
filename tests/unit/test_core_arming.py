"""Arming: ACTIVE begins with an action that came in time and passed the envelope, or not at all."""

from __future__ import annotations

import math

import pytest

from edgerl.runtime import core, wire
from edgerl.runtime.enums import ArmBlocker, Event, Mode, Request, Source, StateFlag
from tests.core_world import EPOCH, MS, Answer, World, enter, silent, small_config

LOCKSTEP = StateFlag.LOCKSTEP
NOTHING = StateFlag(0)


def last(world: World) -> wire.Command:
    return world.sent[-1]


def refused(world: World, ticks: int) -> ArmBlocker:
    world.request(Request.ARM)
    for _ in range(ticks):
        world.state()
        world.tick()
    status = world.read_status()
    assert status.mode == Mode.SAFE
    assert (status.armed, status.arm_refused, status.arm_pending) == (0, 1, 0)
    return ArmBlocker(status.arm_blockers)


def test_arm_waits_for_the_first_state():
    world = World()
    world.request(Request.ARM)
    for _ in range(10):
        world.tick()
    assert world.read_status().arm_blockers & ArmBlocker.NO_STATE
    world.ticks(2)
    assert world.now_mode() == Mode.ACTIVE
    assert world.read_status().armed == 1
    assert world.read_status().arm_blockers == 0


@pytest.mark.parametrize("ready", [0, EPOCH - 1, EPOCH + 1])
def test_arm_is_given_up_without_a_ready_policy_of_this_epoch(ready):
    world = World()
    core.say_ready(world.at["action"], ready)
    assert refused(world, 4) == ArmBlocker.POLICY_NOT_READY
    assert world.observations == []


def test_an_answer_of_epoch_zero_is_nobodys():
    world = enter(Mode.ACTIVE)
    world.act(0)  # as the supervisor does just before it reports the policy's death
    world.ticks(1)
    assert world.record().events == {Event.ACTION_LATE}
    assert world.record().header.source == Source.HOLD
    assert world.read_status().actions_stale == 1


def test_epoch_zero_is_nobody():
    world = World()
    world.act(0)
    core.say_ready(world.at["action"], 0)
    assert refused(world, 4) == ArmBlocker.POLICY_NOT_READY


def test_arm_is_given_up_when_the_first_action_never_comes():
    world = World()
    world.policy = silent
    assert refused(world, 4) == ArmBlocker.ACTION_LATE
    assert last(world).source == Source.SAFE
    assert world.record().events == {Event.ACTION_LATE}


def test_arm_is_given_up_when_the_first_action_is_outside_the_envelope():
    world = World()
    world.policy = lambda header, record: Answer([5.0, 0.0])
    assert refused(world, 4) == ArmBlocker.REJECTED
    assert last(world).source == Source.SAFE


def test_the_first_action_is_held_against_the_safe_command():
    config = small_config()
    config.commands[0].max_rate = 10.0
    world = World(config)
    world.policy = lambda header, record: Answer([0.11, 0.0])
    assert refused(world, 4) == ArmBlocker.REJECTED


@pytest.mark.parametrize(
    ("flags", "values", "blocker"),
    [(StateFlag.DONE, None, ArmBlocker.DONE), (NOTHING, [math.inf, 0.0, 0.0], ArmBlocker.STATE_FAULT)],
)
def test_arm_is_given_up_while_the_state_forbids_it(flags, values, blocker):
    world = World()
    world.ticks(1)
    world.request(Request.ARM)
    for _ in range(4):
        assert world.read_status().arm_refused == 0
        world.state(values, flags)
        world.tick()
    assert world.read_status().arm_refused == 1
    assert world.read_status().arm_blockers == blocker
    assert world.observations == []


def test_arm_is_given_up_while_the_dead_man_switch_is_open():
    world = World(small_config(dead_man=1, operator_timeout_ns=1000 * MS))
    world.operate([], dead_man=0)
    assert refused(world, 4) == ArmBlocker.DEAD_MAN
    assert world.observations == []


def test_arm_is_given_up_on_a_state_that_the_observation_cannot_carry():
    world = World()
    world.stands[1] = 3e9  # more than its 32 bits hold
    assert refused(world, 4) == ArmBlocker.STATE_FAULT


def test_every_wish_that_is_given_up_is_counted():
    world = World()
    world.policy = silent
    for _ in range(2):
        world.request(Request.ARM)
        world.ticks(5)
    assert world.read_status().arm_refused == 2


def test_a_state_that_is_lost_counts_against_a_wanted_arm():
    world = World()
    world.ticks(1)
    world.request(Request.ARM)
    for _ in range(4):
        world.tick()
    assert world.read_status().arm_blockers == ArmBlocker.NO_STATE
    assert world.read_status().arm_refused == 1
    world.ticks(3)
    assert world.now_mode() == Mode.SAFE


def test_a_slow_first_action_arms_at_the_second_try():
    world = World()
    answers = iter([None, Answer([0.1, 0.2])])
    world.policy = lambda header, record: next(answers)
    world.ticks(1)
    world.request(Request.ARM)
    world.ticks(1)
    assert (world.now_mode(), world.read_status().arm_pending) == (Mode.SAFE, 3)
    world.ticks(1)
    assert world.now_mode() == Mode.ACTIVE


def test_disarm_takes_back_a_wanted_arm():
    world = World()
    world.ticks(1)
    world.request(Request.ARM)
    world.request(Request.DISARM)
    world.ticks(3)
    assert world.now_mode() == Mode.SAFE
    assert world.observations == []


@pytest.mark.parametrize("mode", [Mode.FALLBACK, Mode.STOPPED])
def test_arm_is_refused_in_a_latched_mode(mode):
    world = enter(mode)
    world.request(Request.ARM)
    world.ticks(1)
    assert world.now_mode() == mode
    assert world.read_status().arm_blockers == ArmBlocker.NOT_SAFE_MODE
    assert world.read_status().arm_refused == 1


def test_arm_in_active_changes_nothing():
    world = enter(Mode.ACTIVE)
    world.request(Request.ARM)
    world.ticks(1)
    assert world.record().events == {Event.NOMINAL}
    assert world.read_status().arm_refused == 0


@pytest.mark.parametrize("stop", [Request.ESTOP, None])
def test_estop_ends_a_wanted_arm(stop):
    world = World()
    world.ticks(1)
    world.policy = silent
    world.request(Request.ARM)
    world.ticks(1)
    if stop is not None:
        world.request(stop)
    world.state(flags=NOTHING if stop is not None else StateFlag.ESTOP)
    world.tick()
    assert world.now_mode() == Mode.STOPPED
    assert world.read_status().arm_pending == 0
    assert world.read_status().arm_blockers == ArmBlocker.ESTOP | ArmBlocker.NOT_SAFE_MODE
    world.request(Request.RESET)
    world.ticks(2)
    assert world.now_mode() == Mode.SAFE


def test_a_policy_that_is_said_to_have_died_is_not_armed():
    world = World()
    world.ticks(1)
    world.request(Request.ARM)
    world.die()
    world.ticks(1)
    assert world.now_mode() == Mode.SAFE
    assert world.read_status().arm_blockers == ArmBlocker.POLICY_NOT_READY
    assert world.observations == []


def test_a_reset_puts_a_wanted_arm_off_by_one_tick():
    world = World()
    world.ticks(1)
    world.request(Request.ARM)
    world.request(Request.RESET)
    world.ticks(1)
    assert (world.now_mode(), world.read_status().arm_pending) == (Mode.SAFE, 4)
    world.ticks(1)
    assert world.now_mode() == Mode.ACTIVE
