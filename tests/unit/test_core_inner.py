"""The inner law: what a command channel makes of the policy's action in every base tick."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgerl.runtime import structs
from edgerl.runtime.enums import (
    ArmBlocker,
    Event,
    InnerLaw,
    LadderClass,
    Mode,
    OnViolation,
    Request,
    Role,
    Source,
    Verdict,
)
from tests.core_world import MS, PERIOD, Answer, World, command, joint_config, set_ladder, silent, small_config


def armed(config: structs.Config, action: float = 0.4, stands: tuple[float, float] = (0.1, 0.2)) -> World:
    """Return a world whose policy has been in charge since this tick."""
    world = World(config)
    world.stands[:] = stands
    world.policy = lambda header, record: Answer([action])
    world.arm()
    return world


def torque(target: float, position: float, rate: float, kp: float = 10.0, kd: float = 1.0) -> float:
    return kp * (target - position) - kd * rate


def last(world: World) -> list[float]:
    return world.sent[-1].values.tolist()


def test_gains_without_an_action_are_nominal():
    world = armed(joint_config(pd=False))
    assert last(world) == pytest.approx([0.4, 40.0, 2.0])
    assert world.record().action.tolist() == pytest.approx([0.4])
    assert world.record().command.tolist() == pytest.approx([0.4, 40.0, 2.0])


def test_one_action_may_drive_several_channels_and_in_any_order():
    config = small_config()
    config.commands[0].action, config.commands[1].action = 1, 0
    config.commands[2] = command(-2.0, 2.0, math.inf, math.inf, 0.0, OnViolation.REJECT, action=1)
    config.command_count = 3
    world = World(config)
    world.policy = lambda header, record: Answer([0.25, 0.75])
    world.arm()
    assert last(world) == [0.75, 0.25, 0.75]


def test_a_joint_of_the_guardians_gets_the_torque_of_the_newest_state():
    world = armed(joint_config(pd=True))
    assert last(world) == pytest.approx([torque(0.4, 0.1, 0.2)])
    world.stands[:] = [0.3, -0.5]
    world.ticks(1)
    assert last(world) == pytest.approx([torque(0.4, 0.3, -0.5)])


def test_while_the_action_is_late_the_joint_is_held_at_its_position_by_the_newest_state():
    world = armed(joint_config(pd=True))
    world.policy = silent
    world.stands[:] = [0.7, 0.5]
    world.ticks(1)
    assert world.record().events == {Event.ACTION_LATE}
    assert world.sent[-1].source == Source.HOLD
    assert last(world) == pytest.approx([torque(0.4, 0.7, 0.5)])
    world.stands[:] = [0.5, 0.0]
    world.ticks(1)
    assert last(world) == pytest.approx([torque(0.4, 0.5, 0.0)])


def test_without_a_new_state_the_torque_stays_what_it_was():
    world = armed(joint_config(pd=True))
    before = last(world)
    world.tick()
    assert world.record().events == {Event.STATE_LOST}
    assert last(world) == before


def test_a_rejected_position_is_not_what_the_joint_is_held_at():
    config = joint_config(pd=True)
    config.commands[0].on_violation = OnViolation.REJECT
    world = armed(config)
    world.policy = lambda header, record: Answer([100.0])
    for stands in (0.2, 0.3):
        world.stands[:] = [stands, 0.0]
        world.ticks(1)
        assert world.record().events == {Event.REJECT}
        assert last(world) == pytest.approx([torque(0.4, stands, 0.0)])


@pytest.mark.parametrize("target", [math.nan, math.inf, -math.inf, 3e38])
def test_a_torque_that_is_not_finite_is_rejected_even_where_the_channel_saturates(target):
    world = armed(joint_config(pd=True))
    before = last(world)
    world.policy = lambda header, record: Answer([target])
    world.ticks(1)
    assert world.record().events == {Event.REJECT}
    assert last(world) == pytest.approx(before)


def test_a_torque_beyond_its_limits_is_saturated_and_counted():
    world = armed(joint_config(pd=True))
    world.policy = lambda header, record: Answer([20.0])
    world.ticks(1)
    assert last(world) == [50.0]
    assert list(world.record().header.saturated) == [1, 0, 0, 0]


def test_on_a_ladder_hold_is_the_command_written_last_whatever_the_state():
    config = joint_config(pd=True)
    set_ladder(config, LadderClass.POLICY, (Source.HOLD, 50 * MS))
    world = armed(config)
    before = last(world)
    world.stands[:] = [0.9, 3.0]
    world.die()
    world.ticks(2)
    assert (world.now_mode(), world.sent[-1].source) == (Mode.FALLBACK, Source.HOLD)
    assert last(world) == before


def test_a_held_torque_keeps_to_the_envelope():
    config = joint_config(pd=True)
    config.commands[0].max_rate = 100.0
    world = armed(config, action=0.15)
    assert last(world) == pytest.approx([0.3])
    world.policy = silent
    world.stands[:] = [-0.9, 0.0]
    world.ticks(1)
    assert last(world) == pytest.approx([1.3])


def blending() -> World:
    """Return a world whose policy has just taken over at the start pose, with four ticks of blend."""
    config = joint_config(pd=False, blend_ns=4 * PERIOD, prepare_ns=PERIOD)
    world = World(config)
    world.stands[:] = [0.5, 0.0]
    world.policy = lambda header, record: Answer([0.9])
    world.ticks(1)
    world.request(Request.ARM)
    world.ticks(2)
    assert world.now_mode() == Mode.ACTIVE
    return world


def test_position_and_gains_go_to_the_policys_in_equal_parts():
    world = blending()
    world.ticks(4)
    sent = np.array([command.values for command in world.sent[1:]])
    ways = np.array([0.0, 0.25, 0.5, 0.75, 1.0, 1.0])[:, None]
    assert sent == pytest.approx(np.array([0.5, 80.0, 4.0]) + ways * np.array([0.4, -40.0, -2.0]))
    assert last(world) == np.array([0.9, 40.0, 2.0], np.float32).tolist()


def test_other_channels_without_an_action_do_not_wait():
    config = joint_config(pd=False, blend_ns=4 * PERIOD)
    config.commands[2].role, config.commands[2].safe = Role.OTHER, 0.0
    world = armed(config)
    assert last(world) == pytest.approx([0.1, 10.0, 2.0])


def test_a_joint_of_the_guardians_blends_position_and_gains_and_not_torques():
    config = joint_config(pd=True, blend_ns=2 * PERIOD, prepare_ns=PERIOD)
    world = World(config)
    world.stands[:] = [0.5, 0.0]
    world.policy = lambda header, record: Answer([0.9])
    world.ticks(1)
    world.request(Request.ARM)
    world.ticks(1)
    world.stands[:] = [0.3, 0.2]
    world.ticks(1)
    assert last(world) == pytest.approx([torque(0.7, 0.3, 0.2, kp=15.0, kd=1.5)])
    world.ticks(1)
    assert last(world) == pytest.approx([torque(0.9, 0.3, 0.2)])


def test_out_of_safe_a_joint_of_the_guardians_sets_out_from_where_it_stands():
    world = armed(joint_config(pd=True, blend_ns=2 * PERIOD))
    assert last(world) == pytest.approx([torque(0.25, 0.1, 0.2)])
    world.stands[:] = [0.2, 0.0]
    world.ticks(1)
    assert last(world) == pytest.approx([torque(0.4, 0.2, 0.0)])


@pytest.mark.parametrize("action", [math.nan, 2.5])
def test_the_first_action_must_pass_as_the_policy_says_it(action):
    world = World(joint_config(pd=False, blend_ns=100 * PERIOD))
    world.policy = lambda header, record: Answer([action])
    world.ticks(1)
    world.request(Request.ARM)
    world.ticks(1)
    assert world.now_mode() == Mode.SAFE
    assert world.read_status().arm_blockers == ArmBlocker.REJECTED
    assert world.read_status().rejected == 1


def test_what_is_saturated_while_trying_is_counted_once():
    config = joint_config(pd=True, blend_ns=2 * PERIOD)
    config.commands[0].low, config.commands[0].high = -1.0, 1.0
    world = armed(config, action=0.5, stands=(0.1, 0.0))
    assert last(world) == [1.0]
    assert world.read_status().saturated == 1
    assert world.status.violations[0][2] == 1


def test_a_stall_does_not_hurry_it():
    world = blending()
    world.now += 2 * PERIOD
    world.ticks(1)
    assert last(world)[0] == pytest.approx(0.7)


def test_a_reject_is_held_and_the_blend_goes_on():
    world = blending()
    world.policy = lambda header, record: Answer([math.nan])
    world.ticks(1)
    assert last(world) == pytest.approx([0.6, 70.0, 3.5])
    world.policy = lambda header, record: Answer([0.9])
    world.ticks(1)
    assert last(world) == pytest.approx([0.8, 50.0, 2.5])


def test_the_trial_of_the_first_action_is_against_the_pose_of_preparing():
    config = joint_config(pd=False, prepare_ns=PERIOD)
    config.commands[0].max_rate = 10.0
    world = World(config)
    world.stands[:] = [0.5, 0.0]
    world.ticks(1)
    world.request(Request.ARM)
    world.policy = lambda header, record: Answer([0.61])
    world.ticks(3)
    assert (world.now_mode(), world.read_status().arm_blockers) == (Mode.PREPARE, ArmBlocker.REJECTED)
    world.policy = lambda header, record: Answer([0.59])
    world.ticks(1)
    assert world.now_mode() == Mode.ACTIVE


@pytest.mark.parametrize(("target", "limit", "cause"), [(0.9, 0.5, Verdict.HIGH), (-0.9, -0.25, Verdict.LOW)])
def test_a_position_that_is_asked_for_beyond_its_limits_is_brought_to_them_and_counted(target, limit, cause):
    config = joint_config(pd=True)
    config.commands[0].target_low, config.commands[0].target_high, config.commands[0].prepare = -0.25, 0.5, 0.0
    world = armed(config, action=target)
    assert last(world) == pytest.approx([torque(limit, 0.1, 0.2)])
    assert list(world.record().header.saturated) == [1, 0, 0, 0]
    assert world.record().header.causes == cause
    world.policy = silent
    world.ticks(1)
    assert last(world) == pytest.approx([torque(limit, 0.1, 0.2)])


@pytest.mark.parametrize(("target", "cause"), [(0.9, Verdict.HIGH), (-0.9, Verdict.LOW)])
def test_a_position_that_is_asked_for_beyond_its_limits_is_rejected_where_the_channel_rejects(target, cause):
    config = joint_config(pd=True)
    config.commands[0].target_low, config.commands[0].target_high, config.commands[0].prepare = -0.25, 0.5, 0.0
    config.commands[0].on_violation = OnViolation.REJECT
    world = armed(config, action=0.5)
    world.policy = lambda header, record: Answer([target])
    world.ticks(1)
    assert world.record().events == {Event.REJECT}
    assert world.record().header.causes == cause
    assert last(world) == pytest.approx([torque(0.5, 0.1, 0.2)])


def test_an_interpolated_action_sets_out_from_the_command_before_and_arrives():
    config = joint_config(pd=False, policy_divider=4, action_delay=1, inner_law=InnerLaw.INTERPOLATE, arm_ticks=20)
    world = World(config)
    world.stands[:] = [0.0, 0.0]
    world.policy = lambda header, record: Answer([0.8])
    world.ticks(1)
    world.request(Request.ARM)
    world.ticks(2)
    assert world.now_mode() == Mode.ACTIVE
    assert last(world)[0] == pytest.approx(0.2)
    world.ticks(80)
    assert last(world)[0] == pytest.approx(0.8, abs=1e-4)


def test_an_interpolated_action_of_every_tick_is_there_at_once():
    config = joint_config(pd=False, inner_law=InnerLaw.INTERPOLATE)
    world = armed(config)
    world.policy = lambda header, record: Answer([0.8])
    world.ticks(1)
    assert world.sent[-1].source == Source.POLICY
    assert last(world)[0] == pytest.approx(0.8)


def test_a_held_torque_that_overflows_is_the_safe_one():
    config = joint_config(pd=True)
    config.commands[0].safe = 1.5
    world = armed(config)
    world.policy = silent
    world.stands[:] = [3e38, 0.0]
    world.ticks(1)
    assert world.sent[-1].source == Source.HOLD
    assert last(world) == [1.5]
