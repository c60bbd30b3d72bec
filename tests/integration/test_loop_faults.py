"""Faults in real processes: the guardian must react as its table says, and the robot must come to rest by itself."""

from __future__ import annotations

import itertools
import mmap
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from edgerl.runtime import wire
from edgerl.runtime.enums import Event, Mode, Source
from edgerl.runtime.recording.read import read_recording
from edgerl.runtime.run import RunOptions, configure, run_load
from edgerl.runtime.segments import share
from edgerl.runtime.wire import Header, StateFlag
from tests import loop_parts
from tests.loop_parts import MS, ScriptedRobot

PENDULUM = loop_parts.spec_of(20 * MS)
REALTIME = RunOptions()
LOCKSTEP = RunOptions(realtime_s=0.0, arm=True)
NOTHING = np.zeros(3, np.float32)


pytestmark = pytest.mark.usefixtures("core")


@pytest.fixture(autouse=True)
def no_child_is_left():
    yield
    assert loop_parts.children() == {}


def constant(value: float = 0.5, **envelope):
    return loop_parts.load_of(PENDULUM, loop_parts.linear(PENDULUM, np.zeros(3), bias=value), **envelope)


class After:
    """Does something once the run has been ACTIVE for some ticks."""

    def __init__(self, ticks: int, action) -> None:
        self.ticks, self.action, self.first = ticks, action, None

    def __call__(self, progress) -> None:
        if progress.mode != Mode.ACTIVE or self.action is None:
            return
        self.first = progress.ticks if self.first is None else self.first
        if progress.ticks - self.first >= self.ticks:
            action, self.action = self.action, None
            action()


def signalled(name: str, number: signal.Signals):
    return lambda: os.kill(loop_parts.children()[name], number)


def by_source(result) -> list[tuple[str, str]]:
    return [(span.mode, span.source) for span in result.modes]


def assert_went_down_the_ladder(result, path: Path) -> None:
    """ACTIVE ends in FALLBACK with HOLD, SAFE, and then STOPPED with nothing sent; the robot saw the same."""
    ladder = [("FALLBACK", "hold"), ("FALLBACK", "safe"), ("STOPPED", "lapse")]
    assert by_source(result)[-4:-1] == ladder or by_source(result)[-3:] == ladder
    rows = read_recording(path).records
    held = rows[(rows["mode"] == Mode.FALLBACK) & (rows["source"] == Source.HOLD)]
    safe = rows[(rows["mode"] == Mode.FALLBACK) & (rows["source"] == Source.SAFE)]
    assert (held["command"] == np.float32(0.5)).all()
    assert (safe["command"] == 0).all()
    assert 1 <= len(held) <= 3
    assert 1 <= len(safe) <= 5
    (episode,) = result.episodes
    applied = [(span.mode, span.source) for span in episode.applied]
    assert applied[-2:] == [(Mode.FALLBACK, Source.SAFE), (None, None)]
    assert (Mode.FALLBACK, Source.HOLD) in applied


def test_sigkill_of_the_policy_ends_in_the_ladder_and_the_robot_comes_to_rest(tmp_path) -> None:
    kill = After(10, signalled("policy", signal.SIGKILL))
    result = run_load(constant(), "gym:loop_environment:Clockwork-v0", tmp_path / "run", REALTIME, kill)
    assert (result.ended, result.fault) == ("fault", "policy_fault")
    assert "SIGKILL" in result.message
    assert_went_down_the_ladder(result, tmp_path / "run")


def test_sigstop_of_the_policy_fills_the_bucket_and_ends_in_the_ladder(tmp_path) -> None:
    stop = After(10, signalled("policy", signal.SIGSTOP))
    result = run_load(constant(), "gym:loop_environment:Clockwork-v0", tmp_path / "run", REALTIME, stop)
    assert (result.ended, result.fault) == ("fault", "bucket_fault")
    assert_went_down_the_ladder(result, tmp_path / "run")
    rows = read_recording(tmp_path / "run").records
    misses = 1 << Event.ACTION_LATE | 1 << Event.STATE_LOST  # a busy machine may add lost states to the late actions
    missed = rows[(rows["from_mode"] == Mode.ACTIVE) & (rows["events"] & misses > 0)]
    assert len(missed) >= 3
    assert (missed["events"] & (1 << Event.ACTION_LATE) > 0).any()
    assert (missed["source"] == Source.HOLD).all()  # the tick that misses has a command out all the same
    assert (missed["write_ns"] > 0).all()


