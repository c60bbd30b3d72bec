"""Runs that are asked from outside while they go on: real processes, a real socket, the real guardian."""

from __future__ import annotations

import json
import os
import pwd
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgerl.bundle.load import load_bundle
from edgerl.envelope.operator import Operator
from edgerl.errors import LoopError, PlatformError, RequestRefused, UnreadableFile
from edgerl.runtime.control.client import connect
from edgerl.runtime.control.estop import send_estop
from edgerl.runtime.enums import Mode, Source
from edgerl.runtime.layout import layout_of
from edgerl.runtime.recording.read import read_recording
from edgerl.runtime.restarts import RestartLimits
from edgerl.runtime.robots import PlantProcess, PlantSettings
from edgerl.runtime.run import RunOptions, run_load
from tests import loop_parts
from tests.asked_runs import OPTIONS, Going, command, going, policies
from tests.loop_parts import MS

CLOCKWORK = "loop_environment:Clockwork-v0"
PENDULUM = loop_parts.spec_of(20 * MS)
ME = pwd.getpwuid(os.getuid()).pw_name


pytestmark = pytest.mark.usefixtures("core")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    place = tmp_path / "r"
    place.mkdir(mode=0o700)
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(place))
    return place


@pytest.fixture(autouse=True)
def no_child_is_left():
    yield
    assert loop_parts.children() == {}


@pytest.fixture(scope="module")
def load():
    return loop_parts.load_of(PENDULUM, loop_parts.linear(PENDULUM, np.zeros(3), bias=0.5))


@pytest.fixture
def robot(load) -> Iterator[str]:
    """A robot that was there before the run, as a real one is."""
    with PlantProcess(CLOCKWORK, layout_of(load.engine.spec), PlantSettings(episodes=1000)) as plant:
        yield f"udp:127.0.0.1:{plant.address[1]}"


def test_a_real_robot_stands_in_safe_until_somebody_arms_it(load, robot, tmp_path) -> None:
    with going(load, robot, tmp_path / "run") as run:
        waiting = run.stage("waiting")
        assert (waiting.loop.mode, waiting.loop.policy.state, waiting.loop.armed) == ("SAFE", "ready", 0)
        assert (waiting.robot, waiting.owner) == (robot, None)
        time.sleep(0.2)
        assert run.client.status().loop.armed == 0
        armed = run.client.arm()
        assert (armed.loop.stage, armed.loop.mode, armed.owner is not None) == ("running", "ACTIVE", True)
        run.client.disarm()
        assert run.stage("waiting").loop.mode == "SAFE"
        assert run.client.arm().loop.armed == 2
        run.client.stop()
        result = run.end()
    assert (result.ended, result.fault) == ("stopped", None)
    rows = read_recording(tmp_path / "run").records
    first = int(np.argmax(rows["mode"] == Mode.ACTIVE))
    assert first > 10
    assert set(rows["source"][1:first].tolist()) <= {int(Source.SAFE), int(Source.LAPSE)}
    modes = [span.mode for span in result.modes if span.mode != "STOPPED"]
    assert [mode for index, mode in enumerate(modes) if index == 0 or modes[index - 1] != mode] == [
        "SAFE", "ACTIVE", "SAFE", "ACTIVE", "SAFE",
    ]  # fmt: skip


def test_after_an_estop_the_robot_is_kept_and_rearm_goes_on(load, robot, tmp_path) -> None:
    """Longer than the robot keeps a session in which it hears nothing."""
    with going(load, robot, tmp_path / "run") as run:
        run.stage("waiting")
        run.client.arm()
        send_estop()
        stopped = run.stage("stopped")
        assert (stopped.loop.mode, stopped.loop.fault) == ("STOPPED", "estop")
        assert f"an e-stop came from {ME} (uid {os.getuid()}, pid " in stopped.loop.message
        with pytest.raises(RequestRefused, match="edgerl rearm"):
            run.client.arm()
        time.sleep(2.5)
        assert run.client.status().loop.mode == "STOPPED"
        assert run.client.rearm().loop.mode == "ACTIVE"
        time.sleep(0.1)
        assert run.client.status().loop.fault == ""
        run.client.stop()
        result = run.end()
    assert (result.ended, result.fault) == ("stopped", None)


