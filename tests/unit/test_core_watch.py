"""The loop's watch on itself: overrun, jitter and commands that ran out; and the clock that is the robot's own."""

from __future__ import annotations

import pytest

from edgerl.errors import GuardianError
from edgerl.runtime import core, structs
from edgerl.runtime.enums import Clock, Event, Mode, Request, Result, Source, StateFlag
from tests.core_world import BUDGET, MS, PERIOD, START, Answer, World, enter, small_config

NOTHING = {Event.NOMINAL}


def late(world: World, late_ns: int) -> set[Event]:
    """Make a tick that begins so much later than planned."""
    world.now = world.record().header.scheduled_ns + PERIOD + late_ns
    world.ticks(1)
    return world.record().events


@pytest.mark.parametrize(("late_ns", "overrun"), [(0, False), (PERIOD - 1, False), (PERIOD, True), (3 * PERIOD, True)])
@pytest.mark.parametrize("mode", [Mode.SAFE, Mode.ACTIVE])
def test_a_tick_a_period_late_overran_once(mode, late_ns, overrun):
    world = enter(mode, valid_for_ns=1000 * MS)
    assert (Event.OVERRUN in late(world, late_ns)) == overrun
    assert world.read_status().overruns == overrun
    assert world.now_mode() == mode
    world.ticks(1)
    assert world.record().events == NOTHING


def test_an_overrun_degrades_and_the_policy_is_asked_all_the_same():
    world = enter(Mode.ACTIVE, valid_for_ns=1000 * MS, bucket_limit=2)
    late(world, PERIOD)
    assert world.record().header.source == Source.POLICY
    assert world.read_status().bucket_level == 1
    assert late(world, PERIOD) == {Event.OVERRUN, Event.BUCKET_FAULT}


def test_a_late_tick_may_arm():
    world = World()
    world.ticks(1)
    world.request(Request.ARM)
    assert late(world, PERIOD) == {Event.OVERRUN, Event.ARM}
    assert world.now_mode() == Mode.ACTIVE


def jittery(limit: int = 2, window: int = 4) -> World:
    return enter(
        Mode.ACTIVE, jitter_budget_ns=2 * MS, jitter_limit=limit, jitter_window=window, valid_for_ns=1000 * MS,
        bucket_limit=10,
    )  # fmt: skip


def test_a_wake_up_later_than_the_budget_counts_and_so_many_of_so_many_are_a_fault():
    world = jittery()
    assert [late(world, 2 * MS) for _ in range(3)] == [NOTHING] * 3
    assert late(world, 2 * MS + 1) == NOTHING
    assert world.read_status().jitter_level == 1
    assert [late(world, 0) for _ in range(3)] == [NOTHING] * 3
    assert late(world, 3 * MS) == NOTHING  # the first one has just left the window
    assert late(world, 3 * MS) == {Event.JITTER_FAULT}
    assert (world.now_mode(), world.read_status().fault) == (Mode.FALLBACK, Event.JITTER_FAULT)


def test_a_missed_period_is_late_too():
    assert late(jittery(limit=1), PERIOD) == {Event.OVERRUN, Event.JITTER_FAULT}


def test_without_a_budget_no_wake_up_is_too_late():
    world = enter(Mode.ACTIVE, jitter_limit=1, jitter_window=1)
    assert late(world, 4 * MS) == NOTHING
    assert world.read_status().jitter_level == 0


def test_lateness_before_arming_is_forgotten():
    world = World(small_config(jitter_budget_ns=2 * MS, jitter_limit=1, jitter_window=4))
    world.ticks(1)
    assert late(world, 4 * MS) == NOTHING
    world.request(Request.ARM)
    assert late(world, 4 * MS) == {Event.ARM}
    assert late(world, 0) == NOTHING
    assert world.read_status().jitter_level == 0


def test_a_new_charge_begins_a_new_window():
    world = jittery(limit=2)
    late(world, 3 * MS)
    world.request(Request.DISARM)
    world.ticks(1)
    world.request(Request.ARM)
    world.ticks(1)
    assert late(world, 3 * MS) == NOTHING
    assert world.read_status().jitter_level == 1


@pytest.mark.parametrize(("limit", "window", "valid"), [(1, 1, True), (0, 1, False), (2, 1, False), (1, 1025, False)])
def test_a_jitter_budget_has_a_window(limit, window, valid):
    config = small_config(jitter_budget_ns=1, jitter_limit=limit, jitter_window=window)
    if valid:
        core.check_config(config)
    else:
        with pytest.raises(GuardianError, match="limit <= window"):
            core.check_config(config)