def test_death_of_the_guardian_leaves_the_robot_to_its_own_reaction(tmp_path) -> None:
    kill = After(10, signalled("guardian", signal.SIGKILL))
    result = run_load(constant(), "gym:loop_environment:Clockwork-v0", tmp_path / "run", REALTIME, kill)
    assert result.ended == "fault"
    assert "guardian died: it was killed by SIGKILL" in result.message
    (episode,) = result.episodes
    assert (episode.applied[-1].mode, episode.applied[-2].mode) == (None, Mode.ACTIVE)
    assert episode.lapsed >= 1


def test_nan_of_the_policy_never_reaches_the_robot(tmp_path) -> None:
    load = loop_parts.load_of(PENDULUM, loop_parts.square_root(PENDULUM))

    def script(step: int):
        return np.array([1.0 - 0.1 * step, 0, 0]), StateFlag.EPISODE_START if step == 0 else StateFlag(0), []

    with ScriptedRobot(load, script) as robot:
        result = run_load(load, robot.name, tmp_path / "run", LOCKSTEP)
    assert (result.ended, result.fault) == ("fault", "bucket_fault")
    assert result.misses.rejected >= 1
    assert result.counts.channels[0].not_finite == result.counts.channels[0].rejected >= 1
    assert robot.port.dropped == {}
    assert all(np.isfinite(command.values).all() for command in robot.commands)
    held = [command for command in robot.driven if command.source == Source.HOLD]
    assert [float(command.values[0]) for command in held[:2]] == pytest.approx([0.0, 0.0], abs=1e-3)  # sqrt(0), held
    rows = read_recording(tmp_path / "run").records
    rejected = rows[rows["rejected"][:, 0] == 1]
    assert np.isnan(rejected["action"]).all()  # as the policy said it
    assert np.isfinite(rejected["command"]).all()


@pytest.mark.parametrize(
    ("backend", "words"),
    [("raising", "ArithmeticError: one inference too many"), ("hanging", "SIGKILL")],
)
def test_a_policy_that_raises_or_computes_without_end_is_named(backend, words, tmp_path) -> None:
    load = loop_parts.load_of(PENDULUM, loop_parts.linear(PENDULUM, np.zeros(3), bias=0.5), backend=backend)
    if backend == "hanging" and os.geteuid() != 0:
        pytest.skip("the kernel's limit on real-time computing needs real-time priority, which needs root")
    result = run_load(load, "gym:loop_environment:Clockwork-v0", tmp_path / "run", REALTIME)
    assert result.ended == "fault"
    assert result.fault in ("policy_fault", "bucket_fault")
    assert_went_down_the_ladder(result, tmp_path / "run")
    if result.fault == "policy_fault":
        assert words in result.message


def test_bad_datagrams_are_counted_and_change_nothing(tmp_path) -> None:
    load = constant()
    good = wire.encode(wire.State(Header(77, 1, 1), StateFlag(0), NOTHING))
    wrong_checksum = good[:-1] + bytes([good[-1] ^ 1])

    def script(step: int):
        hostile = [b"noise", good, wrong_checksum, b"ERLQ" + good[4:], bytes(1400)]
        return (NOTHING, StateFlag(0), hostile) if step < 100 else None

    with ScriptedRobot(load, script) as robot:
        result = run_load(load, robot.name, tmp_path / "run", LOCKSTEP)
    assert result.ended == "done"
    assert (result.misses.states_lost, result.misses.rejected) == (0, 0)
    assert {command.values[0] for command in robot.driven} == {np.float32(0.5)}
    dropped = result.counts.dropped
    assert min(dropped["length"], dropped["session"], dropped["crc"], dropped["magic"]) >= 100


@pytest.mark.parametrize(
    ("state", "flags", "fault", "ended"),
    [
        (np.array([np.nan, 0, 0]), StateFlag(0), "state_fault", "fault"),
        (NOTHING, StateFlag.ESTOP, "estop", "estop"),
    ],
)
def test_what_the_robot_reports_stops_the_policy_in_the_same_tick(state, flags, fault, ended, tmp_path) -> None:
    load = constant()

    def script(step: int):
        return (NOTHING, StateFlag(0), []) if step < 20 else (state, flags, [])

    with ScriptedRobot(load, script) as robot:
        result = run_load(load, robot.name, tmp_path / "run", LOCKSTEP)
    assert (result.ended, result.fault) == (ended, fault)
    assert len(robot.driven) == 20
    rows = read_recording(tmp_path / "run").records
    fault_row = rows[rows["from_mode"] == Mode.ACTIVE][-1]
    assert fault_row["mode"] != Mode.ACTIVE
    assert fault_row["source"] != Source.POLICY


