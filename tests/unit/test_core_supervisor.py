"""What the supervisor asks of the loop, its heartbeat, and what the status tells it."""

from __future__ import annotations

import ctypes

import pytest

from edgerl.runtime import core, wire
from edgerl.runtime.enums import POLICY_SLOTS, ArmBlocker, Clock, Event, Mode, Phase, Request, Result, Source, StateFlag
from tests.core_world import EPOCH, MS, PERIOD, World, enter, small_config

LOCKSTEP = StateFlag.LOCKSTEP
NOTHING = StateFlag(0)


def last(world: World) -> wire.Command:
    return world.sent[-1]


def test_requests_made_before_the_first_tick_count():
    world = World()
    world.request(Request.ESTOP)
    world.ticks(1)
    assert world.now_mode() == Mode.STOPPED


def test_an_unknown_request_is_refused():
    assert core.library().erl_request(World().at["requests"], len(Request)) == Result.BAD


def test_quit_ends_the_loop_with_a_safe_command():
    world = enter(Mode.ACTIVE)
    world.request(Request.QUIT)
    world.state()
    assert world.tick() == Result.ENDED
    assert (last(world).mode, last(world).source) == (Mode.STOPPED, Source.SAFE)
    assert world.read_status().phase == Phase.ENDED


@pytest.mark.parametrize("beside", [(), (Request.ESTOP,)])
def test_a_signal_ends_the_loop_and_hides_nothing_that_was_asked(beside):
    world = enter(Mode.ACTIVE)
    for kind in beside:
        world.request(kind)
    core.library().erl_loop_terminate(world.loop_at)
    world.state()
    assert world.tick() == Result.ENDED
    assert world.record().events == {Event.QUIT, *(Event[kind.name] for kind in beside)}


def test_a_signal_does_not_wait_for_a_state():
    world = World(small_config(state_timeout_ns=1000 * MS))
    world.arm(LOCKSTEP)
    before = world.now
    world.hooks.append((before + 12 * MS, lambda: core.library().erl_loop_terminate(world.loop_at)))
    assert world.tick() == Result.ENDED
    assert world.now - before <= 20 * MS


def test_all_that_is_asked_between_two_ticks_is_met_in_the_next():
    world = enter(Mode.ACTIVE)
    for kind in (Request.DISARM, Request.ESTOP, Request.RESET, Request.ARM, Request.SWITCH):
        world.request(kind)
    world.die()
    world.ticks(1)
    assert world.record().events == {Event.DISARM, Event.ESTOP, Event.RESET, Event.POLICY_FAULT}


def test_a_new_wish_to_arm_begins_without_what_blocked_the_last_one():
    world = enter(Mode.FALLBACK)
    world.request(Request.ARM)
    world.ticks(1)
    assert world.read_status().arm_blockers == ArmBlocker.NOT_SAFE_MODE
    world.request(Request.RESET)
    world.ticks(1)
    world.request(Request.ARM)
    world.request(Request.DISARM)
    world.ticks(1)
    assert world.read_status().arm_blockers == 0


def test_a_living_supervisor_is_no_fault():
    world = World(small_config(heartbeat_timeout_ns=25 * MS))
    world.arm()
    for _ in range(10):
        core.heartbeat(world.at["requests"])
        world.ticks(1)
    assert world.now_mode() == Mode.ACTIVE


def test_a_dead_supervisor_runs_the_ladder_down_and_ends_the_loop():
    world = World(small_config(heartbeat_timeout_ns=25 * MS))
    world.arm()
    core.heartbeat(world.at["requests"])
    modes = []
    for _ in range(20):
        world.state()
        if world.tick() == Result.ENDED:
            break
        modes.append(world.now_mode())
    assert world.read_status().fault == Event.SUPERVISOR_FAULT
    assert world.now_mode() == Mode.STOPPED
    assert modes.count(Mode.FALLBACK) == 5


def test_a_dead_supervisor_in_safe_ends_the_loop_at_once_even_in_lockstep():
    world = World(small_config(heartbeat_timeout_ns=25 * MS, state_timeout_ns=1000 * MS))
    world.ticks(1, LOCKSTEP)
    before = world.now
    assert world.tick() == Result.ENDED
    assert world.now - before <= 30 * MS


def test_a_dead_supervisor_in_lockstep_does_not_make_the_loop_spin():
    world = World(small_config(heartbeat_timeout_ns=25 * MS, state_timeout_ns=40 * MS))
    world.arm(LOCKSTEP)
    ticks = 0
    while world.tick() != Result.ENDED:
        ticks += 1
    assert ticks < 8