@pytest.mark.parametrize(("missed", "lapsed"), [(2, False), (3, True)])
def test_a_command_that_ran_out_before_the_next_is_a_fault(missed, lapsed):
    world = enter(Mode.ACTIVE, valid_for_ns=3 * PERIOD)
    events = late(world, missed * PERIOD)
    assert events == {Event.OVERRUN} | ({Event.LAPSED} if lapsed else set())
    assert world.now_mode() == (Mode.FALLBACK if lapsed else Mode.ACTIVE)


def test_in_safe_a_command_may_run_out():
    world = enter(Mode.SAFE, valid_for_ns=PERIOD)
    assert late(world, 5 * PERIOD) == {Event.OVERRUN}


def test_a_command_that_was_never_sent_runs_out_too():
    world = enter(Mode.ACTIVE, valid_for_ns=PERIOD, on_reject=Source.LAPSE)
    world.policy = lambda header, record: Answer([5.0, 0.0])
    world.ticks(1)
    assert (world.record().events, world.record().header.source) == ({Event.REJECT}, Source.LAPSE)
    world.ticks(1)
    assert Event.LAPSED in world.record().events
    assert world.now_mode() == Mode.FALLBACK


@pytest.mark.parametrize(("lost", "lapsed"), [(2, False), (3, True)])
def test_commands_that_answer_one_old_state_run_out_with_it(lost, lapsed):
    world = enter(Mode.ACTIVE, valid_for_ns=3 * PERIOD, bucket_limit=10)
    for _ in range(lost):
        world.tick()
    assert (world.record().events, world.sent[-1].source) == ({Event.STATE_LOST}, Source.HOLD)
    world.ticks(1)
    assert world.record().events == ({Event.LAPSED} if lapsed else NOTHING)
    assert (world.now_mode() == Mode.FALLBACK) == lapsed


def by_robot(**fields: int) -> structs.Config:
    return small_config(clock=Clock.ROBOT, **fields)


def arrive(world: World, after_ns: int = PERIOD, stamp_ns: int = PERIOD, **changed: int) -> set[Event]:
    """Let a state arrive so long after the last tick began, stamped so long after the last one."""
    start = world.record().header.start_ns if world.read_status().ticks else world.now
    world.state(at=start + after_ns, stamp=world.stamp + stamp_ns, **changed)
    assert world.tick() == Result.OK
    return world.record().events


def robot_world(mode: Mode = Mode.ACTIVE, **fields: int) -> World:
    world = World(by_robot(**fields))
    arrive(world)
    if mode == Mode.ACTIVE:
        world.request(Request.ARM)
        assert Event.ARM in arrive(world)
    return world


def test_the_arrival_of_a_state_is_the_tick_and_its_stamp_the_time():
    world = robot_world()
    assert arrive(world, PERIOD - 3) == NOTHING
    header = world.record().header
    assert header.clock == Clock.ROBOT
    assert header.start_ns == START + 3 * PERIOD - 3
    assert header.tick_ns == header.stamp_ns == world.stamp
    assert world.observations[-1].deadline_ns == header.start_ns + BUDGET
    assert world.sleeps == []
    assert world.sent[-1].state_sequence == world.sequence


@pytest.mark.parametrize(("delay", "late_by"), [(0, 0), (-2 * MS, 0), (3 * MS, 3 * MS)])
def test_a_state_is_late_by_what_it_took_longer_than_the_one_before(delay, late_by):
    world = robot_world()
    assert arrive(world, PERIOD + delay) == NOTHING
    header = world.record().header
    assert header.start_ns - header.scheduled_ns == late_by
    assert header.missed_periods == 0


def test_arrivals_that_are_late_too_often_are_a_fault():
    world = robot_world(jitter_budget_ns=2 * MS, jitter_limit=2, jitter_window=8)
    assert arrive(world, PERIOD + 2 * MS) == NOTHING
    assert arrive(world, PERIOD + 2 * MS + 1) == NOTHING
    assert arrive(world, PERIOD - 2 * MS) == NOTHING
    assert arrive(world, PERIOD + 3 * MS) == {Event.JITTER_FAULT}


