"""The candidate on a ladder: what its command sets out from, how long its action counts, and when it is asked."""

from __future__ import annotations

import numpy as np
import pytest

from edgerl.runtime import core, structs
from edgerl.runtime.enums import Clock, Event, LadderClass, Mode, Request, Source
from tests.core_pair import SECOND, Pair, pair_config, standby
from tests.core_world import EPOCH, MS, PERIOD, Answer, World, joint_config, set_ladder

INF = float("inf")


def fall(world: World) -> None:
    world.die()
    world.ticks(1)
    assert world.now_mode() == Mode.FALLBACK


def sent(world: World) -> list[float]:
    return [float(value) for value in world.sent[-1].values]


def source(world: World) -> Source:
    return Source(world.record().header.source)


def test_the_candidates_command_is_blended_in_from_the_one_before():
    pair = standby(blend_ns=4 * PERIOD, bucket_limit=10)
    world = pair.arm()
    world.ticks(6)
    pair.values = [1.0, 0.0]
    pair.acting = Answer([0.0, 0.0])
    world.ticks(1)
    assert sent(world) == [0.0, 0.0]
    world.die()
    ways = []
    for _ in range(4):
        world.ticks(1)
        assert source(world) == Source.STANDBY
        ways.append(sent(world)[0])
    assert ways == [0.25, 0.5, 0.75, 1.0]


def test_a_joint_that_was_damped_sets_out_from_where_it_stands():
    config = joint_config(pd=True, blend_ns=4 * PERIOD, bucket_limit=10)
    set_ladder(config, LadderClass.POLICY, (Source.DAMP, 20 * MS), (Source.STANDBY, 40 * MS))
    pair = Pair(config)
    pair.acting, pair.values = Answer([0.1]), [0.5]
    world = pair.world
    world.stands[:] = [0.1, 0.0]
    pair.arm()
    world.ticks(6)
    fall(world)
    world.ticks(1)
    assert source(world) == Source.DAMP
    world.stands[:] = [0.3, 0.0]
    world.ticks(1)
    assert source(world) == Source.STANDBY
    assert sent(world) == pytest.approx([10.0 * (0.3 + 0.25 * (0.5 - 0.3) - 0.3)])


def test_a_joint_whose_command_has_lapsed_sets_out_from_where_it_stands():
    config = joint_config(pd=True, blend_ns=4 * PERIOD, bucket_limit=10)
    set_ladder(config, LadderClass.MACHINE, (Source.STANDBY, 90 * MS))
    pair = Pair(config)
    pair.acting, pair.values = Answer([0.1]), [0.5]
    world = pair.world
    world.stands[:] = [0.1, 0.0]
    pair.arm()
    world.ticks(6)
    world.send_answer = -111
    world.ticks(4)
    assert world.read_status().fault == Event.LAPSED
    world.send_answer = 0
    world.stands[:] = [0.3, 0.0]
    world.ticks(1)
    assert source(world) == Source.STANDBY
    assert sent(world) == pytest.approx([10.0 * (0.3 + 0.25 * (0.5 - 0.3) - 0.3)])


def slow() -> Pair:
    """Return a pair in ACTIVE that is asked every third tick; the answer takes effect a tick later."""
    config = pair_config(policy_divider=3, action_delay=1, arm_ticks=9)
    set_ladder(config, LadderClass.POLICY, (Source.STANDBY, 200 * MS))
    pair = Pair(config)
    world = pair.world
    world.ticks(1)
    world.request(Request.ARM)
    world.ticks(3)
    assert world.now_mode() == Mode.ACTIVE
    return pair


def test_its_action_counts_for_as_many_ticks_as_there_are_between_two_observations():
    pair = slow()
    world = pair.world
    fall(world)
    world.until_posted()
    pair.values = None
    found = []
    for _ in range(6):
        world.ticks(1)
        found.append(source(world))
    assert found == [Source.STANDBY] * 3 + [Source.SAFE] * 3


def test_what_it_said_beside_the_acting_policy_counts_at_once_on_the_ladder():
    pair = slow()
    world = pair.world
    world.until_posted()
    world.ticks(1)
    assert source(world) == Source.POLICY
    fall(world)
    assert source(world) == Source.STANDBY
    assert sent(world) == pytest.approx([0.3, 0.4])


