"""The observations of a running loop: when their histories move on, when they begin anew, and what is never posted."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgerl.runtime import structs
from edgerl.runtime.enums import Dtype, ElementSource, Event, Mode, Request, StateFlag
from tests.core_world import Answer, World, command, small_config

INF = math.inf
F32 = np.float32


def loop_config(repeat: int = 1) -> structs.Config:
    """Two ticks of the first state channel, then two of the last raw action."""
    config = small_config(element_count=2, term_count=2, raw_count=1)
    for index, source in enumerate((ElementSource.STATE, ElementSource.LAST_RAW)):
        config.elements[index] = structs.Element(source, 0, 0.0, 1.0, -INF, INF)
        config.terms[index] = structs.Term(index, 1, Dtype.FLOAT32, 8 * index, 2, 4, repeat, 0)
    config.commands[0] = command(-9, 9, INF, INF, 0.0, 0)
    return config


def observed(world: World) -> list[list[float]]:
    """Record what the policy gets from now on."""
    seen: list[list[float]] = []
    answers = iter(range(1, 100))

    def answer(header: structs.ObservationHeader, record: bytes) -> Answer:
        seen.append(np.frombuffer(record, F32, 4).tolist())
        return Answer([next(answers) / 10, 0.0], raw=[float(seen[-1][1]) * 10])

    world.policy = answer
    return seen


def drive(world: World, value: float, flags: StateFlag | None = None) -> None:
    world.state([value, 0.0, 0.0], flags or StateFlag(0))
    world.tick()


def test_in_the_loop_it_advances_with_each_observation_and_begins_anew_with_an_episode():
    world = World(loop_config())
    seen = observed(world)
    drive(world, 1)
    drive(world, 2)
    world.request(Request.ARM)
    drive(world, 3)
    assert world.now_mode() == Mode.ACTIVE
    drive(world, 4)
    drive(world, 5)
    drive(world, 6, StateFlag.EPISODE_START)
    drive(world, 7)
    assert seen == [[3, 3, 0, 0], [3, 4, 0, 30], [4, 5, 30, 40], [6, 6, 0, 0], [6, 7, 0, 60]]


def test_a_tick_without_an_observation_is_not_in_the_history_and_a_late_action_was_not_taken():
    world = World(loop_config())
    seen = observed(world)
    drive(world, 1)
    world.request(Request.ARM)
    drive(world, 2)
    world.tick()
    drive(world, 4)
    policy, world.policy = world.policy, lambda header, record: None
    drive(world, 5)
    world.policy = policy
    drive(world, 6)
    assert seen == [[2, 2, 0, 0], [2, 4, 0, 20], [5, 6, 40, 40]]


def test_a_value_that_its_type_cannot_hold_is_a_state_fault_and_is_not_posted():
    config = loop_config()
    config.terms[0] = structs.Term(0, 1, Dtype.UINT8, 0, 1, 1, 0, 0)
    world = World(config)
    world.ticks(1)
    world.request(Request.ARM)
    drive(world, 300)
    assert world.record().events == {Event.STATE_FAULT}
    assert (world.now_mode(), world.read_status().arm_blockers) == (Mode.SAFE, 2)
    drive(world, 30)
    assert world.now_mode() == Mode.ACTIVE
    asked = len(world.observations)
    drive(world, 256)
    assert world.record().events == {Event.STATE_FAULT}
    assert len(world.observations) == asked


@pytest.mark.parametrize("raw", [math.nan, INF, -INF])
def test_a_raw_action_that_is_not_finite_is_refused_and_never_observed(raw):
    world = World(loop_config())
    seen = observed(world)
    drive(world, 1)
    world.request(Request.ARM)
    drive(world, 2)
    good, world.policy = world.policy, lambda header, record: Answer([0.1, 0.0], raw=[raw])
    drive(world, 3)
    record = world.record()
    assert record.events == {Event.REJECT}
    assert record.header.causes == 1
    assert world.read_status().rejected == 1
    world.policy = good
    drive(world, 4)
    assert seen[-1] == [3, 4, 20, 20]


@pytest.mark.parametrize("raw", [[], [1.0, 2.0]])
def test_an_answer_with_another_count_of_raw_values_is_no_answer(raw):
    world = World(loop_config())
    observed(world)
    drive(world, 1)
    world.request(Request.ARM)
    drive(world, 2)
    stale = world.read_status().actions_stale
    world.policy = lambda header, record: Answer([0.1, 0.0], raw=raw)
    drive(world, 3)
    assert world.record().events == {Event.ACTION_LATE}
    assert world.read_status().actions_stale == stale + 1
