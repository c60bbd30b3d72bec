"""PREPARE: from where the robot was measured to the start pose, and from there into ACTIVE or not at all."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgerl.runtime import core, structs
from edgerl.runtime.enums import ArmBlocker, Event, LadderClass, Mode, Request, Source, StateFlag
from tests.core_world import MS, PERIOD, Answer, World, joint_config, set_ladder, silent

RAMP = 10 * PERIOD


def preparing(config: structs.Config | None = None, *, stands: float = 0.1) -> World:
    """Return a world that has just begun to prepare: the ramp's first command is sent."""
    world = World(config or joint_config(pd=False, prepare_ns=RAMP))
    world.stands[:2] = [stands, 0.0]
    world.policy = lambda header, record: Answer([0.5])
    world.ticks(1)
    world.request(Request.ARM)
    world.ticks(1)
    assert world.record().events == {Event.PREPARE}
    assert world.now_mode() == Mode.PREPARE
    return world


def positions(world: World) -> list[float]:
    return [float(command.values[0]) for command in world.sent]


def minimum_jerk(start: float, end: float, way: float) -> float:
    return start + (end - start) * (10 * way**3 - 15 * way**4 + 6 * way**5)


def test_positions_go_from_the_measured_state_to_the_start_pose_without_a_jerk():
    world = preparing()
    world.policy = silent
    world.ticks(9)
    ramp = positions(world)[1:]
    assert ramp == pytest.approx([minimum_jerk(0.1, 0.5, i / 10) for i in range(1, 11)], abs=1e-6)
    assert ramp[-1] == 0.5
    assert {(sent.mode, sent.source) for sent in world.sent[1:]} == {(Mode.PREPARE, Source.RAMP)}


def test_gains_are_those_of_preparing_from_the_first_command_on():
    world = preparing()
    world.ticks(3)
    assert {tuple(sent.values[1:]) for sent in world.sent[1:]} == {(80.0, 4.0)}


def test_nobody_is_asked_and_no_try_is_spent_on_the_way():
    world = preparing()
    world.ticks(8)
    status = world.read_status()
    assert world.observations == []
    assert (status.arm_pending, status.arm_blockers, status.arm_refused) == (4, ArmBlocker.PREPARING, 0)


def test_the_policy_takes_over_at_the_start_pose():
    world = preparing()
    world.ticks(9)
    assert world.now_mode() == Mode.PREPARE
    world.ticks(1)
    assert world.record().events == {Event.ARM}
    assert world.now_mode() == Mode.ACTIVE
    assert world.sent[-1].values == pytest.approx([0.5, 40.0, 2.0])
    assert world.read_status().armed == 1


def test_a_wish_given_up_leaves_it_standing_at_the_pose_and_a_new_one_tries_again():
    world = preparing()
    world.policy = silent
    world.ticks(9 + 4)
    status = world.read_status()
    assert (status.mode, status.arm_pending, status.arm_refused) == (Mode.PREPARE, 0, 1)
    assert status.arm_blockers == ArmBlocker.ACTION_LATE
    world.ticks(20)
    assert world.now_mode() == Mode.PREPARE
    assert positions(world)[-1] == 0.5
    world.policy = lambda header, record: Answer([0.5])
    world.ticks(1)
    assert world.now_mode() == Mode.PREPARE
    world.request(Request.ARM)
    world.ticks(1)
    assert world.now_mode() == Mode.ACTIVE


def test_disarm_leads_from_preparing_to_safe():
    world = preparing()
    world.request(Request.DISARM)
    world.ticks(1)
    assert world.now_mode() == Mode.SAFE
    assert world.read_status().arm_pending == 0
    world.ticks(3)
    assert world.now_mode() == Mode.SAFE


def test_an_action_that_is_outside_the_envelope_does_not_leave_the_pose():
    world = preparing()
    world.policy = lambda header, record: Answer([5.0])
    world.ticks(9 + 2)
    assert world.record().events == {Event.REJECT}
    assert (world.now_mode(), world.sent[-1].source) == (Mode.PREPARE, Source.RAMP)
    assert world.read_status().arm_blockers == ArmBlocker.REJECTED


