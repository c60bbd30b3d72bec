"""The tick in a world without time: what is sent, observed and recorded, in every mode with every event."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgerl.runtime import core, structs, wire
from edgerl.runtime.enums import Clock, Event, Mode, Request, Result, Source, StateFlag, Verdict
from tests.core_world import BUDGET, EPOCH, MS, PERIOD, START, Answer, World, enter, silent, small_config

LOCKSTEP = StateFlag.LOCKSTEP
NOTHING = StateFlag(0)


def last(world: World) -> wire.Command:
    return world.sent[-1]


@pytest.mark.parametrize("timeout_ms", [40, 12])
def test_before_the_first_state_nothing_is_sent(timeout_ms):
    world = World(small_config(state_timeout_ns=timeout_ms * MS))
    assert world.tick() == Result.OK
    record = world.record()
    assert world.sent == []
    assert (record.header.source, record.header.clock) == (Source.LAPSE, Clock.WAITING)
    assert record.events == {Event.STATE_LOST, Event.STATE_FAULT}
    assert np.isnan(record.state).all()
    assert np.isnan(record.command).all()
    assert world.now == START + world.config.state_timeout_ns


def test_safe_sends_the_safe_command_from_the_first_state_on():
    world = World()
    world.ticks(1)
    assert last(world).values.tolist() == [0.0, 0.5]
    assert (last(world).mode, last(world).source) == (Mode.SAFE, Source.SAFE)
    assert world.observations == []


def test_a_command_echoes_the_state_it_answers():
    world = World()
    world.ticks(3)
    command = last(world)
    assert (command.state_sequence, command.state_stamp_ns) == (world.sequence, world.stamp)
    assert command.valid_for_ns == world.config.valid_for_ns
    assert [sent.header.sequence for sent in world.sent] == [1, 2, 3]
    assert command.header.stamp_ns == world.now


def test_the_armed_policy_commands():
    world = World()
    world.arm()
    world.policy = lambda header, record: Answer([-0.25, 1.25])
    world.ticks(1)
    assert last(world).values.tolist() == [-0.25, 1.25]
    assert (last(world).mode, last(world).source) == (Mode.ACTIVE, Source.POLICY)


def test_the_observation_is_the_state_in_its_types_at_its_offsets():
    world = World()
    seen = []
    world.policy = lambda header, record: seen.append((header, record)) or Answer([0.0, 0.0])
    world.arm()
    world.state([-0.125, -7.0, 255.0])
    world.tick()
    header, record = seen[-1]
    assert np.frombuffer(record, np.float32, 1, 0)[0] == -0.125
    assert np.frombuffer(record, np.int32, 1, 4)[0] == -7
    assert record[8] == 255
    assert not any(record[9:])
    assert (header.sequence, header.bytes) == (world.record().header.tick, 64)
    assert header.stamp_ns == world.record().header.tick_ns
    assert header.deadline_ns == world.record().header.scheduled_ns + BUDGET


def test_arming_and_an_episode_start_reset_the_policy():
    world = World()
    world.arm()
    world.ticks(1)
    world.ticks(1, StateFlag.EPISODE_START)
    assert [header.episode for header in world.observations] == [1, 1, 2]


def test_a_reset_that_the_policy_slept_through_stands_in_every_later_observation():
    world = World()
    world.arm()
    asleep = world.policy
    world.policy = lambda header, record: None
    world.ticks(1, StateFlag.EPISODE_START)
    world.policy = asleep
    world.ticks(2)
    assert [header.episode for header in world.observations] == [1, 2, 2, 2]


def test_a_record_holds_the_whole_tick():
    world = World()
    world.policy = lambda header, record: Answer([0.5, 9.0], delay_ns=2 * MS, infer_ns=77)
    world.arm()
    world.ticks(1)
    record = world.record()
    header = record.header
    assert record.state.tolist() == [1.5, 2.0, 3.0]
    assert record.action.tolist() == [0.5, 9.0]
    assert record.command.tolist() == [0.5, 2.0]
    assert record.events == {Event.NOMINAL}
    assert (header.event, header.from_mode, header.mode, header.source) == (0, Mode.ACTIVE, Mode.ACTIVE, Source.POLICY)
    assert (header.state_sequence, header.stamp_ns, header.observed) == (world.sequence, world.stamp, 1)
    assert (header.infer_ns, header.epoch) == (77, EPOCH)
    assert header.post_ns == header.start_ns == header.scheduled_ns == header.tick_ns
    assert header.action_ns == header.write_ns == header.start_ns + 2 * MS
    assert list(header.saturated) == [2, 0, 0, 0]
    assert list(header.rejected) == [0, 0, 0, 0]
    assert header.causes == Verdict.HIGH
    assert header.clock == Clock.GRID


def watchful(event: Event) -> structs.Config:
    """Return a configuration in which the event can be met."""
    fields: dict[Event, dict[str, int]] = {
        Event.PREPARE: {"prepare_ns": PERIOD},
        Event.SUPERVISOR_FAULT: {"heartbeat_timeout_ns": 500 * MS, "hold_ns": 1000 * MS},
        Event.OPERATOR_LOST: {"operator_count": 1, "operator_timeout_ns": 60 * MS},
        Event.DEAD_MAN: {"dead_man": 1, "operator_timeout_ns": 60 * MS},
        Event.JITTER_FAULT: {"jitter_budget_ns": 1 * MS, "jitter_limit": 1, "jitter_window": 5},
        Event.STATE_FROZEN: {"frozen_ticks": 8, "hold_ns": 1000 * MS},
        Event.OVERRUN: {"hold_ns": 1000 * MS},
        Event.INFERENCE_TIMEOUT: {"inference_timeout_ns": BUDGET},
    }
    config = small_config(**fields.get(event, {}))
    config.states[0].noisy = 1
    config.states[0].high = 10.0
    return config


def offer_another(world: World) -> None:
    """Let a candidate stand ready in the second slot, and answer as the acting policy does."""
    core.say_ready(world.slots[1], EPOCH + 1)
    core.set_policies(world.at["requests"], core.policy_word(EPOCH, 0), core.policy_word(EPOCH + 1, 1))

    def answer(header: structs.ObservationHeader, _: bytes) -> Answer:
        core.post_action(world.slots[1], EPOCH + 1, header.sequence, np.array([0.3, 0.4], np.float32))
        return Answer([0.1, 0.2])

    world.policy = answer


def provoke(world: World, event: Event) -> set[Event]:
    """Make one tick that meets the event; return what it met."""
    flags, values = NOTHING, None
    planned = world.record().header.scheduled_ns + PERIOD
    if event == Event.OPERATOR_LOST:
        world.operate([0.0], stamp=planned - 60 * MS - 1)
    if event == Event.DEAD_MAN:
        world.operate([])
    if event == Event.OVERRUN:
        world.now = planned + PERIOD
    if event == Event.JITTER_FAULT:
        world.now = planned + 1 * MS + 1
    if event == Event.LAPSED:
        world.now = planned + 3 * PERIOD
    if event == Event.STATE_FROZEN:
        world.ticks(8 - world.sequence)
    if event == Event.STATE_LIMIT:
        values = [10.5, 0.0, 0.0]
    if event == Event.ACTION_LATE:
        world.policy = silent
    if event == Event.REJECT:
        world.policy = lambda header, record: Answer([5.0, 0.0])
    if event == Event.INFERENCE_TIMEOUT:
        world.policy = silent
    if event == Event.SWITCH:
        offer_another(world)
    if event == Event.BUCKET_FAULT:
        world.policy = silent
        world.ticks(2)
    if event == Event.SUPERVISOR_FAULT:
        world.now += world.config.heartbeat_timeout_ns
    if event == Event.LADDER_END:
        world.now += 60 * MS
    if world.now_mode() == Mode.PREPARE and event in (Event.ARM, Event.ACTION_LATE, Event.REJECT):
        world.ticks(9)  # to the end of the ramp: the wish that led here is still open
    requests = {
        Event.ARM: Request.ARM,
        Event.PREPARE: Request.ARM,
        Event.DISARM: Request.DISARM,
        Event.RESET: Request.RESET,
        Event.ESTOP: Request.ESTOP,
        Event.QUIT: Request.QUIT,
        Event.SWITCH: Request.SWITCH,
    }
    if event in requests:
        world.request(requests[event])
    if event == Event.POLICY_FAULT:
        world.die()
    if event == Event.DONE:
        flags = StateFlag.DONE
    if event == Event.STATE_FAULT:
        values = [math.nan, 0.0, 0.0]
    if event != Event.STATE_LOST:
        world.state(values, flags)
    world.tick()
    return world.record().events


RAISED = set(Event) - {Event.PREPARE, Event.SWITCH, Event.INFERENCE_TIMEOUT}
ASKING = {Event.ARM, Event.ACTION_LATE, Event.REJECT}
DRIVING = {Event.BUCKET_FAULT, Event.JITTER_FAULT, Event.LAPSED, Event.DEAD_MAN}
"""Nothing of this is met where the policy is not in charge, or about to be."""
REACHABLE = {
    Mode.SAFE: RAISED - ASKING - DRIVING - {Event.LADDER_END} | {Event.PREPARE, Event.ARM, Event.SWITCH},
    Mode.PREPARE: RAISED - {Event.BUCKET_FAULT, Event.LADDER_END} | {Event.SWITCH},
    Mode.ACTIVE: RAISED - {Event.ARM, Event.LADDER_END} | {Event.SWITCH, Event.INFERENCE_TIMEOUT},
    Mode.FALLBACK: RAISED - ASKING - DRIVING,
    Mode.STOPPED: RAISED - ASKING - DRIVING - {Event.LADDER_END},
}


@pytest.mark.parametrize(
    ("mode", "event"), [(mode, event) for mode, events in REACHABLE.items() for event in sorted(events)]
)
def test_every_mode_meets_every_event_as_the_table_says(mode, event):
    world = enter(mode, watchful(event))
    met = provoke(world, event)
    row = next(
        row
        for row in core.modes_table()
        if row.mode == mode.name.lower() and row.event == event.name.lower().replace("_", "-")
    )
    record = world.record()
    assert event in met
    assert record.header.event == event
    assert Mode(record.header.mode).name.lower() == row.next_mode
    resolved = {"ladder": "hold", "on-reject": "hold"}
    assert Source(record.header.source).name.lower() == resolved.get(row.source, row.source)
    sent = record.header.source != Source.LAPSE
    assert sent == (record.header.write_ns != 0)
    if sent:
        assert last(world).mode == record.header.mode
        assert last(world).source == record.header.source
        assert np.array_equal(last(world).values, record.command)


@pytest.mark.parametrize("mode", list(REACHABLE))
def test_in_no_mode_but_active_the_policy_is_asked_unasked(mode):
    world = enter(mode)
    asked = len(world.observations)
    world.ticks(1)
    assert (len(world.observations) > asked) == (mode == Mode.ACTIVE)


def test_the_most_severe_event_governs_and_all_are_recorded():
    world = World()
    world.arm()
    world.request(Request.DISARM)
    world.die()
    world.state([math.nan, 0.0, 0.0], StateFlag.ESTOP | StateFlag.DONE)
    world.tick()
    record = world.record()
    assert record.events == {Event.DISARM, Event.DONE, Event.STATE_FAULT, Event.POLICY_FAULT, Event.ESTOP}
    assert record.header.event == Event.ESTOP