def test_a_reset_leads_to_safe_and_no_further(load, robot, tmp_path) -> None:
    with going(load, robot, tmp_path / "run") as run:
        run.stage("waiting")
        run.client.arm()
        run.client.estop()
        run.stage("stopped")
        run.client.reset()
        assert run.stage("waiting").loop.mode == "SAFE"
        time.sleep(0.2)
        assert run.client.status().loop.armed == 1


def test_a_run_that_is_ended_while_stopped_says_why_it_was(load, robot, tmp_path) -> None:
    options = replace(OPTIONS, restarts=RestartLimits(count=0))
    with going(load, robot, tmp_path / "run", options) as run:
        run.stage("waiting")
        run.client.arm()
        os.kill(loop_parts.children()["policy"], signal.SIGKILL)
        stopped = run.stage("stopped")
        assert stopped.loop.fault == "policy_fault"
        assert stopped.loop.policy.state == "was killed by SIGKILL; it is not started again"
        with pytest.raises(RequestRefused, match=r"no policy to arm: it was killed by SIGKILL.*Start the run again"):
            run.client.rearm()
        run.client.stop()
        result = run.end()
    assert (result.ended, result.fault) == ("fault", "policy_fault")
    assert "SIGKILL" in result.message


@pytest.mark.parametrize("spare", [False, True])
def test_a_policy_that_was_killed_is_replaced_and_the_robot_can_be_armed_again(load, robot, tmp_path, spare) -> None:
    with going(load, robot, tmp_path / "run", replace(OPTIONS, spare=spare)) as run:
        run.stage("waiting")
        if spare:
            run.until(lambda _: len(policies()) == 2)
            time.sleep(1.0)  # until it is warm; a resting one tells nobody
        run.client.arm()
        os.kill(min(policies()), signal.SIGKILL)
        stopped = run.stage("stopped")
        assert "SIGKILL" in stopped.loop.message
        if not spare:
            with pytest.raises(RequestRefused, match=r"no policy to arm: it .*Ask again when"):
                run.client.rearm()
        run.until(lambda status: status.loop.policy.state == "ready")
        time.sleep(0.2)
        assert run.client.status().loop.mode != "ACTIVE"  # a successor is no reason to move again
        rearmed = run.client.rearm()
        assert (rearmed.loop.mode, rearmed.loop.fault) == ("ACTIVE", "")
        if not spare:
            assert rearmed.loop.restarts == 1
        run.client.stop()
        assert run.end().ended == "stopped"


def test_a_policy_that_dies_again_and_again_is_given_up(load, robot, tmp_path) -> None:
    options = replace(OPTIONS, restarts=RestartLimits(count=1, delay_s=0.0))
    with going(load, robot, tmp_path / "run", options) as run:
        run.stage("waiting")
        run.client.arm()
        for _ in range(2):
            run.until(lambda status: status.loop.policy.state == "ready")
            os.kill(min(policies()), signal.SIGKILL)
            run.until(lambda status: status.loop.policy.state != "ready")
        assert "died 2 times within 60 s and is not started again" in run.client.status().loop.policy.state
        with pytest.raises(RequestRefused, match="no policy to arm"):
            run.client.rearm()


@pytest.fixture(scope="module")
def bundles(tmp_path_factory) -> dict[str, Path]:
    """Bundles of the same policy and of others, as files."""
    folder = tmp_path_factory.mktemp("bundles")
    narrow = loop_parts.spec_of(20 * MS, -1.0, 1.0)
    return {
        "better": loop_parts.save_packed(PENDULUM, folder / "better.edgerl", bias=0.25),
        "narrow": loop_parts.save_packed(narrow, folder / "narrow.edgerl", bias=0.5),
    }