def test_a_lost_state_holds_the_ramp_and_the_next_state_goes_on_with_it():
    world = preparing()
    world.policy = silent
    world.ticks(3)
    world.tick()
    assert world.record().events == {Event.STATE_LOST}
    assert (world.sent[-1].source, positions(world)[-1]) == (Source.HOLD, positions(world)[-2])
    world.ticks(6)
    assert positions(world)[-1] == 0.5
    assert positions(world)[-6] == pytest.approx(minimum_jerk(0.1, 0.5, 0.5), abs=1e-6)


def test_a_stall_is_not_made_up_for():
    world = preparing()
    world.ticks(2)
    world.now += 2 * PERIOD
    world.ticks(1)
    assert positions(world)[-1] == pytest.approx(minimum_jerk(0.1, 0.5, 0.4), abs=1e-6)


def test_the_ramp_is_over_when_the_envelope_has_let_it_arrive():
    config = joint_config(pd=False, prepare_ns=RAMP)
    config.commands[0].max_rate = 1.0
    world = preparing(config)
    world.ticks(20)
    assert world.read_status().arm_blockers == ArmBlocker.PREPARING
    assert np.diff(positions(world)[1:]).max() <= 0.01 + 1e-6
    world.ticks(25)
    assert world.now_mode() == Mode.ACTIVE


def test_a_joint_outside_its_limits_begins_at_the_limit():
    world = preparing(stands=2.5)
    assert positions(world)[-1] == pytest.approx(minimum_jerk(2.0, 0.5, 0.1))


def test_without_a_measured_channel_it_begins_at_the_command_written_last():
    config = joint_config(pd=False, prepare_ns=RAMP)
    config.commands[0].measured = -1
    config.commands[0].safe = -0.3
    world = preparing(config)
    assert positions(world)[-1] == pytest.approx(minimum_jerk(-0.3, 0.5, 0.1))


def test_what_is_no_position_is_at_its_value_at_once():
    config = joint_config(pd=False, prepare_ns=RAMP)
    config.commands[0].role = 0
    assert positions(preparing(config))[-1] == 0.5


def test_the_guardian_ramps_the_position_of_a_joint_that_it_controls():
    world = preparing(joint_config(pd=True, prepare_ns=RAMP))
    assert world.sent[-1].values == pytest.approx([20 * (minimum_jerk(0.1, 0.5, 0.1) - 0.1)], abs=1e-5)
    world.stands[:] = [0.2, 0.5]
    world.ticks(1)
    assert world.sent[-1].values == pytest.approx([20 * (minimum_jerk(0.1, 0.5, 0.2) - 0.2) - 2 * 0.5], abs=1e-5)


def test_a_torque_that_the_joint_cannot_follow_does_not_keep_the_ramp_from_its_end():
    config = joint_config(pd=True, prepare_ns=RAMP)
    config.commands[0].low, config.commands[0].high = -0.1, 0.1
    world = preparing(config)
    world.ticks(10)
    assert world.now_mode() == Mode.ACTIVE


@pytest.mark.parametrize(
    ("ready", "flags", "values", "blocker"),
    [
        (0, StateFlag(0), None, ArmBlocker.POLICY_NOT_READY),
        (None, StateFlag.DONE, None, ArmBlocker.DONE),
        (None, StateFlag(0), [math.nan, 0.0], ArmBlocker.STATE_FAULT),
    ],
)
def test_what_keeps_it_from_arming_keeps_it_from_preparing(ready, flags, values, blocker):
    world = World(joint_config(pd=False, prepare_ns=RAMP))
    if ready is not None:
        core.say_ready(world.at["action"], ready)
    world.ticks(1)
    world.request(Request.ARM)
    for _ in range(4):
        world.state(values, flags)
        world.tick()
    assert world.now_mode() == Mode.SAFE
    assert world.read_status().arm_blockers == blocker
    assert world.read_status().arm_refused == 1


def test_the_start_set_is_asked_for_at_the_pose_and_not_before():
    config = joint_config(pd=False, prepare_ns=RAMP)
    config.states[0].start_low, config.states[0].start_high = 0.4, 0.6
    world = preparing(config)
    world.ticks(9 + 2)
    assert world.read_status().arm_blockers == ArmBlocker.OUTSIDE_START
    assert world.observations == []
    world.stands[0] = 0.6
    world.ticks(1)
    assert world.now_mode() == Mode.ACTIVE