@pytest.mark.parametrize(
    ("periods", "missed"),
    [(1, 0), (1.49, 0), (1.5, 1), (2, 1), (2.49, 1), (3, 2), (2**35 + 1.1, 2**35)],
)
def test_periods_of_the_robot_without_a_tick_are_counted_by_its_stamps(periods, missed):
    world = robot_world(valid_for_ns=1000 * MS)
    before = world.read_status().missed_periods
    events = arrive(world, PERIOD, int(periods * PERIOD))
    assert world.record().header.missed_periods == min(missed, 2**32 - 1)
    assert world.read_status().missed_periods - before == missed
    assert (Event.OVERRUN in events) == (missed > 0)
    arrive(world, PERIOD, 4 * PERIOD)
    assert world.read_status().missed_periods - before == missed + 3


def test_what_came_sooner_than_half_a_period_missed_none():
    world = robot_world()
    assert arrive(world, PERIOD, PERIOD // 3) == NOTHING
    assert world.record().header.missed_periods == 0


@pytest.mark.parametrize("period_ns", [PERIOD, PERIOD + 1])
def test_half_a_period_more_is_the_next_one(period_ns):
    world = World(by_robot(period_ns=period_ns, valid_for_ns=1000 * MS))
    arrive(world)
    arrive(world, PERIOD, period_ns + period_ns // 2 + period_ns % 2 - 1)
    assert world.record().header.missed_periods == 0
    arrive(world, PERIOD, period_ns + period_ns // 2 + period_ns % 2)
    assert world.record().header.missed_periods == 1


def test_of_several_waiting_states_the_newest_wins_and_none_is_caught_up_with():
    world = robot_world(valid_for_ns=1000 * MS)
    start = world.record().header.start_ns
    for index in range(3):
        world.state(at=start + (index + 1) * PERIOD)
    world.now = start + 3 * PERIOD + 5
    world.tick()
    assert world.record().events == {Event.OVERRUN}
    assert world.record().header.missed_periods == 2
    assert world.read_status().states_skipped == 2
    sent = len(world.sent)
    arrive(world)
    assert len(world.sent) == sent + 1
    assert world.record().header.missed_periods == 0


def test_a_tick_without_a_state_comes_at_the_time_out_and_degrades():
    world = robot_world(state_timeout_ns=15 * MS)
    start = world.record().header.start_ns
    before = world.record().header.tick_ns
    world.tick()
    header = world.record().header
    assert world.record().events == {Event.STATE_LOST}
    assert header.start_ns >= start + 15 * MS
    assert header.tick_ns == before
    assert (header.source, header.observed) == (Source.HOLD, 0)
    assert arrive(world, 5 * MS, 2 * PERIOD) == {Event.OVERRUN}
    assert world.now_mode() == Mode.ACTIVE


def test_a_ladder_takes_its_time_once_where_ticks_without_a_state_come_between():
    world = robot_world(state_timeout_ns=15 * MS, hold_ns=0, safe_ns=200 * MS)
    world.die()
    world.tick()
    start = world.record().header.start_ns
    arrive(world)
    for _ in range(20):
        world.tick()
        if world.now_mode() != Mode.FALLBACK:
            break
        arrive(world, 5 * MS, 2 * PERIOD)
    assert world.now_mode() == Mode.STOPPED
    assert 200 * MS <= world.record().header.start_ns - start <= 220 * MS


def test_of_several_ticks_without_a_state_none_counts_twice():
    world = robot_world(state_timeout_ns=15 * MS, hold_ns=0, safe_ns=100 * MS)
    world.die()
    arrive(world, 0)
    for _ in range(3):
        world.tick()
    arrive(world, 0, 60 * MS)
    arrive(world, 0, 30 * MS)
    assert world.now_mode() == Mode.FALLBACK
    arrive(world, 0, 20 * MS)
    assert world.now_mode() == Mode.STOPPED


def leap(world: World) -> set[Event]:
    """Let the robot go over to simulated time, and stamp the next state with the end of time."""
    for stamp in (world.stamp + 1, 2**64 - 1):
        world.state(flags=StateFlag.LOCKSTEP, stamp=stamp)
        world.tick()
    return world.record().events


def crawl(world: World, ticks: int) -> None:
    """Make ticks of a robot whose stamps hardly advance."""
    for _ in range(ticks):
        world.state(stamp=world.stamp + 1)
        world.tick()


def test_no_stamp_makes_a_ladder_begin_anew():
    world = World(small_config(hold_ns=1000 * MS))
    world.stamp = 0
    world.arm()
    world.die()
    crawl(world, 12)
    assert Event.LADDER_END in leap(world)
    assert world.now_mode() == Mode.STOPPED


def test_no_stamp_makes_a_command_valid_again():
    world = World(small_config(valid_for_ns=100 * MS))
    world.stamp = 0
    world.arm()
    world.send_answer = -111
    crawl(world, 7)
    assert Event.LAPSED in leap(world)


def test_a_tick_without_a_state_is_not_late_whatever_the_one_before_was():
    world = robot_world(state_timeout_ns=15 * MS, jitter_budget_ns=2 * MS, jitter_limit=2, jitter_window=8)
    assert arrive(world, PERIOD + 3 * MS) == NOTHING
    assert world.read_status().jitter_level == 1
    world.tick()
    header = world.record().header
    assert world.record().events == {Event.STATE_LOST}
    assert header.scheduled_ns == header.start_ns
    assert world.read_status().jitter_level == 1


def test_on_the_robots_clock_an_action_is_due_a_budget_after_the_arrival_however_late():
    world = robot_world()
    assert arrive(world, PERIOD + 3 * MS) == NOTHING
    header = world.record().header
    assert header.scheduled_ns == header.start_ns - 3 * MS
    assert world.observations[-1].deadline_ns == header.start_ns + BUDGET


def test_states_that_stay_away_fill_the_bucket():
    world = robot_world(state_timeout_ns=15 * MS, bucket_limit=2)
    world.tick()
    world.tick()
    assert world.record().events == {Event.STATE_LOST, Event.BUCKET_FAULT}


def test_before_the_first_state_a_time_out_is_a_state_fault():
    world = World(by_robot())
    world.tick()
    assert world.record().events == {Event.STATE_LOST, Event.STATE_FAULT}
    assert world.sent == []


def test_nothing_moves_while_the_robots_time_stands_still_and_the_ladder_runs_on():
    config = by_robot(hold_ns=0, safe_ns=20 * MS, state_timeout_ns=15 * MS)
    config.commands[1].max_rate = 10.0
    world = World(config)
    arrive(world)
    world.request(Request.ARM)
    arrive(world)
    world.die()
    world.tick()
    held = world.sent[-1].values[1]
    assert (world.now_mode(), world.record().header.source) == (Mode.FALLBACK, Source.SAFE)
    world.tick()
    assert world.sent[-1].values[1] == held
    world.tick()
    assert world.now_mode() == Mode.STOPPED


def test_rates_count_by_the_robots_stamps():
    config = by_robot()
    config.commands[0].max_rate = 10.0
    world = World(config)
    world.policy = lambda header, record: Answer([0.0, 0.0])
    arrive(world)
    world.request(Request.ARM)
    arrive(world)
    world.policy = lambda header, record: Answer([0.15, 0.0])
    assert arrive(world, 1, 15 * MS - 1) == {Event.REJECT}
    assert arrive(world, 1, 15 * MS + 1) == {Event.OVERRUN}


@pytest.mark.parametrize(("held_ns", "lapsed"), [(3 * PERIOD, False), (3 * PERIOD + 1, True)])
def test_a_command_runs_out_by_the_robots_stamps(held_ns, lapsed):
    world = robot_world(state_timeout_ns=15 * MS)
    world.tick()  # holds, and answers the same state as before
    events = arrive(world, 1, held_ns)
    assert (Event.LAPSED in events) == lapsed


def test_lockstep_may_take_over_from_the_robots_clock_and_give_it_back():
    world = robot_world()
    for flags, clock in ((StateFlag.LOCKSTEP, Clock.LOCKSTEP), (StateFlag(0), Clock.ROBOT)):
        for _ in range(2):
            world.state(at=world.now + 7 * MS, flags=flags)
            world.tick()
            header = world.record().header
            assert (header.clock, header.missed_periods) == (clock, 0)
    assert world.now_mode() == Mode.ACTIVE


@pytest.mark.parametrize("clock", [Clock.WAITING, Clock.LOCKSTEP, 4])
def test_a_clock_is_the_grid_or_the_robots(clock):
    with pytest.raises(GuardianError, match="neither grid nor robot"):
        core.check_config(small_config(clock=clock))
