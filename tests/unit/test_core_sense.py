"""What the loop makes of the robot's states, and the clocks that time it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgerl.runtime import core, wire
from edgerl.runtime.enums import MAX_DRAIN, Clock, Event, Mode, Request, Result, Source, StateFlag
from tests.core_world import BUDGET, MS, PERIOD, SESSION, START, Answer, World, enter, small_config

LOCKSTEP = StateFlag.LOCKSTEP
NOTHING = StateFlag(0)


def last(world: World) -> wire.Command:
    return world.sent[-1]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("channel", [0, 1, 2])
def test_a_state_that_is_not_finite_is_a_fault(channel, value):
    world = enter(Mode.ACTIVE)
    asked = len(world.observations)
    values = [0.0, 0.0, 0.0]
    values[channel] = value
    world.state(values)
    world.tick()
    assert world.record().events == {Event.STATE_FAULT}
    assert world.now_mode() == Mode.FALLBACK
    assert len(world.observations) == asked


@pytest.mark.parametrize(("channel", "good"), [(1, -2147483648.0), (1, 2147483520.0), (2, 0.0), (2, 255.0), (2, 255.4)])
def test_a_value_that_fits_its_type_is_no_fault(channel, good):
    world = enter(Mode.ACTIVE)
    values = [0.0, 0.0, 0.0]
    values[channel] = good
    world.state(values)
    world.tick()
    assert world.record().events == {Event.NOMINAL}


@pytest.mark.parametrize(("channel", "bad"), [(1, 2147483648.0), (1, -2147483904.0), (2, -1.0), (2, 256.0)])
def test_a_value_that_does_not_fit_its_type_is_a_fault(channel, bad):
    world = enter(Mode.ACTIVE)
    values = [0.0, 0.0, 0.0]
    values[channel] = bad
    world.state(values)
    world.tick()
    assert world.record().events == {Event.STATE_FAULT}


def test_the_newest_of_several_states_is_taken_and_flags_of_the_others_are_kept():
    world = enter(Mode.ACTIVE)
    world.state([1.0, 0.0, 0.0], StateFlag.EPISODE_START)
    world.state([2.0, 0.0, 0.0], StateFlag.WAITING)
    world.state([3.0, 0.0, 0.0])
    world.tick()
    record = world.record()
    assert record.state[0] == 3.0
    assert record.header.state_flags == StateFlag.EPISODE_START
    assert world.read_status().states_skipped == 2
    assert last(world).state_sequence == world.sequence


@pytest.mark.parametrize("flag", [StateFlag.ESTOP, StateFlag.DONE])
def test_a_flag_of_an_overtaken_state_still_acts(flag):
    world = enter(Mode.ACTIVE)
    world.state(flags=flag)
    world.state()
    world.tick()
    assert world.now_mode() == (Mode.STOPPED if flag == StateFlag.ESTOP else Mode.SAFE)
    assert world.record().events == {Event[flag.name]}


def test_a_gap_in_the_sequence_is_counted():
    world = enter(Mode.ACTIVE)
    world.state(sequence=world.sequence + 5)
    world.tick()
    assert world.read_status().states_skipped == 4


@pytest.mark.parametrize("changed", [{"sequence": 0}, {"stamp": 0}])
def test_a_state_that_does_not_advance_is_no_state(changed):
    world = enter(Mode.ACTIVE)
    before = world.sequence, world.stamp
    fields = {"sequence": before[0] + changed.get("sequence", 1), "stamp": before[1] + changed.get("stamp", PERIOD)}
    world.state([9.0, 9.0, 9.0], **fields)
    world.tick()
    assert world.record().events == {Event.STATE_LOST}
    assert world.read_status().dropped[7] == 1
    assert world.record().state[0] == 1.5


def test_done_ends_active_and_is_counted():
    world = enter(Mode.ACTIVE)
    world.ticks(1, StateFlag.DONE)
    assert world.read_status().done == 1
    assert (world.now_mode(), last(world).source) == (Mode.SAFE, Source.SAFE)


def test_a_robot_that_says_bye_is_a_state_fault():
    world = enter(Mode.ACTIVE)
    world.inbox.append((world.now, wire.encode(wire.Bye(wire.Header(world.config.session, 1, 0), 0))))
    world.tick()
    assert Event.STATE_FAULT in world.record().events
    assert world.read_status().byes == 1
    world.ticks(1)
    assert world.record().events == {Event.NOMINAL}


def test_a_babbling_peer_costs_a_bounded_number_of_reads():
    world = enter(Mode.ACTIVE)
    world.babble = b"x" * 100
    assert world.tick() == Result.OK
    assert world.record().events == {Event.STATE_LOST}
    assert world.read_status().dropped[1] == 64


@pytest.mark.parametrize(("session", "dropped"), [(SESSION, 0), (SESSION + 1, 1)])
def test_the_answer_to_a_keep_alive_is_no_bad_datagram(session, dropped):
    world = enter(Mode.ACTIVE)
    welcome = wire.Welcome(wire.Header(session, 1, 1), bytes(32), PERIOD, 0, wire.WelcomeFlag(0))
    world.inbox.append((world.now, wire.encode(welcome)))
    world.tick()
    assert world.record().events == {Event.STATE_LOST}
    assert list(world.read_status().dropped) == [0, 0, 0, dropped, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("waiting", "lost"), [(MAX_DRAIN - 1, 0), (MAX_DRAIN, 1), (MAX_DRAIN + 1, 1), (3 * MAX_DRAIN - 2, 2)]
)
@pytest.mark.parametrize("clock", [Clock.GRID, Clock.ROBOT])
def test_a_state_that_newer_ones_may_wait_behind_is_lost_and_not_acted_on(clock, waiting, lost):
    world = enter(Mode.ACTIVE, small_config(clock=clock, bucket_limit=10))
    asked = len(world.observations)
    for index in range(waiting):
        world.state([float(index), 0.0, 0.0], stamp=world.stamp + MS // 10)  # on its clock nothing lapses meanwhile
    for tick in range(lost):
        world.tick()
        assert Event.STATE_LOST in world.record().events
        assert (world.record().header.observed, world.record().header.source) == (0, Source.HOLD)
        assert world.read_status().states_lost == tick + 1
        assert len(world.observations) == asked
    if lost:
        world.state([99.0, 0.0, 0.0], stamp=world.stamp + MS // 10)
    world.tick()
    assert (world.record().header.observed, world.record().state[0]) == (1, 99.0 if lost else waiting - 1)
    assert world.read_status().states_skipped == waiting - (not lost)
    assert len(world.observations) == asked + 1


@pytest.mark.parametrize("before", [Clock.WAITING, Clock.LOCKSTEP])
def test_a_state_that_is_too_old_still_tells_whose_time_it_is(before):
    world = World(small_config(clock=Clock.ROBOT))
    if before == Clock.LOCKSTEP:
        world.ticks(1, StateFlag.LOCKSTEP)
    world.now += 7 * PERIOD
    for _ in range(MAX_DRAIN):
        world.state()
    world.tick()
    header = world.record().header
    assert (header.clock, header.observed, header.tick_ns) == (Clock.ROBOT, 0, world.stamp)
    world.state(at=world.now + PERIOD + MS)
    world.tick()
    header = world.record().header
    assert (header.missed_periods, header.start_ns - header.scheduled_ns) == (0, MS)
    assert world.record().events == {Event.NOMINAL}


@pytest.mark.parametrize("flag", [StateFlag.ESTOP, StateFlag.DONE])
def test_the_flags_of_a_state_that_is_too_old_still_act(flag):
    world = enter(Mode.ACTIVE)
    for _ in range(MAX_DRAIN):
        world.state(flags=flag)
    world.tick()
    assert Event.STATE_LOST in world.record().events
    assert world.now_mode() == (Mode.STOPPED if flag == StateFlag.ESTOP else Mode.SAFE)


def test_an_episode_that_begins_with_a_state_that_is_too_old_begins_with_the_next():
    world = enter(Mode.ACTIVE)
    episode = world.observations[-1].episode
    for _ in range(MAX_DRAIN):
        world.state(flags=StateFlag.EPISODE_START)
    world.tick()
    world.ticks(1)
    assert world.observations[-1].episode == episode + 1


def test_in_lockstep_the_newest_state_is_the_newest_whatever_else_came():
    world = World()
    world.arm(LOCKSTEP)
    world.state(flags=LOCKSTEP)
    world.inbox.extend([(world.now, b"x" * 100)] * (2 * MAX_DRAIN))
    world.tick()
    assert world.record().events == {Event.NOMINAL}


@pytest.mark.parametrize("clock", [Clock.WAITING, Clock.LOCKSTEP])
@pytest.mark.parametrize("babble", [b"x" * 100, -111])
def test_a_babbling_or_failing_peer_cannot_hold_a_wait_beyond_its_time_out(clock, babble):
    world = World()
    if clock == Clock.LOCKSTEP:
        world.arm(LOCKSTEP)
    before = world.now
    world.babble = babble
    world.tick()
    assert world.now - before == world.config.state_timeout_ns
    assert Event.STATE_FAULT in world.record().events
    status = world.read_status()
    assert status.dropped[1] + status.receive_errors <= 64 * 9


def test_after_a_babble_the_state_is_found_within_the_same_wait():
    world = World()
    world.inbox.extend([(world.now, b"x" * 100)] * 70)
    world.state(at=world.now + 12 * MS)
    world.tick()
    assert world.read_status().dropped[1] == 70
    assert world.record().events == {Event.NOMINAL}


def test_a_wait_reads_as_much_in_each_slice_of_it_as_a_tick():
    world = World()
    world.babble = b"x" * 100
    world.tick()
    slices = world.config.state_timeout_ns // (5 * MS)
    assert world.read_status().dropped[1] == 64 * (slices + 1)  # and what waits when it ends


def test_a_time_out_is_one_ticks_fault_only():
    world = World()
    world.tick()
    assert world.record().events == {Event.STATE_LOST, Event.STATE_FAULT}
    world.ticks(1)
    assert world.record().events == {Event.NOMINAL}


def test_status_and_record_say_which_state_a_tick_took_and_how_many_there_were():
    world = World()
    world.ticks(2)
    world.state(flags=StateFlag.WAITING, sequence=7)
    world.tick()
    status = world.read_status()
    assert (status.states_taken, status.states_lost, status.state_sequence) == (3, 0, 7)
    assert status.state_flags == StateFlag.WAITING
    for lost in (1, 2):
        world.tick()
        status = world.read_status()
        assert (status.states_taken, status.states_lost, status.state_sequence) == (3, lost, 7)
        assert world.record().header.state_sequence == 7


def test_a_late_ticks_action_is_due_when_it_would_have_been_on_time():
    world = enter(Mode.ACTIVE)
    planned = world.record().header.scheduled_ns + PERIOD
    world.now = planned + 2 * MS
    world.ticks(1)
    assert world.record().header.start_ns == planned + 2 * MS
    assert world.observations[-1].deadline_ns == planned + BUDGET


def test_receive_errors_are_counted_and_hide_no_state():
    world = enter(Mode.ACTIVE)
    world.inbox.extend([(world.now, -111)] * 3)
    world.state()
    world.tick()
    assert world.read_status().receive_errors == 3
    assert world.record().events == {Event.NOMINAL}


def test_a_command_that_the_kernel_refuses_was_not_written():
    config = small_config()
    config.commands[0].max_rate = 10.0
    world = World(config)
    world.policy = lambda header, record: Answer([0.05, 0.0])
    world.arm()
    world.send_answer = -111
    world.policy = lambda header, record: Answer([0.12, 0.0])
    world.ticks(1)
    record = world.record()
    assert (record.header.write_ns, world.read_status().send_errors) == (0, 1)
    assert np.isnan(record.command).all()
    world.send_answer = 0
    world.policy = lambda header, record: Answer([0.2, 0.0])
    world.ticks(1)
    assert world.record().events == {Event.NOMINAL}
    assert last(world).header.sequence == len(world.sent)


def test_the_grid_stands_a_lead_after_the_first_state_and_never_drifts():
    world = World()
    world.state(at=START + 3 * MS)
    world.tick()
    anchor = START + 4 * MS
    world.arm()
    world.ticks(5)
    scheduled = [world.record(i).header.scheduled_ns for i in range(core.ring_head(world.at["ring"]))]
    assert scheduled == [anchor + i * PERIOD for i in range(len(scheduled))]
    assert world.record().header.start_ns == scheduled[-1]


@pytest.mark.parametrize(
    ("late", "missed"), [(0, 0), (PERIOD - 1, 0), (PERIOD, 1), (3 * PERIOD + MS, 3), (2**33 * PERIOD, 2**33)]
)
def test_missed_periods_are_counted_and_never_replayed(late, missed):
    world = World()
    world.ticks(1)
    planned = world.record().header.scheduled_ns + PERIOD
    world.now = planned + late
    world.ticks(1)
    header = world.record().header
    assert header.missed_periods == min(missed, 2**32 - 1)
    assert header.scheduled_ns == planned + missed * PERIOD
    assert header.start_ns == planned + late
    world.ticks(1)
    assert world.record().header.scheduled_ns == planned + (missed + 1) * PERIOD
    assert world.read_status().missed_periods == missed


def test_a_state_within_the_grace_is_not_lost():
    world = World(small_config(state_grace_ns=2 * MS))
    world.arm()
    planned = world.record().header.scheduled_ns + PERIOD
    world.state(at=planned + 2 * MS)
    world.tick()
    assert world.record().events == {Event.NOMINAL}
    world.state(at=planned + PERIOD + 2 * MS + 1)
    world.tick()
    assert world.record().events == {Event.STATE_LOST}


def test_lockstep_takes_its_time_from_the_robot():
    world = World()
    world.arm(LOCKSTEP)
    world.state(flags=LOCKSTEP, at=world.now + 7 * MS)
    world.tick()
    header = world.record().header
    assert header.clock == Clock.LOCKSTEP
    assert header.tick_ns == header.stamp_ns == world.stamp
    assert header.start_ns == header.scheduled_ns
    assert world.observations[-1].deadline_ns == header.start_ns + BUDGET
    assert header.missed_periods == 0


def test_lockstep_needs_the_configurations_leave():
    world = World(small_config(allow_lockstep=0))
    world.ticks(3, LOCKSTEP)
    assert world.record().header.clock == Clock.GRID


def test_rates_in_lockstep_count_by_the_robots_stamps():
    config = small_config()
    config.commands[0].max_rate = 10.0
    world = World(config)
    world.policy = lambda header, record: Answer([0.0, 0.0])
    world.arm(LOCKSTEP)
    world.policy = lambda header, record: Answer([0.15, 0.0])
    world.state(flags=LOCKSTEP, at=world.now + 30 * MS)
    world.tick()
    assert Event.REJECT in world.record().events
    world.state(flags=LOCKSTEP, stamp=world.stamp + 2 * PERIOD)
    world.tick()
    assert world.record().events == {Event.NOMINAL}


def test_lockstep_without_a_state_is_a_fault_at_the_time_out_and_the_ladder_runs_in_real_time():
    world = World()
    world.arm(LOCKSTEP)
    before = world.now
    world.tick()
    assert world.now == before + world.config.state_timeout_ns
    assert world.record().events == {Event.STATE_LOST, Event.STATE_FAULT}
    assert (world.now_mode(), world.record().header.source) == (Mode.FALLBACK, Source.HOLD)
    assert world.record().header.tick_ns == world.stamp
    world.tick()
    assert world.record().header.source == Source.SAFE
    world.tick()
    assert world.now_mode() == Mode.STOPPED


def test_in_lockstep_the_ladder_runs_by_the_robots_stamps():
    world = World(small_config(hold_ns=20 * MS))
    world.arm(LOCKSTEP)
    world.die()
    world.ticks(1, LOCKSTEP)
    sources = [world.record().header.source]
    for _ in range(3):
        world.state(flags=LOCKSTEP, at=world.now + 1 * MS)
        world.tick()
        sources.append(world.record().header.source)
    assert sources == [Source.HOLD, Source.HOLD, Source.SAFE, Source.SAFE]


def test_nothing_moves_while_the_robots_time_stands_still():
    config = small_config(hold_ns=0)
    config.commands[1].max_rate = 10.0
    world = World(config)
    world.arm(LOCKSTEP)
    before = last(world).values[1]
    world.tick()
    assert last(world).source == Source.SAFE
    assert last(world).values[1] == before


@pytest.mark.parametrize("event", [Event.ESTOP, Event.DISARM, Event.QUIT, Event.POLICY_FAULT])
def test_an_urgent_request_does_not_wait_for_a_state(event):
    world = World(small_config(state_timeout_ns=1000 * MS))
    world.arm(LOCKSTEP)
    before = world.now
    ask = world.die if event == Event.POLICY_FAULT else lambda: world.request(Request[event.name])
    world.hooks.append((before + 12 * MS, ask))
    world.tick()
    assert world.now - before <= 20 * MS
    assert event in world.record().events
    assert Event.STATE_FAULT not in world.record().events


def test_the_clock_follows_the_robots_flag_both_ways():
    world = World()
    world.arm()
    world.ticks(1, LOCKSTEP)
    assert world.record().header.clock == Clock.LOCKSTEP
    world.ticks(2, LOCKSTEP)
    world.ticks(1)
    header = world.record().header
    assert header.clock == Clock.GRID
    world.ticks(1)
    assert world.record().header.scheduled_ns == header.start_ns + PERIOD + world.config.lead_ns
    assert world.now_mode() == Mode.ACTIVE


def test_a_change_of_clock_counts_as_one_period():
    config = small_config()
    config.commands[0].max_rate = 10.0
    world = World(config)
    world.policy = lambda header, record: Answer([0.0, 0.0])
    world.arm()
    world.policy = lambda header, record: Answer([0.0999, 0.0])
    world.ticks(1, LOCKSTEP)
    assert world.record().events == {Event.NOMINAL}
    world.policy = lambda header, record: Answer([0.21, 0.0])
    world.ticks(1)
    assert Event.REJECT in world.record().events
