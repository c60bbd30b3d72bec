"""What is sent when it is not the policy's command: ladders by class of fault, damping, and where each sets out."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgerl.runtime import structs
from edgerl.runtime.enums import Event, LadderClass, Mode, OnViolation, Request, Role, Source, StateFlag
from tests.core_world import MS, PERIOD, Answer, World, command, joint_config, set_ladder, small_config

LOCKSTEP = StateFlag.LOCKSTEP
S = 1000 * MS


def armed(config: structs.Config, action: float = 0.4, stands: tuple[float, float] = (0.1, 0.0)) -> World:
    """Return a world whose policy has been in charge since this tick."""
    world = World(config)
    world.stands[:] = stands
    world.policy = lambda header, record: Answer([action])
    world.arm()
    return world


def last(world: World) -> list[float]:
    return world.sent[-1].values.tolist()


def sources(world: World, ticks: int, values: list[float] | None = None) -> list[Source]:
    """Return where the commands of so many ticks came from."""
    found = []
    for _ in range(ticks):
        world.state(values)
        world.tick()
        found.append(Source(world.record().header.source))
    return found


def different_ladders(config: structs.Config) -> structs.Config:
    set_ladder(config, LadderClass.POLICY, (Source.HOLD, S))
    set_ladder(config, LadderClass.STATE, (Source.DAMP, S))
    set_ladder(config, LadderClass.MACHINE, (Source.SAFE, S))
    return config


def test_a_policy_that_dies_leads_onto_the_policys_ladder():
    world = armed(different_ladders(joint_config(pd=False)))
    world.die()
    assert sources(world, 2) == [Source.HOLD] * 2
    assert world.read_status().ladder == LadderClass.POLICY


def test_a_state_that_is_not_finite_leads_onto_the_states_ladder():
    world = armed(different_ladders(joint_config(pd=False)))
    assert sources(world, 2, [math.nan, 0.0]) == [Source.DAMP] * 2
    assert world.read_status().ladder == LadderClass.STATE


def test_a_supervisor_that_dies_leads_onto_the_machines_ladder():
    world = armed(different_ladders(joint_config(pd=False, heartbeat_timeout_ns=15 * MS)))
    assert sources(world, 2) == [Source.SAFE] * 2
    assert (world.read_status().ladder, world.read_status().fault) == (LadderClass.MACHINE, Event.SUPERVISOR_FAULT)


def test_a_bucket_that_lost_states_fill_is_the_states_fault_and_one_of_late_actions_the_policys():
    world = armed(different_ladders(joint_config(pd=False)))
    for _ in range(3):
        world.tick()
    assert world.read_status().fault == Event.BUCKET_FAULT
    assert world.read_status().ladder == LadderClass.STATE
    world = armed(different_ladders(joint_config(pd=False)))
    world.policy = lambda header, record: None
    world.ticks(3)
    assert world.read_status().fault == Event.BUCKET_FAULT
    assert world.read_status().ladder == LadderClass.POLICY


def test_where_the_state_is_in_doubt_too_its_ladder_is_taken():
    world = armed(different_ladders(joint_config(pd=False)))
    world.die()
    assert sources(world, 1, [math.nan, 0.0]) == [Source.DAMP]
    assert world.read_status().fault == Event.POLICY_FAULT
    assert world.read_status().ladder == LadderClass.STATE


def test_a_state_fault_on_another_ladder_begins_the_states_and_does_so_once():
    config = different_ladders(joint_config(pd=False))
    set_ladder(config, LadderClass.POLICY, (Source.HOLD, 30 * MS))
    set_ladder(config, LadderClass.STATE, (Source.DAMP, 40 * MS))
    world = armed(config)
    world.die()
    assert sources(world, 2) == [Source.HOLD] * 2
    assert sources(world, 4, [math.nan, 0.0]) == [Source.DAMP] * 4
    assert world.read_status().fault == Event.POLICY_FAULT
    assert sources(world, 2, [math.nan, 0.0]) == [Source.LAPSE] * 2
    assert world.now_mode() == Mode.STOPPED


def test_on_the_states_ladder_no_state_is_so_good_that_it_leads_back():
    world = armed(different_ladders(joint_config(pd=False)))
    assert sources(world, 1, [math.nan, 0.0]) == [Source.DAMP]
    world.die()
    assert sources(world, 3) == [Source.DAMP] * 3


def test_a_ladder_of_four_rungs_is_gone_down_rung_by_rung():
    config = joint_config(pd=False)
    rungs = [(Source.HOLD, 10 * MS), (Source.DAMP, 20 * MS), (Source.SAFE, 10 * MS), (Source.LAPSE, 10 * MS)]
    set_ladder(config, LadderClass.POLICY, *rungs)
    world = armed(config)
    world.die()
    assert sources(world, 6) == [Source.HOLD, Source.DAMP, Source.DAMP, Source.SAFE, Source.LAPSE, Source.LAPSE]


def test_a_second_fault_begins_with_its_own_first_rung():
    world = armed(different_ladders(joint_config(pd=False)))
    world.die()
    sources(world, 50)
    world.request(Request.RESET)
    world.ticks(1)
    world.arm()
    world.die()
    assert sources(world, 60) == [Source.HOLD] * 60


def test_standing_by_without_a_candidate_is_the_safe_command():
    config = joint_config(pd=False)
    set_ladder(config, LadderClass.POLICY, (Source.STANDBY, S))
    world = armed(config)
    world.die()
    assert sources(world, 2) == [Source.SAFE] * 2


def test_damping_takes_the_gains_at_once_and_the_position_within_its_rate():
    config = joint_config(pd=False)
    config.commands[0].max_rate, config.commands[0].damp = 1.0, -1.0
    set_ladder(config, LadderClass.STATE, (Source.DAMP, S))
    world = armed(config, action=0.0, stands=(0.0, 0.0))
    sources(world, 1, [math.nan, 0.0])
    assert last(world) == pytest.approx([-0.01, 0.0, 8.0])
    sources(world, 1)
    assert last(world) == pytest.approx([-0.02, 0.0, 8.0])


def test_gains_with_a_rate_of_their_own_are_damped_within_it():
    config = joint_config(pd=False)
    config.commands[1].max_rate = 1000.0
    config.commands[1].safe = 40.0
    set_ladder(config, LadderClass.STATE, (Source.DAMP, S))
    world = armed(config)
    sources(world, 1, [math.nan, 0.0])
    assert last(world)[1:] == pytest.approx([30.0, 8.0])


def test_the_guardian_damps_its_joints_by_their_speed():
    config = joint_config(pd=True)
    config.commands[0].damp = 1.5
    set_ladder(config, LadderClass.POLICY, (Source.DAMP, S))
    world = armed(config)
    world.die()
    sources(world, 1, [0.3, 2.0])
    assert last(world) == pytest.approx([1.5 - 4.0 * 2.0])
    sources(world, 1, [0.3, -1.0])
    assert last(world) == pytest.approx([1.5 + 4.0])
    world.tick()
    assert last(world) == pytest.approx([1.5])


def test_on_the_states_ladder_the_guardian_damps_by_no_speed():
    config = joint_config(pd=True)
    config.commands[0].damp = 1.5
    set_ladder(config, LadderClass.STATE, (Source.DAMP, S))
    world = armed(config)
    sources(world, 1, [0.3, math.nan])
    assert last(world) == pytest.approx([1.5])
    sources(world, 1, [0.3, 2.0])
    assert last(world) == pytest.approx([1.5])


def rated(measured: int = 0) -> structs.Config:
    """A position and a torque that can move by 0.1 and 1 in a tick, and something else by 0.2."""
    config = small_config(prepare_ns=5 * PERIOD, command_count=3)
    inf = math.inf
    for index, (role, rate, safe) in enumerate([(Role.POSITION, 10.0, 0.0), (Role.TORQUE, 100.0, 4.0), (0, 20.0, 1.0)]):
        config.commands[index] = command(-9.0, 9.0, rate, inf, safe, OnViolation.SATURATE, action=-1)
        config.commands[index].role = role
    config.commands[0].measured = measured
    config.commands[0].action = 0
    return config


def test_the_first_command_sets_out_from_where_the_robot_stands():
    world = World(rated())
    world.stands[0] = 1.5
    world.ticks(1)
    assert last(world) == pytest.approx([1.4, 1.0, 1.0])
    world.ticks(1)
    assert last(world) == pytest.approx([1.3, 2.0, 1.0])


def test_without_a_measured_position_it_sets_out_from_the_safe_one():
    config = rated(measured=-1)
    config.commands[0].safe = 0.75
    world = World(config)
    world.ticks(1)
    assert last(world) == pytest.approx([0.75, 1.0, 1.0])


def test_a_velocity_sets_out_from_the_measured_one():
    config = rated()
    config.commands[0].role = Role.VELOCITY
    world = World(config)
    world.ticks(1)
    assert last(world)[0] == pytest.approx(1.4)


def test_a_robot_outside_its_limits_is_brought_inside_at_once():
    config = rated()
    config.commands[0].low, config.commands[0].high = -1.0, 1.0
    world = World(config)
    world.ticks(1)
    assert last(world)[0] == pytest.approx(0.9)
    config = rated()
    config.commands[0].low, config.commands[0].high = -1.0, 1.0
    world = World(config)
    world.stands[0] = -7.0
    world.ticks(1)
    assert last(world)[0] == pytest.approx(-0.9)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_measured_position_that_is_not_finite_is_no_place_to_set_out_from(value):
    world = World(rated())
    world.state([value, 2.0, 3.0])
    world.tick()
    assert last(world) == pytest.approx([0.0, 1.0, 1.0])


def test_while_commands_flow_the_next_source_sets_out_from_the_command_and_not_from_the_joints_error():
    config = rated()
    config.prepare_ns = 0
    world = World(config)
    world.policy = lambda header, record: Answer([1.5, 0.0])
    world.stands[0] = 1.5
    world.arm()
    world.ticks(8)
    assert last(world)[0] == pytest.approx(1.5)
    world.stands[0] = 0.5
    world.request(Request.DISARM)
    world.ticks(1)
    assert world.sent[-1].source == Source.SAFE
    assert last(world)[0] == pytest.approx(1.4)


def lapse(world: World, ticks: int) -> None:
    """Let the socket refuse commands for so many ticks."""
    world.send_answer = -111
    world.ticks(ticks)
    world.send_answer = 0


def test_after_the_last_command_has_lapsed_the_next_one_sets_out_from_the_measured_state():
    world = World(rated())
    world.stands[0] = 0.0
    world.ticks(6)
    assert last(world) == pytest.approx([0.0, 4.0, 1.0])
    lapse(world, 3)
    world.stands[0] = 1.5
    world.ticks(1)
    assert last(world) == pytest.approx([1.4, 1.0, 1.0])


def test_after_states_that_stayed_away_the_next_command_sets_out_from_the_measured_state():
    world = World(rated())
    world.stands[0] = 0.0
    world.ticks(6)
    for _ in range(3):
        world.tick()
    assert world.sent[-1].state_sequence == world.sequence  # they answered an old state, and the robot took none
    world.stands[0] = 1.5
    world.ticks(1)
    assert last(world) == pytest.approx([1.4, 1.0, 1.0])


def test_as_long_as_the_last_command_is_valid_a_gap_changes_nothing():
    world = World(rated())
    world.stands[0] = 0.0
    world.ticks(6)
    lapse(world, 2)
    world.stands[0] = 1.5
    world.ticks(1)
    assert last(world) == pytest.approx([0.0, 4.0, 1.0])


def test_out_of_stopped_it_sets_out_from_the_measured_state_whatever_was_sent_just_before():
    world = World(rated())
    world.stands[0] = 0.0
    world.ticks(6)
    world.request(Request.ESTOP)
    world.ticks(1)
    assert last(world) == pytest.approx([0.0, 4.0, 1.0])
    world.stands[0] = 1.5
    world.request(Request.RESET)
    world.ticks(1)
    assert last(world) == pytest.approx([1.4, 1.0, 1.0])


def test_preparing_sets_out_from_the_measured_state_though_the_safe_command_is_in_force():
    world = World(rated())
    world.stands[0] = 0.0
    world.ticks(6)
    world.stands[0] = 1.5
    world.request(Request.ARM)
    world.ticks(1)
    assert world.sent[-1].source == Source.RAMP
    assert last(world)[0] == pytest.approx(1.5, abs=0.1)


def test_what_has_lapsed_is_not_held_but_where_the_robot_stands():
    config = rated()
    set_ladder(config, LadderClass.MACHINE, (Source.HOLD, S))
    config.prepare_ns, config.bucket_limit = 0, 10
    world = World(config)
    world.policy = lambda header, record: Answer([1.5, 0.0])
    world.stands[0] = 1.5
    world.arm()
    world.ticks(9)
    lapse(world, 3)
    world.stands[0] = -0.5
    world.ticks(2)
    assert world.read_status().fault == Event.LAPSED
    assert [list(sent.values[:2]) for sent in world.sent[-2:]] == [[-0.5, 0.0]] * 2
    assert world.sent[-1].source == Source.HOLD


def test_a_joint_of_the_guardians_is_not_held_at_a_position_from_before_a_silence():
    world = armed(joint_config(pd=True, bucket_limit=10, blend_ns=2 * PERIOD))
    lapse(world, 4)
    world.policy = lambda header, record: None
    world.stands[:] = [0.9, 3.0]
    world.ticks(1)
    assert world.sent[-1].source == Source.HOLD
    assert last(world) == [0.0]


def test_a_joint_that_no_policy_has_driven_yet_is_held_at_the_torque_written_last():
    config = joint_config(pd=True)
    config.commands[0].safe = 1.5
    world = World(config)
    world.policy = lambda header, record: Answer([0.4])
    world.stands[:] = [0.1, 0.0]
    world.ticks(1)
    world.request(Request.ARM)
    world.send_answer = -111
    world.ticks(1)
    assert world.now_mode() == Mode.ACTIVE
    world.send_answer = 0
    world.policy = lambda header, record: None
    world.stands[:] = [0.9, 3.0]
    world.ticks(1)
    assert (world.now_mode(), world.sent[-1].source) == (Mode.ACTIVE, Source.HOLD)
    assert last(world) == [1.5]


def test_commands_in_which_a_robot_was_never_seen_to_stand_are_not_armed_from():
    world = World(small_config(arm_ticks=2))
    world.send_answer = -111
    world.ticks(1)
    world.request(Request.ARM)
    world.ticks(3)
    assert world.now_mode() == Mode.SAFE
    assert world.observations == []


def approach(config: structs.Config, ticks: int) -> np.ndarray:
    world = World(config)
    world.stands[0] = 2.0
    world.ticks(ticks)
    return np.array([sent.values[0] for sent in world.sent], np.float64)


def test_after_a_silence_a_channel_sets_out_from_rest():
    config = rated()
    config.commands[0].max_rate, config.commands[0].max_acceleration = math.inf, 5.0
    world = World(config)
    world.stands[0] = 2.0
    world.ticks(10)
    assert last(world)[0] < 1.98
    lapse(world, 3)
    world.ticks(1)
    assert last(world)[0] == world.sent[0].values[0]


@pytest.mark.parametrize("rate", [math.inf, 3.0, 0.5])
@pytest.mark.parametrize("acceleration", [5.0, 50.0, 1000.0])
@pytest.mark.parametrize("safe", [0.0, 0.5])
def test_the_safe_command_is_approached_from_rest_and_to_rest_without_passing_it(rate, acceleration, safe):
    config = rated()
    config.commands[0].safe = safe
    config.commands[0].max_rate, config.commands[0].max_acceleration = rate, acceleration
    written = approach(config, 700)
    assert written[-1] == safe
    assert (written >= safe).all()
    speed = np.diff(np.concatenate([[2.0, 2.0], written])) / 0.01
    assert np.abs(speed).max() <= min(rate, 1e9) * (1 + 1e-4)
    assert np.abs(np.diff(speed)).max() / 0.01 <= acceleration * (1 + 1e-2)


def test_a_ladder_takes_its_time_from_the_machines_clock_where_the_robots_stands_still():
    config = joint_config(pd=False, state_timeout_ns=15 * MS)
    set_ladder(config, LadderClass.STATE, (Source.DAMP, 40 * MS))
    world = World(config)
    world.policy = lambda header, record: Answer([0.4])
    world.arm(LOCKSTEP)
    found = []
    while world.now_mode() != Mode.STOPPED:
        world.tick()
        found.append(Source(world.record().header.source))
    assert found == [Source.DAMP] * 3 + [Source.LAPSE]
