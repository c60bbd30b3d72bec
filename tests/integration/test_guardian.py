"""The guardian as a process: what it refuses to start with, and what it survives."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time

import pytest

from edgerl.runtime import core, structs
from edgerl.runtime.enums import Event, Mode, Phase, PortKind, Request, Source, StateFlag
from tests.core_world import small_config
from tests.guardian_process import MS, GuardianProcess


def config(**fields):
    values = {"period_ns": 20 * MS, "budget_ns": 15 * MS, "valid_for_ns": 60 * MS, "state_timeout_ns": 2000 * MS}
    return small_config(**{**values, "arm_ticks": 200, "hold_ns": 100 * MS, "safe_ns": 100 * MS, **fields})


@pytest.fixture(params=list(PortKind), ids=lambda kind: kind.name.lower())
def guardian(request):
    with GuardianProcess(config(port=request.param)) as process:
        process.start().ready()
        yield process


def test_it_runs_a_policy_in_lockstep_and_quits_when_asked(guardian):
    guardian.start_policy()
    guardian.arm()
    commands = [guardian.exchange(value / 100) for value in range(50)]
    taken = [command for command in commands if command.source == Source.POLICY]
    assert len(taken) > 25
    assert {command.mode for command in commands} == {Mode.ACTIVE}
    guardian.request(Request.QUIT)
    last = guardian.command()
    assert (last.mode, last.source) == (Mode.STOPPED, Source.SAFE)
    assert guardian.ended() == 0
    assert guardian.status().phase == Phase.ENDED


def test_the_policys_answer_is_the_command(guardian):
    guardian.start_policy()
    guardian.arm()
    for value in (0.5, -0.75, 0.125):
        command = guardian.exchange(value)
        while command.source != Source.POLICY:
            command = guardian.exchange(value)
        assert command.values.tolist() == [value, value]


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV])
def test_a_policy_that_dies_or_stops_is_held_then_made_safe_within_its_budget(guardian, fault):
    policy = guardian.start_policy()
    guardian.arm()
    guardian.exchange(0.5)
    policy.send_signal(fault)
    guardian.robot.settimeout(0.5)
    sources = []
    with pytest.raises(TimeoutError):
        for _ in range(20):
            guardian.send_state(0.9, StateFlag.LOCKSTEP)
            sources.append(Source(guardian.command().source))
    holds = sources.count(Source.HOLD)
    assert sources == [Source.HOLD] * holds + [Source.SAFE] * 5
    assert 5 <= holds <= 7  # five of the ladder, and up to two late ticks before the bucket was full
    assert (guardian.status().mode, guardian.status().fault) == (Mode.STOPPED, Event.BUCKET_FAULT)
    policy.send_signal(signal.SIGCONT)


def test_a_restarted_policy_of_a_new_epoch_is_armed_again_after_a_reset(guardian):
    first = guardian.start_policy(epoch=1)
    guardian.arm()
    first.kill()
    first.wait()
    core.policy_died(guardian.at["requests"], core.policy_word(1, 0))
    guardian.until(lambda: guardian.status().mode == Mode.FALLBACK)
    assert guardian.command().mode == Mode.FALLBACK
    guardian.start_policy(epoch=2)
    guardian.request(Request.RESET)
    assert guardian.exchange().mode == Mode.SAFE
    guardian.arm()
    assert core.policy_word(2, 0) == guardian.status().acting


def test_the_grid_keeps_its_time_by_itself():
    with GuardianProcess(config(period_ns=10 * MS, budget_ns=8 * MS, spin_ns=100_000)) as guardian:
        guardian.start().ready()
        stop = threading.Event()

        def robot():
            while not stop.is_set():
                guardian.send_state()
                time.sleep(0.01)

        thread = threading.Thread(target=robot)
        thread.start()
        try:
            stamps = [guardian.command().header.stamp_ns for _ in range(40)]
        finally:
            stop.set()
            thread.join()
        periods = (stamps[-1] - stamps[0]) / (10 * MS)
        missed = guardian.status().missed_periods
        assert periods == pytest.approx(39 + missed, abs=2)
        assert guardian.status().phase == Phase.RUNNING
        guardian.request(Request.QUIT)
        assert guardian.ended() == 0


def test_estop_acts_while_it_waits_for_a_robot_that_is_silent(guardian):
    guardian.start_policy()
    guardian.arm()
    before = time.monotonic_ns()
    guardian.request(Request.ESTOP)
    assert guardian.command().mode == Mode.STOPPED
    assert time.monotonic_ns() - before < 1000 * MS


def test_it_stops_when_its_supervisor_is_gone():
    with GuardianProcess(config(heartbeat_timeout_ns=100 * MS)) as guardian:
        guardian.start().ready()
        assert guardian.exchange().mode == Mode.SAFE
        assert guardian.ended() == 0
        assert guardian.status().fault == Event.SUPERVISOR_FAULT


def test_a_terminal_interrupt_is_left_to_the_supervisor_and_terminate_is_an_orderly_end(guardian):
    for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        guardian.process.send_signal(ignored)
    assert guardian.exchange().mode == Mode.SAFE
    guardian.process.send_signal(signal.SIGTERM)
    assert guardian.command().mode == Mode.STOPPED
    assert guardian.ended() == 0


def test_real_time_is_asked_for_and_the_answer_is_in_the_status():
    with GuardianProcess(config(priority=10, cpu=0, lock_memory=1)) as guardian:
        guardian.start().ready()
        status = guardian.status()
        assert status.pid == guardian.process.pid
        policy = os.sched_getscheduler(status.pid)
        assert (policy == os.SCHED_FIFO) == (status.priority_errno == 0)
        assert (os.sched_getaffinity(status.pid) == {0}) == (status.affinity_errno == 0)
        assert guardian.exchange().mode == Mode.SAFE


def test_without_a_wish_the_scheduling_is_left_alone(guardian):
    status = guardian.status()
    assert (status.priority_errno, status.affinity_errno, status.lock_errno) == (0, 0, 0)
    assert os.sched_getscheduler(status.pid) == os.SCHED_OTHER


@pytest.mark.parametrize(
    "fields", [{}, {"priority": 10}, {"lock_memory": 1}, {"priority": 10, "lock_memory": 1, "cpu": 1023}]
)
def test_production_refuses_to_start_without_real_time(fields):
    with GuardianProcess(config(production=1, **fields)) as guardian:
        assert guardian.start().ended() == 1
        assert guardian.status().phase == Phase.REFUSED
        assert "production" in core.config_fault_name(guardian.status().start_fault)


def refused(guardian: GuardianProcess, arguments=None) -> str:
    assert guardian.start(arguments).ended() == 1
    assert guardian.status().phase == Phase.REFUSED
    return core.config_fault_name(guardian.status().start_fault)


def test_a_configuration_that_makes_no_sense_is_refused_with_its_reason():
    with GuardianProcess(config(session=0)) as guardian:
        assert refused(guardian) == "session is 0"


@pytest.mark.parametrize("index", [0, 2, 3, 4, 5, 6, 7, 8])
@pytest.mark.parametrize("replacement", ["9999", "-1", "", "1x", "99999999999999999999"])
def test_a_descriptor_that_is_none_is_refused(index, replacement):
    with GuardianProcess(config()) as guardian:
        arguments = [str(descriptor) for descriptor in guardian.fds]
        arguments[index] = replacement
        assert "cannot be mapped" in refused(guardian, arguments)


@pytest.mark.parametrize("index", [0, 2, 3, 4, 5, 6, 7])
def test_a_segment_of_another_kind_or_size_is_refused(index):
    with GuardianProcess(config()) as guardian:
        arguments = [str(descriptor) for descriptor in guardian.fds]
        arguments[index] = str(guardian.fds[1])
        assert "another header" in refused(guardian, arguments)
    with GuardianProcess(config()) as guardian:
        os.ftruncate(guardian.fds[index], 32)
        assert "too small" in refused(guardian)


def test_a_socket_that_is_not_connected_is_refused():
    with GuardianProcess(config()) as guardian:
        arguments = [str(descriptor) for descriptor in guardian.fds]
        arguments[8] = str(guardian.fds[0])
        assert "connected UDP socket" in refused(guardian, arguments)


@pytest.mark.parametrize("index", [8, 9])
def test_a_mailbox_that_is_none_is_refused(index):
    shm = config(port=PortKind.SHM)
    for replacement in ("9999", "-1", "1x"):
        with GuardianProcess(shm) as guardian:
            arguments = [str(descriptor) for descriptor in guardian.fds]
            arguments[index] = replacement
            assert "two mailboxes" in refused(guardian, arguments)
    with GuardianProcess(shm) as guardian:
        os.ftruncate(guardian.fds[index], 64)
        assert "too small" in refused(guardian)
    with GuardianProcess(shm) as guardian:
        guardian.robot.maps[index - 8][4:8] = b"\x02\x00\x00\x00"  # of another version
        assert "another header" in refused(guardian)


def test_a_port_of_the_other_kind_is_refused():
    with GuardianProcess(config(port=PortKind.SHM)) as guardian:
        assert "two mailboxes" in refused(guardian, [str(descriptor) for descriptor in guardian.fds[:-1]])
    with GuardianProcess(config()) as guardian:
        arguments = [str(descriptor) for descriptor in guardian.fds]
        assert "connected UDP socket" in refused(guardian, [*arguments, arguments[8]])


def test_a_driver_that_stopped_in_the_middle_of_a_state_costs_a_tick_and_no_more():
    with GuardianProcess(config(port=PortKind.SHM, state_timeout_ns=50 * MS, heartbeat_timeout_ns=0)) as guardian:
        guardian.start().ready()
        guardian.exchange()
        sequence = structs.DatagramMailbox.from_buffer(guardian.robot.maps[0])
        sequence.sequence |= 1
        before = time.monotonic_ns()
        command = guardian.command()
        assert time.monotonic_ns() - before < 1000 * MS
        assert (command.mode, command.source) == (Mode.SAFE, Source.SAFE)
        guardian.command()  # of the next tick, so that the status of that one is out
        assert guardian.status().states_lost >= 1
        guardian.exchange()  # whoever writes next begins where the dead one left off
        del sequence


@pytest.mark.parametrize("arguments", [[], ["1"], ["1"] * 8, ["1"] * 11, ["--help"], ["9999"] * 9])
def test_without_its_descriptors_it_does_nothing(arguments):
    done = subprocess.run([core.guardian_path(), *arguments], check=False, capture_output=True, text=True, timeout=5)
    assert done.returncode == 1
    assert done.stdout == ""
    assert ("edgerl run" in done.stderr) == (len(arguments) != 9)
