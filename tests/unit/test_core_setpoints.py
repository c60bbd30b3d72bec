"""From action to setpoint, to the last bit: what a command is worth at both ends of a way, and what it is held against.

(What each channel makes of a setpoint stands in test_core_inner.py.)
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgerl.runtime.enums import Event, InnerLaw, Mode, OnViolation, Request, Source, Verdict
from tests.core_world import PERIOD, Answer, World, command, joint_config, silent, small_config

F32 = np.float32
INF = math.inf


def says(world: World, *values: float) -> None:
    """Let the policy say this from now on."""
    world.policy = lambda header, record: Answer(list(values))


def sent(world: World) -> list[float]:
    return [float(value) for value in world.sent[-1].values]


def accelerating(acceleration: float = 100.0, **fields: object) -> World:
    """Return a world that was in SAFE for three ticks; its channel may change its speed by 0.01 in a tick."""
    config = small_config(**{"bucket_limit": 10, "command_count": 1, "action_count": 1, **fields})
    config.commands[0] = command(-9.0, 9.0, INF, acceleration, 0.0, OnViolation.REJECT)
    world = World(config)
    world.ticks(3)
    return world


def arm(world: World) -> None:
    world.request(Request.ARM)
    world.ticks(1)
    assert world.now_mode() == Mode.ACTIVE


def test_an_action_in_effect_is_sent_to_its_last_bit():
    world = World()
    says(world, 1.0, 0.0)
    world.arm()
    says(world, 1e-9, 0.0)
    world.ticks(1)
    assert sent(world)[0] == F32(1e-9)


def test_the_first_command_of_a_blend_is_exactly_a_ticks_way():
    world = accelerating(INF, blend_ns=4 * PERIOD)
    says(world, 1.0)
    arm(world)
    ways = [sent(world)[0]]
    for _ in range(4):
        world.ticks(1)
        ways.append(sent(world)[0])
    assert ways == [0.25, 0.5, 0.75, 1.0, 1.0]


def test_every_action_is_interpolated_from_where_its_channel_stands():
    config = small_config(policy_divider=4, action_delay=1, inner_law=InnerLaw.INTERPOLATE, arm_ticks=20)
    config.commands[0].safe, config.commands[1].safe = 0.5, -0.5
    config.commands[2] = command(-9.0, 9.0, INF, INF, 0.125, OnViolation.REJECT, action=-1)
    config.command_count = 3
    world = World(config)
    says(world, 1.0, 1.5)
    world.ticks(1)
    world.request(Request.ARM)
    world.ticks(2)
    assert world.now_mode() == Mode.ACTIVE
    ways = [sent(world)]
    for _ in range(3):
        world.ticks(1)
        ways.append(sent(world))
    assert ways == [[0.625, 0.0, 0.125], [0.75, 0.5, 0.125], [0.875, 1.0, 0.125], [1.0, 1.5, 0.125]]


def joint(target: float, on_violation: OnViolation = OnViolation.SATURATE) -> World:
    """Return a world whose joint may be asked for -0.25 to 0.5."""
    config = joint_config(pd=True)
    config.commands[0].on_violation = on_violation
    config.commands[0].target_low, config.commands[0].target_high, config.commands[0].prepare = -0.25, 0.5, 0.0
    world = World(config)
    world.stands[:] = [0.1, 0.2]
    says(world, target)
    world.arm()
    return world


@pytest.mark.parametrize("target", [-0.25, 0.0, 0.5])
def test_a_position_within_its_limits_and_at_them_breaks_none(target):
    world = joint(target)
    header = world.record().header
    assert (header.causes, list(header.saturated), list(header.rejected)) == (0, [0] * 4, [0] * 4)
    assert not any(world.status.violations[0])
    assert (world.read_status().saturated, world.read_status().rejected) == (0, 0)


@pytest.mark.parametrize("on_violation", OnViolation)
def test_a_position_that_is_not_finite_is_named_as_that_and_nothing_else(on_violation):
    world = joint(0.0, on_violation)
    says(world, math.nan)
    world.ticks(1)
    assert world.record().events == {Event.REJECT}
    assert world.record().header.causes == Verdict.NOT_FINITE


def test_the_policys_own_commands_are_held_against_their_acceleration():
    world = accelerating()
    says(world, 0.0)
    arm(world)
    world.ticks(2)
    says(world, 0.005)
    world.ticks(1)
    assert world.record().events == {Event.NOMINAL}
    says(world, 1.0)
    world.ticks(1)
    assert world.record().events == {Event.REJECT}
    assert world.record().header.causes == Verdict.ACCELERATION


def test_after_a_command_of_another_source_there_is_no_acceleration_of_the_policys():
    world = accelerating()
    says(world, 0.0)
    arm(world)
    world.policy = silent
    world.ticks(2)
    assert Source(world.record().header.source) == Source.HOLD
    says(world, 1.0)
    world.ticks(1)
    assert world.record().events == {Event.NOMINAL}
    assert sent(world) == [1.0]


@pytest.mark.parametrize("blend_ns", [0, 2 * PERIOD])
def test_the_first_action_is_not_held_against_an_acceleration_that_was_not_its_own(blend_ns):
    world = accelerating(blend_ns=blend_ns)
    says(world, 1.0)
    arm(world)
    assert sent(world) == [0.5 if blend_ns else 1.0]