def test_a_candidate_is_loaded_while_the_robot_is_driven_and_dropped(load, robot, bundles, tmp_path) -> None:
    with going(load, robot, tmp_path / "run") as run:
        run.stage("waiting")
        run.client.arm()
        loaded = run.client.load_policy(bundles["better"])
        assert (loaded.loop.candidate.state, loaded.loop.mode) == ("ready", "ACTIVE")
        assert loaded.loop.candidate.bundle == load_bundle(bundles["better"]).digest
        assert len(policies()) == 2
        dropped = run.client.drop_policy()
        assert (dropped.loop.candidate.state, dropped.loop.candidate.bundle) == ("", "")
        assert len(policies()) == 1
        with pytest.raises(RequestRefused, match="No candidate can take over: there is none"):
            run.client.switch_policy()
        with pytest.raises(RequestRefused, match=r"envelope\.channels\[0\]\.high is 1\.0, the run's 2\.0"):
            run.client.load_policy(bundles["narrow"])
        with pytest.raises(UnreadableFile):
            run.client.load_policy(tmp_path / "none.edgerl")
        damaged = tmp_path / "damaged.edgerl"
        damaged.write_bytes(bundles["better"].read_bytes()[:-100])
        with pytest.raises(RequestRefused, match="the bundle that was sent"):
            run.client.load_policy(damaged)
        run.client._socket.send(b'{"do": "load"}')
        assert b"No bundle came with the request" in run.client._socket.recv(65536)
        status = run.client.status()
        assert (status.loop.mode, status.loop.fault, len(policies())) == ("ACTIVE", "", 1)
        run.client.stop()
        assert run.end().ended == "stopped"


def test_a_dead_mans_switch_must_be_held_to_arm_and_to_stay_armed(robot, tmp_path) -> None:
    operator = Operator((), 300 * MS, dead_man=True)
    load = loop_parts.load_of(PENDULUM, loop_parts.linear(PENDULUM, np.zeros(3), bias=0.5), operator=operator)
    with going(load, robot, tmp_path / "run") as run:
        run.stage("waiting")
        with pytest.raises(RequestRefused, match="dead man"):
            run.client.arm()
        held = threading.Event()
        held.set()

        def hold() -> None:
            with connect("robot") as operator:
                while held.is_set():
                    operator.operate(dead_man=True)
                    time.sleep(0.05)

        thread = threading.Thread(target=hold)
        thread.start()
        try:
            assert run.client.arm().loop.mode == "ACTIVE"
            time.sleep(0.6)
            assert run.client.status().loop.mode == "ACTIVE"
        finally:
            held.clear()
            thread.join()
        assert run.stage("stopped").loop.fault == "dead_man"


def test_an_estop_ends_a_run_that_does_not_stay_and_names_who(load, tmp_path) -> None:
    with going(load, f"gym:{CLOCKWORK}", tmp_path / "run") as run:
        run.stage("running")
        run.client.estop()
        result = run.end()
    assert (result.ended, result.fault) == ("estop", "estop")
    assert f"an e-stop came from {ME} (uid {os.getuid()}, pid " in result.message
    rows = read_recording(tmp_path / "run").records
    assert rows["mode"][-1] == Mode.STOPPED
    assert rows["source"][rows["mode"] == Mode.STOPPED][0] == Source.SAFE  # once more, then nothing


def test_an_estop_while_the_run_starts_lets_it_never_arm(load, tmp_path) -> None:
    with going(load, f"gym:{CLOCKWORK}", tmp_path / "run") as run:
        run.client.estop()
        result = run.end()
    assert (result.ended, result.fault) == ("estop", "estop")
    rows = read_recording(tmp_path / "run").records
    assert not (rows["mode"] == Mode.ACTIVE).any()


def test_a_run_that_starts_can_be_stopped(load, tmp_path) -> None:
    run = Going(load, f"gym:{CLOCKWORK}", tmp_path / "run", OPTIONS)
    with pytest.raises(RequestRefused, match="is starting"):
        run.client.arm()
    run.client.stop()
    run._thread.join(20.0)
    run.client.close()
    assert isinstance(run.error, KeyboardInterrupt)


def test_a_gym_robot_may_wait_too_and_be_disarmed(load, tmp_path) -> None:
    with going(load, f"gym:{CLOCKWORK}", tmp_path / "run", replace(OPTIONS, arm=False)) as run:
        run.stage("waiting")
        run.client.arm()
        run.client.disarm()
        run.stage("waiting")
        run.client.stop()
        assert run.end().ended == "stopped"


def test_a_robot_that_leaves_ends_a_run_that_waits(load, tmp_path) -> None:
    with (
        PlantProcess(CLOCKWORK, layout_of(PENDULUM), PlantSettings()) as plant,
        going(load, f"udp:127.0.0.1:{plant.address[1]}", tmp_path / "run") as run,
    ):
        run.stage("waiting")
        plant._child.send(signal.SIGINT)
        result = run.end()
    assert result.ended == "fault"
    assert "The robot left" in result.message