def test_a_robot_that_leaves_is_a_fault_with_its_reason(tmp_path) -> None:
    load = constant()

    def script(step: int):
        bye = [wire.encode(wire.Bye(Header(robot.port.owner.session, 1, 1), 0))] if step == 20 else []
        return NOTHING, StateFlag(0), bye

    with ScriptedRobot(load, script) as robot:
        result = run_load(load, robot.name, tmp_path / "run", LOCKSTEP)
    assert (result.ended, result.fault) == ("fault", "state_fault")
    assert "BYE" in result.message


def test_one_interrupt_stops_in_order(tmp_path) -> None:
    before = signal.getsignal(signal.SIGINT)  # ignored where a shell runs the tests in the background
    interrupt = After(5, lambda: os.kill(os.getpid(), signal.SIGINT))
    result = run_load(constant(), "gym:loop_environment:Clockwork-v0", tmp_path / "run", REALTIME, interrupt)
    assert (result.ended, result.fault) == ("stopped", None)
    assert by_source(result)[-3:] == [("ACTIVE", "policy"), ("SAFE", "safe"), ("STOPPED", "safe")]
    assert signal.getsignal(signal.SIGINT) is before


def test_two_interrupts_are_an_estop(tmp_path) -> None:
    def twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)

    result = run_load(constant(), "gym:loop_environment:Clockwork-v0", tmp_path / "run", REALTIME, After(5, twice))
    assert (result.ended, result.fault) == ("estop", "estop")
    assert read_recording(tmp_path / "run").complete


RUN = """
import sys, numpy as np
from pathlib import Path
from edgerl.runtime.run import RunOptions, run_load
from tests import loop_parts
spec = loop_parts.spec_of(20_000_000)
load = loop_parts.load_of(spec, loop_parts.linear(spec, np.zeros(3), bias=0.5))
options = RunOptions(heartbeat_timeout_ns=300_000_000)
show = lambda progress: print(int(progress.mode), flush=True)
run_load(load, "gym:loop_environment:Clockwork-v0", Path(sys.argv[1]), options, show)
"""


@pytest.mark.parametrize(("number", "group"), [(signal.SIGINT, True), (signal.SIGKILL, False)])
def test_no_process_outlives_its_supervisor(number, group, tmp_path) -> None:
    """Ctrl-C as a terminal sends it, to the whole group; and a supervisor that has no chance to clean up."""
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join([root, os.environ["PYTHONPATH"]])
    command = [sys.executable, "-c", RUN, str(tmp_path / "run")]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True, env={**os.environ, "PYTHONPATH": path}
    )
    try:
        assert process.stdout is not None
        active = (line for line in process.stdout if line.strip() == "2")
        assert len(list(itertools.islice(active, 4))) == 4  # 0.3 s: more than what a killed supervisor had not written
        family = descendants(process.pid)
        assert len(family) == 3
        (os.killpg if group else os.kill)(process.pid, number)
        process.wait(10)
        until = time.monotonic() + 5
        while any(alive(pid) for pid in family) and time.monotonic() < until:
            time.sleep(0.01)
        assert not [pid for pid in family if alive(pid)]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    recording = read_recording(tmp_path / "run")
    assert recording.complete is group
    assert (recording.records["mode"] == Mode.ACTIVE).any()  # also without a chance to clean up
    if group:
        assert recording.records["mode"][-1] == Mode.STOPPED


def descendants(pid: int) -> list[int]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            found += [int(folder.name)] if parent == pid else []
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_nobody_can_resize_shared_memory_or_write_what_the_guardian_alone_writes() -> None:
    load = constant()
    config = configure(load, RunOptions())
    config.session = 1
    with share(config) as memory:
        memory.seal_against_new_writers()
        segments = (memory.status, memory.observation, memory.ring, memory.requests, *memory.actions)
        for fd in (memory.config, *(segment.fd for segment in segments)):
            with pytest.raises(PermissionError):
                os.ftruncate(fd, 1)
            mmap.mmap(fd, 0, prot=mmap.PROT_READ).close()
        for fd in (memory.config, memory.status.fd, memory.observation.fd, memory.ring.fd):
            with pytest.raises(PermissionError):
                mmap.mmap(fd, 0)
            with pytest.raises(PermissionError):
                os.pwrite(fd, b"x", 0)
        mmap.mmap(memory.actions[0].fd, 0).close()
