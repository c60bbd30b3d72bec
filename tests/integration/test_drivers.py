"""Drivers in processes of their own: they drive, and whatever goes wrong in one is a fault and never a command."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from edgerl.errors import DriverError, PortError
from edgerl.runtime.enums import Mode, Source
from edgerl.runtime.recording.read import read_recording
from edgerl.runtime.run import RunOptions, run_load
from tests import loop_parts
from tests.loop_parts import MS

ROOT = Path(__file__).parents[2]
SPEC = loop_parts.spec_of(20 * MS)
OPTIONS = RunOptions(arm=True)


pytestmark = pytest.mark.usefixtures("core")


@pytest.fixture(autouse=True)
def no_child_is_left():
    yield
    assert loop_parts.children() == {}


@pytest.fixture
def notes(tmp_path, monkeypatch):
    """What the driver did, as lines of a file."""
    path = tmp_path / "notes"
    path.touch()
    monkeypatch.setenv("DRIVER_NOTES", str(path))

    def read() -> list[str]:
        """A busy machine may let it lapse in between, too; once is once."""
        lines = path.read_text().split("\n")[:-1]
        return [line for line, before in zip(lines, ["", *lines], strict=False) if (line, before) != ("lapse", "lapse")]

    return read


def load(**envelope):
    envelope = {"valid_for_ns": 250 * MS, **envelope}  # so that only what is tested makes a driver lapse
    return loop_parts.load_of(SPEC, loop_parts.linear(SPEC, np.zeros(3), bias=0.5), **envelope)


def drive(name: str, path: Path, options: RunOptions = OPTIONS, on_progress=None):
    return run_load(load(), f"pkg:tests.loop_drivers:{name}", path, options, on_progress)


def by_source(result) -> list[tuple[str, str]]:
    return [(span.mode, span.source) for span in result.modes]


def when_active(ticks: int, action):
    """Return a callback that does something once the policy has been in charge for some ticks."""
    seen: list[int] = []

    def look(progress) -> None:
        if progress.mode == Mode.ACTIVE and len(seen) < 2:
            seen[1:] = []
            seen[:1] = seen[:1] or [progress.ticks]
            if progress.ticks - seen[0] >= ticks:
                seen.append(0)
                action()

    return look


@pytest.mark.parametrize(
    "name",
    [
        "Obedient",
        pytest.param("Lockstep", marks=pytest.mark.slow),
        pytest.param("OwnPace", marks=pytest.mark.slow),
        pytest.param("Chatty", marks=pytest.mark.slow),
    ],
)
def test_a_driver_is_opened_driven_made_safe_and_closed(name, tmp_path, notes):
    result = drive(name, tmp_path / "run.mcap")
    assert (result.ended, result.fault) == ("done", None)
    assert notes() == ["open", "driven with 0.5", "lapse", "close"]
    assert result.driver is not None
    assert (result.driver.left, result.driver.counts.dropped) == ("left", {})
    assert result.driver.counts.lapses >= 1
    assert result.driver.counts.commands >= 30
    assert not any("time-out of its drives" in one for one in result.warnings)  # others are of a busy machine
    assert result.counts.dropped == {}
    assert (result.lockstep_ticks > 0) == (name == "Lockstep")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("RaisesInRead", r"loop_drivers:RaisesInRead raised ZeroDivisionError: a bug of two lines \(loop_drivers\.py:"),
        ("RaisesInWrite", r"loop_drivers:RaisesInWrite raised KeyError: 'hip' \(loop_drivers\.py:\d+, in write\)"),
    ],
)
def test_an_exception_in_a_driver_is_a_fault_with_one_line_and_leaves_the_robot_safe(name, words, tmp_path, notes):
    result = drive(name, tmp_path / "run.mcap")
    assert result.ended == "fault"
    assert re.search(words, result.message), result.message
    assert notes() == ["open", "driven with 0.5", "lapse", "close"]
    assert by_source(result)[1] == ("ACTIVE", "policy")


@pytest.mark.slow
def test_a_driver_that_hangs_is_a_state_that_does_not_come(tmp_path):
    result = drive("HangsInRead", tmp_path / "run.mcap")
    assert (result.ended, result.fault) == ("fault", "bucket_fault")
    ladder = [("FALLBACK", "hold"), ("FALLBACK", "safe"), ("STOPPED", "lapse")]
    assert by_source(result)[-3:] == ladder
    rows = read_recording(tmp_path / "run.mcap").records
    assert (rows["source"][rows["from_mode"] == Mode.ACTIVE][-3:] == Source.HOLD).all()


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGSEGV, marks=pytest.mark.slow)])
def test_a_driver_that_dies_is_a_fault_and_named(number, tmp_path):
    kill = when_active(5, lambda: os.kill(loop_parts.children()["driver"], number))
    result = drive("Endless", tmp_path / "run.mcap", on_progress=kill)
    assert result.ended == "fault"
    assert f"was killed by {number.name}" in result.message


@pytest.mark.slow
def test_a_driver_that_is_stopped_goes_down_the_ladder_and_what_it_finds_later_has_lapsed(tmp_path, notes):
    stopped = []

    def stop() -> None:
        stopped.append(loop_parts.children()["driver"])
        os.kill(stopped[0], signal.SIGSTOP)

    look = when_active(5, stop)

    def on_progress(progress) -> None:
        look(progress)
        if progress.mode == Mode.STOPPED and stopped:
            os.kill(stopped[0], signal.SIGCONT)

    result = drive("Endless", tmp_path / "run.mcap", on_progress=on_progress)
    assert (result.ended, result.fault) == ("fault", "bucket_fault")
    assert by_source(result)[-1] == ("STOPPED", "lapse")
    assert notes()[-2:] == ["lapse", "close"]


@pytest.mark.slow
def test_a_value_that_a_driver_never_fills_keeps_the_policy_from_being_armed(tmp_path):
    options = RunOptions(arm=True, timeouts=loop_parts.impatient())
    with pytest.raises(Exception, match="state"):
        drive("ForgetsAChannel", tmp_path / "run.mcap", options)


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("Nothing", DriverError, "no attribute 'Nothing'.*Expected a class without arguments"),
        pytest.param("NoDriver", DriverError, "has no open, read, write, lapse, close", marks=pytest.mark.slow),
        pytest.param("Unmakable", DriverError, "missing 1 required positional argument", marks=pytest.mark.slow),
        ("NotThere", DriverError, r"raised ConnectionRefusedError: no robot at 10\.0\.0\.7 \(loop_drivers\.py"),
        pytest.param(
            "SaysNothing",
            DriverError,
            r"SaysNothing\.open\(\) returned None\. Expected a RobotDescription",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "FromTheFuture",
            PortError,
            "before the policy was in charge: .*A stamp grows, and is a time of",
            marks=pytest.mark.slow,
        ),
        ("StandsStill", PortError, "A stamp grows"),
        pytest.param("StrangeFlags", PortError, "flags 0x100", marks=pytest.mark.slow),
        ("OtherChannels", PortError, r"refused: layout mismatch \(this robot has no channel observation\[0\]\)"),
        pytest.param(
            "OtherPeriod",
            PortError,
            r"refused: period mismatch .the robot's period is 7000000 ns",
            marks=pytest.mark.slow,
        ),
        pytest.param("ShortTimeout", PortError, "own time-out is 1 ns", marks=pytest.mark.slow),
    ],
)
def test_a_driver_that_cannot_be_used_ends_in_one_clear_error(name, error, words, tmp_path):
    with pytest.raises(error, match=words):
        drive(name, tmp_path / "run.mcap")


@pytest.mark.slow
def test_a_module_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DriverError, match="No module named 'nowhere'"):
        run_load(load(), "pkg:nowhere:Robot", tmp_path / "run.mcap", OPTIONS)


@pytest.mark.slow
def test_a_driver_that_never_answers_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr("edgerl.runtime.connect.DRIVER_TIMEOUT_S", 1.0)
    with pytest.raises(PortError, match=r"did not answer within 1 s\. Its open\(\) may wait"):
        drive("Silent", tmp_path / "run.mcap")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_drives_without_a_time_out_are_warned_of_and_refused_in_production(tmp_path):
    result = drive("NoTimeout", tmp_path / "run.mcap")
    assert len([one for one in result.warnings if "declares no time-out of its drives" in one]) == 1
    with pytest.raises(PortError, match=r"production profile does not take this robot.*declares no time-out"):
        drive("NoTimeout", tmp_path / "other.mcap", RunOptions(arm=True, production=True))


def test_a_key_for_a_driver_is_refused(tmp_path):
    with pytest.raises(PortError, match=r"not on UDP\. Leave it away"):
        drive("Obedient", tmp_path / "run.mcap", RunOptions(arm=True, robot_key=tmp_path / "key"))


@pytest.mark.slow
def test_death_of_the_guardian_makes_the_driver_lapse(tmp_path, notes):
    kill = when_active(5, lambda: os.kill(loop_parts.children()["guardian"], signal.SIGKILL))
    result = drive("Endless", tmp_path / "run.mcap", on_progress=kill)
    assert result.ended == "fault"
    assert "guardian died: it was killed by SIGKILL" in result.message
    assert notes() == ["open", "driven with 0.5", "lapse", "close"]


RUN = """
import sys
from pathlib import Path
from edgerl.envelope import Degrade
from edgerl.runtime.run import RunOptions, run_load
from tests.integration.test_drivers import load
options = RunOptions(arm=True, heartbeat_timeout_ns=300_000_000)
show = lambda progress: print(int(progress.mode), flush=True)
run_load(load(degrade=Degrade(19, 20)), sys.argv[1], Path(sys.argv[2]), options, show)
"""


@contextmanager
def running(robot: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    """A run in a process of its own, with its policy in charge."""
    command = [sys.executable, "-c", RUN, robot, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            assert any(line.strip() == str(int(Mode.ACTIVE)) for line in process.stdout)
            yield process
        finally:
            process.kill()


@pytest.mark.slow
def test_a_supervisor_that_is_killed_leaves_a_robot_that_is_made_safe_and_no_process(tmp_path, notes):
    with running("pkg:tests.loop_drivers:Endless", tmp_path / "run.mcap") as process:
        process.kill()
        process.wait()
        until = time.monotonic() + 15
        while notes()[-1:] != ["close"]:
            assert time.monotonic() < until
            time.sleep(0.05)
    assert notes() == ["open", "driven with 0.5", "lapse", "close"]


@contextmanager
def served(name: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A driver that waits for controllers."""
    command = [sys.executable, "-m", "edgerl.runtime.driver_process", "--robot", "tests.loop_drivers:Endless"]
    with subprocess.Popen(
        [*command, "--serve", name, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr is not None
            assert "waits at" in process.stderr.readline()
            yield process
        finally:
            process.kill()


@pytest.fixture
def runtime_folder(tmp_path, monkeypatch):
    folder = Path(os.environ.get("TMPDIR", "/tmp")) / f"edgerl-test-{os.getpid()}"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(folder))
    yield folder
    assert not list(folder.iterdir())
    folder.rmdir()


@pytest.mark.slow
def test_a_driver_that_waits_serves_one_controller_after_the_other(runtime_folder, tmp_path, notes):
    with served("walker") as driver:
        for number in range(2):
            result = run_load(
                load(), "shm:walker", tmp_path / f"{number}.mcap", RunOptions(arm=True, ticks=10)
            )  # fmt: skip
            assert (result.ended, result.fault) == ("ticks", None)
            until = time.monotonic() + 5
            while notes()[-1] != "close" and time.monotonic() < until:
                time.sleep(0.01)
        driver.terminate()
        assert driver.wait(10) == 0
        assert driver.stdout.read().count('"left":"left"') == 2
    assert notes() == ["open", "driven with 0.5", "lapse", "close"] * 2


def test_a_second_guardian_on_one_driver_is_refused_and_the_first_notices_nothing(runtime_folder, tmp_path):
    with served("walker") as driver:
        with running("shm:walker", tmp_path / "first.mcap") as first:
            with pytest.raises(PortError, match=r"refused: busy .another controller has this driver"):
                run_load(load(), "shm:walker", tmp_path / "second.mcap", OPTIONS)
            assert not (tmp_path / "second.mcap").exists()
            first.send_signal(signal.SIGINT)
            first.wait(20)
        driver.terminate()
        driver.wait(10)
    rows = read_recording(tmp_path / "first.mcap").records
    active = rows[rows["from_mode"] == Mode.ACTIVE]
    assert (active["source"][active["mode"] == Mode.ACTIVE] == Source.POLICY).mean() > 0.5  # the machine may be busy
    assert rows["mode"].max() == Mode.STOPPED and (rows["mode"] != Mode.FALLBACK).all()


@pytest.mark.slow
def test_a_driver_that_is_told_to_end_says_bye_which_is_a_fault(runtime_folder, tmp_path, notes):
    with served("walker") as driver:
        stop = when_active(5, driver.terminate)
        result = run_load(load(), "shm:walker", tmp_path / "run.mcap", OPTIONS, stop)
        assert driver.wait(10) == 0
    assert result.ended == "fault"
    assert result.fault == "state_fault" or "BYE" in result.message
    assert notes() == ["open", "driven with 0.5", "lapse", "close"]


@pytest.mark.slow
def test_a_controller_that_asks_for_nothing_or_nonsense_costs_a_moment(runtime_folder, tmp_path):
    with served("walker") as driver:
        for said in (b"noise", b"ERLP" * 100, b""):
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stranger:
                stranger.connect(str(runtime_folder / "walker.driver"))
                if said:
                    stranger.send(said)
        result = run_load(load(), "shm:walker", tmp_path / "run.mcap", RunOptions(arm=True, ticks=5))
        assert result.ended == "ticks"
        driver.terminate()
        driver.wait(10)


@pytest.mark.slow
def test_a_name_that_is_taken_or_unknown_is_said(runtime_folder, tmp_path):
    with served("walker") as first:
        command = [sys.executable, "-m", "edgerl.runtime.driver_process", "--robot", "tests.loop_drivers:Endless"]
        second = subprocess.run(
            [*command, "--serve", "walker"], capture_output=True, text=True, check=False, timeout=20
        )
        assert second.returncode == 1
        assert "walker.driver already. End that driver" in second.stderr
        with pytest.raises(PortError, match=r"No driver waits at .*nobody\.driver"):
            run_load(load(), "shm:nobody", tmp_path / "run.mcap", OPTIONS)
        first.terminate()
        first.wait(10)