def test_a_robot_that_falls_silent_ends_a_run_that_waits(load, robot, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("edgerl.runtime.drive.SILENT_S", 0.5)
    with going(load, robot, tmp_path / "run") as run:
        run.stage("waiting")
        os.kill(loop_parts.children()["plant"], signal.SIGSTOP)
        result = run.end()
        os.kill(loop_parts.children()["plant"], signal.SIGCONT)
    assert result.ended == "fault"
    assert "sent no state for 0.5 s" in result.message


def test_a_guardian_that_does_not_arm_is_no_end_where_a_person_asked(robot, tmp_path) -> None:
    wide, narrow = PENDULUM, loop_parts.spec_of(20 * MS, -1.0, 1.0)
    load = loop_parts.load_of(wide, loop_parts.linear(wide, np.zeros(3), bias=1.9))
    load = replace(load, envelope=loop_parts.quick_envelope(narrow))
    options = replace(OPTIONS, timeouts=replace(OPTIONS.timeouts, arm_s=5.0))
    with going(load, robot, tmp_path / "run", options) as run:
        run.stage("waiting")
        with pytest.raises(RequestRefused, match=r"not armed.*mode SAFE.*rejected"):
            run.client.arm()
        assert run.client.status().loop.stage == "waiting"


def test_a_run_that_nobody_could_arm_is_refused(load, tmp_path) -> None:
    with pytest.raises(LoopError, match=r"Nobody could arm.*RunOptions\.control"):
        run_load(load, "udp:127.0.0.1:9", tmp_path / "run", RunOptions())
    with pytest.raises(LoopError, match="Nobody could reset"):
        run_load(load, "udp:127.0.0.1:9", tmp_path / "run", RunOptions(arm=True, stay=True))


@pytest.mark.parametrize(("killed", "end"), [(None, b"V"), ("guardian", b"\0"), ("policy", b"V")])
def test_the_machines_watchdog_is_stroked_and_outlives_a_guardian_that_died(load, tmp_path, killed, end) -> None:
    device = tmp_path / "watchdog"
    os.mkfifo(device)
    reader = os.open(device, os.O_RDONLY | os.O_NONBLOCK)
    with going(load, f"gym:{CLOCKWORK}", tmp_path / "run", replace(OPTIONS, watchdog=str(device))) as run:
        run.stage("running")
        if killed:
            os.kill(loop_parts.children()[killed], signal.SIGKILL)
        else:
            run.client.stop()
        run.end()
    said = os.read(reader, 1000)
    os.close(reader)
    assert said[:1] == b"\0"
    assert said[-1:] == end


def test_a_watchdog_that_is_not_there_refuses_the_run(load, tmp_path) -> None:
    options = replace(OPTIONS, watchdog=str(tmp_path / "none"))
    with pytest.raises(PlatformError, match="cannot be opened"):
        run_load(load, f"gym:{CLOCKWORK}", tmp_path / "run", options)


def test_the_commands_ask_and_answer_as_the_page_says(load, robot, tmp_path) -> None:
    with going(load, robot, tmp_path / "run") as run:
        run.stage("waiting")
        status = command("status", "--json")
        assert json.loads(status.stdout)["loop"]["mode"] == "SAFE"
        assert command("arm", "--as", "alice").returncode == 0
        refused = command("disarm", "--as", "bob", "--json")
        assert (refused.returncode, json.loads(refused.stdout)["error"]["type"]) == (3, "RequestRefused")
        stopped = command("estop")
        assert (stopped.returncode, stopped.stderr) == (0, "e-stop: robot\n")
        run.stage("stopped")
        assert "alice" in command("status").stderr
        assert command("rearm", "--as", "alice").returncode == 0
        assert command("own", "--take", "--as", "bob").returncode == 0
        assert command("release", "--as", "bob").returncode == 0
        assert command("estop", "--name", "nobody").returncode == 1
        assert command("stop").returncode == 0
        run.end()
    gone = command("status")
    assert (gone.returncode, "No run is alive" in gone.stderr) == (1, True)