def test_another_candidate_has_said_nothing_yet():
    pair = slow()
    world = pair.world
    world.until_posted()
    world.ticks(1)
    pair.name(EPOCH, SECOND + 1)
    pair.ready(SECOND + 1)
    fall(world)
    assert source(world) == Source.SAFE


def test_on_the_ladder_its_answers_take_effect_when_they_are_due():
    pair = slow()
    world = pair.world
    fall(world)
    world.until_posted()
    posted = len(world.observations)
    pair.values = [0.6, 0.7]
    world.until_posted()
    assert len(world.observations) == posted + 1
    assert sent(world) == pytest.approx([0.3, 0.4])
    world.ticks(1)
    assert sent(world) == pytest.approx([0.6, 0.7])


def test_an_answer_that_is_late_on_the_ladder_counts_no_more():
    pair = slow()
    world = pair.world
    fall(world)
    world.until_posted()
    pair.values = None
    world.until_posted()
    header = world.observations[-1]
    world.ticks(1)
    late = np.array([0.6, 0.7], np.float32)
    core.post_action(world.slots[1], SECOND, header.sequence, late)
    world.ticks(1)
    assert source(world) == Source.SAFE


def observing_raw(**fields: int) -> structs.Config:
    """Return a configuration whose observation is the last raw action."""
    config = pair_config(raw_count=2, element_count=2, term_count=1, **fields)
    for index in range(2):
        config.elements[index] = structs.Element(3, index, 0.0, 1.0, -INF, INF)
    config.terms[0] = structs.Term(0, 2, 0, 0, 1, 0, 0, 0)
    set_ladder(config, LadderClass.POLICY, (Source.STANDBY, 90 * MS))
    return config


def test_on_the_ladder_it_observes_its_own_last_action():
    pair = Pair(observing_raw())
    world = pair.arm()
    seen = []
    policy = world.policy

    def watch(header: structs.ObservationHeader, record: bytes) -> Answer | None:
        seen.append(np.frombuffer(record, np.float32, 2).tolist())
        return policy(header, record)

    world.policy = watch
    world.ticks(1)
    fall(world)
    world.ticks(2)
    assert seen[-1] == pytest.approx([0.3, 0.4])


@pytest.mark.parametrize("delay", [0, 1])
@pytest.mark.parametrize(
    ("values", "event"),
    [
        ([1.5, 2.0, 3.0], Event.STATE_FROZEN),
        ([9.0, 2.0, 3.0], Event.STATE_LIMIT),
        ([float("nan"), 2.0, 3.0], Event.STATE_FAULT),
    ],
)
def test_it_is_not_shown_a_state_in_doubt(values, event, delay):
    config = pair_config(action_delay=delay, element_count=2, term_count=2)
    config.elements[0].index = 1
    config.states[0].low, config.states[0].high = -8.0, 8.0
    set_ladder(config, LadderClass.POLICY, (Source.STANDBY, 200 * MS))
    config.states[0].noisy, config.frozen_ticks = 1, 2
    pair = Pair(config)
    world = pair.world

    def noise() -> None:
        world.stands[0] = 1.5 - world.stands[0]
        world.ticks(1)

    noise()
    world.request(Request.ARM)
    noise()
    noise()
    assert world.now_mode() == Mode.ACTIVE
    world.die()
    noise()
    noise()
    noise()
    assert (world.now_mode(), source(world)) == (Mode.FALLBACK, Source.STANDBY)
    assert world.record().header.post_ns != 0
    for _ in range(2 if event == Event.STATE_FROZEN else 1):
        assert event not in world.record().events
        world.state(values)
        world.tick()
    assert event in world.record().events
    assert world.record().header.post_ns == 0


def test_it_takes_over_also_in_a_tick_for_which_the_robots_clock_stands_still():
    config = pair_config(policy_divider=3, action_delay=1, arm_ticks=9, clock=Clock.ROBOT)
    set_ladder(config, LadderClass.POLICY, (Source.STANDBY, 500 * MS))
    world = Pair(config).world

    def ticks(count: int) -> None:
        for _ in range(count):
            world.state(at=world.now + PERIOD)
            world.tick()

    ticks(1)
    world.request(Request.ARM)
    ticks(2)
    assert world.now_mode() == Mode.ACTIVE
    ticks(3)
    world.die()
    world.tick()
    assert world.record().events == {Event.STATE_LOST, Event.POLICY_FAULT}
    assert source(world) == Source.STANDBY
    assert sent(world) == pytest.approx([0.3, 0.4])