@pytest.mark.parametrize(("value", "armed"), [(0.4, True), (0.6, True), (0.3999, False), (0.6001, False)])
def test_without_preparing_the_start_set_is_asked_for_in_safe(value, armed):
    config = joint_config(pd=False)
    config.states[0].start_low, config.states[0].start_high = 0.4, 0.6
    world = World(config)
    world.policy = lambda header, record: Answer([0.0])
    world.stands[:] = [value, 0.0]
    world.ticks(1)
    world.request(Request.ARM)
    world.ticks(1)
    assert (world.now_mode() == Mode.ACTIVE) == armed
    assert world.read_status().arm_blockers == (0 if armed else ArmBlocker.OUTSIDE_START)


def test_a_fault_while_preparing_goes_down_its_ladder_and_takes_the_wish_with_it():
    config = joint_config(pd=False, prepare_ns=RAMP)
    set_ladder(config, LadderClass.STATE, (Source.DAMP, 50 * MS))
    world = preparing(config)
    world.state([math.nan, 0.0])
    world.tick()
    status = world.read_status()
    assert (status.mode, status.fault, status.ladder) == (Mode.FALLBACK, Event.STATE_FAULT, LadderClass.STATE)
    assert (status.arm_pending, status.arm_refused) == (0, 1)
    assert status.arm_blockers & ArmBlocker.NOT_SAFE_MODE
    assert world.sent[-1].source == Source.DAMP


def test_the_death_of_the_policy_does_not_hide_a_fault_of_the_state():
    world = preparing()
    world.die()
    world.state([math.nan, 0.0])
    world.tick()
    assert world.record().events == {Event.STATE_FAULT, Event.POLICY_FAULT}
    assert world.read_status().fault == Event.STATE_FAULT
    assert world.now_mode() == Mode.FALLBACK


def test_a_policy_that_dies_on_the_way_leaves_it_at_the_pose():
    world = preparing()
    world.die()
    world.act(0)
    world.ticks(30)
    assert world.now_mode() == Mode.PREPARE
    assert world.read_status().arm_blockers == ArmBlocker.POLICY_NOT_READY
    assert positions(world)[-1] == 0.5


def test_preparing_again_begins_where_the_robot_is_then():
    world = preparing()
    world.ticks(5)
    world.request(Request.DISARM)
    world.stands[0] = -0.2
    world.ticks(3)
    world.request(Request.ARM)
    world.ticks(1)
    assert positions(world)[-1] == pytest.approx(minimum_jerk(-0.2, 0.5, 0.1), abs=1e-6)


def test_a_silence_is_a_fault_from_which_the_ladder_sets_out_where_the_robot_sank_to():
    config = joint_config(pd=False, prepare_ns=RAMP)
    config.commands[0].max_rate = 10.0
    world = preparing(config)
    world.policy = silent
    world.ticks(13)
    world.send_answer = -111
    world.ticks(3)
    assert world.now_mode() == Mode.PREPARE
    world.stands[0], world.send_answer = 0.25, 0
    world.ticks(1)
    assert (world.now_mode(), world.read_status().fault) == (Mode.FALLBACK, Event.LAPSED)
    assert positions(world)[-1] == pytest.approx(0.25)


def test_the_last_nanosecond_of_the_ramp_is_waited_for():
    world = preparing(joint_config(pd=False, prepare_ns=PERIOD + 1))
    world.ticks(1)
    assert world.now_mode() == Mode.PREPARE
    world.ticks(1)
    assert world.now_mode() == Mode.ACTIVE


def test_a_pose_that_was_reached_once_does_not_count_for_the_next_ramp():
    world = preparing()
    world.policy = silent
    world.ticks(12)
    world.request(Request.DISARM)
    world.ticks(1)
    world.request(Request.ARM)
    world.send_answer = -111
    world.ticks(1)
    asked, world.send_answer = len(world.observations), 0
    world.ticks(1)
    assert world.read_status().arm_blockers == ArmBlocker.PREPARING
    assert len(world.observations) == asked
