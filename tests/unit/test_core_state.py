"""What the loop finds wrong with a robot's state, and from which states a policy may begin."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgerl.errors import GuardianError
from edgerl.runtime import core, structs
from edgerl.runtime.enums import MAX_STATES, ArmBlocker, Attitude, Dtype, ElementSource, Event, Mode, Request, StateFlag
from tests.core_world import Answer, World, enter, small_config

INF = math.inf
WAITING = StateFlag.WAITING


def limited(channel: int = 0, **limits: float) -> structs.Config:
    config = small_config()
    for name, value in limits.items():
        setattr(config.states[channel], name, value)
    return config


def tick(world: World, *values: float, flags: StateFlag | None = None) -> set[Event]:
    world.state(list(values), flags or StateFlag(0))
    world.tick()
    return world.record().events


@pytest.mark.parametrize(
    ("value", "within"),
    [(-0.5, True), (2.0, True), (-0.50001, False), (2.0001, False), (1e30, False), (-1e30, False)],
)
@pytest.mark.parametrize("channel", [0, 2])
def test_a_channel_outside_its_limits_is_a_fault(channel, value, within):
    world = World(limited(channel, low=-0.5, high=2.0))
    world.state([0.0, 0.0, 0.0])
    world.tick()
    world.request(Request.ARM)
    assert tick(world, 0.0, 0.0, 0.0) == {Event.ARM}
    values = [0.0, 0.0, 0.0]
    values[channel] = value
    if channel == 2 and within:
        values[channel] = abs(value)  # that one is observed as uint8
    assert tick(world, *values) == ({Event.NOMINAL} if within else {Event.STATE_LIMIT})
    assert world.now_mode() == (Mode.ACTIVE if within else Mode.FALLBACK)


@pytest.mark.parametrize("value", [math.nan, INF, -INF])
def test_what_is_not_finite_is_within_no_limits(value):
    world = enter(Mode.ACTIVE, limited(0, low=-INF, high=INF))
    assert tick(world, value, 0.0, 0.0) == {Event.STATE_FAULT}


def test_a_state_outside_its_limits_is_reported_in_safe_and_keeps_it_from_arming():
    world = World(limited(0, high=2.0))
    world.ticks(1)
    world.request(Request.ARM)
    for _ in range(4):
        assert tick(world, 3.0, 0.0, 0.0) == {Event.STATE_LIMIT}
    status = world.read_status()
    assert (status.mode, status.arm_refused, status.arm_blockers) == (Mode.SAFE, 1, ArmBlocker.STATE_FAULT)


@pytest.mark.parametrize(("value", "inside"), [(1.0, True), (2.0, True), (0.999, False), (2.001, False), (-1.0, False)])
def test_a_policy_begins_in_its_start_set_only(value, inside):
    world = World(limited(0, start_low=1.0, start_high=2.0))
    world.ticks(1)
    world.request(Request.ARM)
    events = tick(world, value, 0.0, 0.0)
    status = world.read_status()
    assert status.mode == (Mode.ACTIVE if inside else Mode.SAFE)
    assert status.arm_blockers == (0 if inside else ArmBlocker.OUTSIDE_START)
    assert events == {Event.ARM if inside else Event.NOMINAL}
    if inside:  # and may leave it afterwards
        assert tick(world, 5.0, 0.0, 0.0) == {Event.NOMINAL}


def test_what_stands_beyond_the_configured_channels_is_not_looked_at():
    config = small_config(frozen_ticks=1)
    config.states[3] = structs.StateChannel(1.0, 2.0, 1.0, 2.0, 1, 0)
    world = World(config)
    world.ticks(1)
    world.request(Request.ARM)
    world.ticks(1)
    assert world.record().events == {Event.ARM}


@pytest.mark.parametrize(("last", "event"), [(1.0, Event.NOMINAL), (3.0, Event.STATE_LIMIT), (INF, Event.STATE_FAULT)])
def test_a_state_may_have_as_many_channels_as_fit_into_a_datagram(last, event):
    config = small_config(state_count=MAX_STATES)
    for index in range(MAX_STATES):
        config.states[index] = structs.StateChannel(0.0, 2.0, -INF, INF, 1, 0)
    world = World(config)
    tick(world, *[1.0] * MAX_STATES)
    world.request(Request.ARM)
    assert tick(world, *[1.0] * MAX_STATES) == {Event.ARM}
    assert tick(world, *[1.0] * (MAX_STATES - 1), last) == {event}


def rolled(degrees: float, attitude: Attitude) -> list[float]:
    """Return the attitude of a body rolled about its x axis."""
    angle = math.radians(degrees)
    w, x = math.cos(angle / 2), math.sin(angle / 2)
    if attitude == Attitude.WXYZ:
        return [w, x, 0.0, 0.0]
    if attitude == Attitude.XYZW:
        return [x, 0.0, 0.0, w]
    return [0.0, -math.sin(angle), -math.cos(angle)]


def tilting(attitude: Attitude, **cosines: float) -> structs.Config:
    size = 3 if attitude == Attitude.GRAVITY else 4
    config = small_config(
        state_count=size, attitude=attitude, term_count=0, element_count=0,
        **{name: np.float32(value) for name, value in cosines.items()},
    )  # fmt: skip
    for index in range(size):
        config.states[index] = structs.StateChannel(-INF, INF, -INF, INF, 0, 0)
    return config


KINDS = [Attitude.WXYZ, Attitude.XYZW, Attitude.GRAVITY]


@pytest.mark.parametrize("attitude", KINDS)
@pytest.mark.parametrize(("degrees", "within"), [(0, True), (44, True), (-44, True), (46, False), (180, False)])
def test_a_tilt_beyond_its_limit_is_a_fault(attitude, degrees, within):
    world = World(tilting(attitude, tilt_cos=math.cos(math.radians(45))))
    upright = rolled(0, attitude)
    tick(world, *upright)
    world.request(Request.ARM)
    assert tick(world, *upright) == {Event.ARM}
    assert tick(world, *rolled(degrees, attitude)) == ({Event.NOMINAL} if within else {Event.STATE_LIMIT})


@pytest.mark.parametrize("attitude", KINDS)
def test_a_robot_may_have_to_stand_exactly_upright(attitude):
    world = World(tilting(attitude, tilt_cos=1.0))
    assert tick(world, *rolled(0, attitude)) == {Event.NOMINAL}
    assert tick(world, *rolled(1, attitude)) == {Event.STATE_LIMIT}


def turned(q: np.ndarray, vector: tuple[float, float, float]) -> np.ndarray:
    """Return what a body of attitude ``q`` (w, x, y, z) sees of a vector of the world: conj(q) * vector * q."""

    def times(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.array([a[0] * b[0] - a[1:] @ b[1:], *(a[0] * b[1:] + b[0] * a[1:] + np.cross(a[1:], b[1:]))])

    q = q / np.linalg.norm(q)
    return times(times(q * [1, -1, -1, -1], np.array([0.0, *vector])), q)[1:]


@pytest.mark.parametrize("attitude", KINDS)
@pytest.mark.parametrize("scale", [1.0, 1.015, 0.985])
@pytest.mark.parametrize("q", [(0.7, 0.1, -0.4, 0.5), (-0.2, 0.8, 0.3, -0.4), (0.3, -0.5, 0.6, 0.7)])
def test_the_policy_sees_where_down_is_however_the_body_is_turned(q, scale, attitude):
    down = turned(np.array(q), (0.0, 0.0, -1.0))
    config = tilting(attitude, tilt_cos=-down[2] - 1e-5)
    config.term_count, config.element_count = 1, 3
    config.terms[0] = structs.Term(0, 3, Dtype.FLOAT32, 0, 1, 12, 0, 0)
    for axis in range(3):
        config.elements[axis] = structs.Element(ElementSource.GRAVITY, axis, 0.0, 1.0, -INF, INF)
    world, seen = World(config), []
    world.policy = lambda header, record: seen.append(np.frombuffer(record, np.float32, 3)) or Answer([0.0, 0.0])
    unit = np.array(q) / np.linalg.norm(q)
    sent = {Attitude.WXYZ: unit, Attitude.XYZW: np.roll(unit, -1), Attitude.GRAVITY: down}[attitude] * scale
    tick(world, *sent)
    world.request(Request.ARM)
    assert tick(world, *sent) == {Event.ARM}
    assert seen[0] == pytest.approx(down * (scale if attitude == Attitude.GRAVITY else 1.0), abs=1e-6)
    config.tilt_cos = np.float32(-down[2] + 1e-5)
    assert tick(World(config), *sent) == {Event.STATE_LIMIT}


@pytest.mark.parametrize("attitude", KINDS)
@pytest.mark.parametrize(("degrees", "inside"), [(9, True), (11, False), (180, False)])
def test_a_start_set_may_limit_the_tilt(attitude, degrees, inside):
    world = World(tilting(attitude, start_tilt_cos=math.cos(math.radians(10))))
    tick(world, *rolled(degrees, attitude))
    world.request(Request.ARM)
    tick(world, *rolled(degrees, attitude))
    assert world.read_status().arm_blockers == (0 if inside else ArmBlocker.OUTSIDE_START)


@pytest.mark.parametrize("attitude", KINDS)
@pytest.mark.parametrize("scale", [1.015, 0.985])
def test_without_a_limit_a_robot_may_stand_on_its_head(attitude, scale):
    world = World(tilting(attitude))
    on_its_head = [scale * value for value in rolled(180, attitude)]
    assert tick(world, *on_its_head) == {Event.NOMINAL}
    world = World(tilting(attitude, tilt_cos=math.cos(math.radians(30))))
    assert tick(world, *(scale * value for value in rolled(29.9, attitude))) == {Event.NOMINAL}
    assert tick(world, *(scale * value for value in rolled(30.1, attitude))) == {Event.STATE_LIMIT}


@pytest.mark.parametrize("attitude", KINDS)
@pytest.mark.parametrize("scale", [0.0, 0.97, 1.03, 1e20])
def test_an_attitude_that_is_no_direction_is_a_state_fault(attitude, scale):
    world = World(tilting(attitude))
    upright = rolled(0, attitude)
    tick(world, *upright)
    world.request(Request.ARM)
    assert tick(world, *upright) == {Event.ARM}
    assert tick(world, *(scale * value for value in upright)) == {Event.STATE_FAULT}


def vector_of(norm_squared: float) -> list[np.float32]:
    """Return three components whose squares add up to exactly so much: the remainder shrinks by 24 bits each time."""
    components = []
    for _ in range(3):
        component = np.float32(math.sqrt(norm_squared))
        component = component if float(component) ** 2 <= norm_squared else np.nextafter(component, np.float32(0.0))
        components.append(component)
        norm_squared -= float(component) ** 2
    return components


@pytest.mark.parametrize(("norm_squared", "outwards"), [(0.96, -INF), (1.04, INF)])
def test_the_ends_of_what_counts_as_a_direction_belong_to_it(norm_squared, outwards):
    world = World(tilting(Attitude.GRAVITY))
    vector = vector_of(norm_squared)
    assert tick(world, *vector) == {Event.NOMINAL}
    assert tick(world, np.nextafter(vector[0], np.float32(outwards)), *vector[1:]) == {Event.STATE_FAULT}


@pytest.mark.parametrize(
    ("attitude", "channel", "valid"),
    [
        (Attitude.NONE, 99, True),
        (Attitude.WXYZ, 0, True),
        (Attitude.WXYZ, 1, False),
        (Attitude.XYZW, 1, False),
        (Attitude.GRAVITY, 1, True),
        (Attitude.GRAVITY, 2, False),
        (Attitude.GRAVITY, 4, False),
        (Attitude.GRAVITY, 2**32 - 1, False),
        (4, 0, False),
    ],
)
def test_an_attitude_lies_within_the_state(attitude, channel, valid):
    config = small_config(state_count=4, attitude=attitude, attitude_channel=channel)
    config.states[3] = structs.StateChannel(-INF, INF, -INF, INF, 0, 0)
    if valid:
        core.check_config(config)
    else:
        with pytest.raises(GuardianError, match="attitude"):
            core.check_config(config)


@pytest.mark.parametrize("name", ["tilt_cos", "start_tilt_cos"])
@pytest.mark.parametrize("value", [-1.5, 1.5, math.nan])
def test_a_cosine_is_a_cosine(name, value):
    config = tilting(Attitude.WXYZ)
    setattr(config, name, value)
    with pytest.raises(GuardianError, match="cosine"):
        core.check_config(config)


@pytest.mark.parametrize("name", ["tilt_cos", "start_tilt_cos"])
def test_a_limit_of_the_tilt_needs_an_attitude(name):
    config = small_config()
    setattr(config, name, 0.5)
    with pytest.raises(GuardianError, match="limits no attitude"):
        core.check_config(config)


@pytest.mark.parametrize(("low", "high"), [("low", "high"), ("start_low", "start_high")])
@pytest.mark.parametrize(("ends", "valid"), [((1.0, 1.0), True), ((1.0, 0.9), False), ((math.nan, 1.0), False)])
def test_limits_of_a_state_channel_are_ordered(low, high, ends, valid):
    config = limited(2, **{low: ends[0], high: ends[1]})
    if valid:
        core.check_config(config)
    else:
        with pytest.raises(GuardianError, match="state channel"):
            core.check_config(config)


def noisy(frozen_ticks: int, *channels: int) -> World:
    config = small_config(frozen_ticks=frozen_ticks)
    for channel in channels:
        config.states[channel].noisy = 1
    return World(config)


def events_of(world: World, values: list[float], flags: StateFlag | None = None) -> list[set[Event]]:
    """Send a state for each value of the first channel; the second counts on."""
    return [tick(world, value, float(index), 7.0, flags=flags) for index, value in enumerate(values)]


FINE, FROZEN = {Event.NOMINAL}, {Event.STATE_FROZEN}


def test_a_noisy_channel_that_repeats_itself_too_often_is_frozen():
    assert events_of(noisy(3, 0), [1, 1, 1, 1, 1, 2, 2]) == [FINE, FINE, FINE, FROZEN, FROZEN, FINE, FINE]


def test_one_frozen_channel_is_enough_and_one_that_moves_does_not_hide_it():
    assert events_of(noisy(2, 0, 1), [1, 1, 1]) == [FINE, FINE, FROZEN]
    assert events_of(noisy(2, 2, 1), [1, 2, 3]) == [FINE, FINE, FROZEN]


def test_a_channel_that_is_not_noisy_may_repeat_itself():
    assert events_of(noisy(1, 1), [1, 1, 1]) == [FINE] * 3


def test_without_a_number_of_ticks_nothing_is_frozen():
    assert events_of(noisy(0, 0), [1, 1, 1]) == [FINE] * 3


def test_a_change_begins_the_count_anew():
    assert events_of(noisy(2, 0), [1, 1, 2, 2, 1, 1, 1]) == [FINE] * 6 + [FROZEN]


def test_the_first_state_repeats_nothing():
    assert events_of(noisy(1, 0), [0.0, 0.0]) == [FINE, FROZEN]


def test_a_robot_that_waits_may_repeat_itself():
    world = noisy(2, 0)
    assert events_of(world, [1, 1, 1, 1], WAITING) == [FINE] * 4
    assert events_of(world, [1, 1]) == [FINE, FROZEN]


def test_a_tick_without_a_state_repeats_nothing():
    world = noisy(2, 0)
    events_of(world, [1, 1])
    for _ in range(3):
        world.tick()
        assert world.record().events == {Event.STATE_LOST}
    assert events_of(world, [1]) == [FROZEN]


def test_a_frozen_state_keeps_a_policy_from_arming():
    world = noisy(1, 0)
    events_of(world, [1])
    world.request(Request.ARM)
    assert events_of(world, [1] * 4) == [FROZEN] * 4
    assert world.read_status().arm_blockers == ArmBlocker.STATE_FAULT


def test_a_frozen_state_goes_down_the_ladder_for_states():
    world = noisy(2, 0)
    events_of(world, [1])
    world.request(Request.ARM)
    assert events_of(world, [1]) == [{Event.ARM}]
    assert events_of(world, [1]) == [FROZEN]
    assert (world.now_mode(), world.read_status().fault) == (Mode.FALLBACK, Event.STATE_FROZEN)