def test_alone_in_lockstep_the_loop_ends_long_before_its_state_time_out():
    hour = 3_600_000 * MS
    world = World(small_config(heartbeat_timeout_ns=25 * MS, state_timeout_ns=hour))
    world.arm(LOCKSTEP)
    begin = world.now
    for _ in range(20):
        if world.tick() == Result.ENDED:
            break
    assert world.now_mode() == Mode.STOPPED
    assert world.now - begin < 200 * MS


def test_heartbeats_are_ignored_where_no_time_out_is_configured():
    world = World(small_config(heartbeat_timeout_ns=0))
    world.arm()
    world.ticks(100)
    assert world.now_mode() == Mode.ACTIVE


def test_status_says_what_happened():
    world = World()
    assert world.read_status().phase == Phase.STARTING
    world.arm()
    world.ticks(2)
    world.tick()
    status = world.read_status()
    assert (status.phase, status.mode, status.source, status.event) == (
        Phase.RUNNING,
        Mode.ACTIVE,
        Source.HOLD,
        Event.STATE_LOST,
    )
    assert (status.ticks, status.states_taken, status.states_lost, status.commands_sent) == (5, 4, 1, 5)
    assert (status.actions_taken, status.actions_late, status.acting) == (3, 0, core.policy_word(EPOCH, 0))
    assert (status.state_sequence, status.time_ns, status.clock) == (world.sequence, world.now, Clock.GRID)
    assert status.bucket_level == 1


def test_a_configuration_that_makes_no_sense_starts_no_loop():
    world = World()
    config = small_config(session=0)
    segments = world.segments()
    fault = core.library().erl_loop_start(
        world.loop_at, ctypes.addressof(config), ctypes.addressof(segments), ctypes.addressof(world.port)
    )
    assert "session is 0" in core.config_fault_name(fault)


def test_a_heartbeat_just_before_the_tick_is_in_time():
    world = World(small_config(heartbeat_timeout_ns=25 * MS))
    world.ticks(1)
    world.now += 30 * MS
    core.heartbeat(world.at["requests"])
    world.ticks(1)
    assert world.record().events == {Event.OVERRUN}


def test_the_time_out_of_the_heartbeat_counts_from_the_last_one():
    world = World(small_config(heartbeat_timeout_ns=2 * PERIOD))
    for _ in range(5):
        core.heartbeat(world.at["requests"])
        world.ticks(1)
    world.ticks(1)
    assert world.record().events == {Event.NOMINAL}
    world.request(Request.DISARM)
    world.state()
    world.tick()
    assert world.record().events == {Event.SUPERVISOR_FAULT, Event.DISARM}


def test_a_supervisor_that_comes_back_can_reset():
    world = World(small_config(heartbeat_timeout_ns=25 * MS, hold_ns=1000 * MS))
    world.arm()
    core.heartbeat(world.at["requests"])
    world.ticks(4)
    assert world.now_mode() == Mode.FALLBACK
    core.heartbeat(world.at["requests"])
    world.request(Request.RESET)
    world.ticks(1)
    assert (world.now_mode(), world.record().events) == (Mode.SAFE, {Event.RESET})


@pytest.mark.parametrize("slot", [POLICY_SLOTS, 255])
def test_a_policy_in_a_slot_that_there_is_not_is_nobody(slot):
    world = World()
    world.ticks(1)
    core.set_policies(world.at["requests"], core.policy_word(EPOCH, slot), core.policy_word(EPOCH + 1, slot))
    world.ticks(1)
    status = world.read_status()
    assert (status.acting, status.candidate) == (0, 0)


def test_a_candidate_in_a_slot_of_its_own_is_named_in_the_status():
    world = World()
    word = core.policy_word(EPOCH + 1, POLICY_SLOTS - 1)
    core.set_policies(world.at["requests"], core.policy_word(EPOCH, 0), word)
    world.ticks(1)
    assert (world.read_status().acting, world.read_status().candidate) == (core.policy_word(EPOCH, 0), word)


def test_the_acting_policy_is_no_candidate_of_its_own():
    world = World()
    word = core.policy_word(EPOCH, 0)
    core.set_policies(world.at["requests"], word, word)
    world.ticks(1)
    assert (world.read_status().acting, world.read_status().candidate) == (word, 0)
