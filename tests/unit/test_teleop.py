"""The operator's keys: what they mean, and a real terminal that is given back as it was."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from edgerl.errors import ControlError
from edgerl.runtime.control.client import connect
from edgerl.runtime.control.listener import ControlOptions
from edgerl.runtime.control.messages import LoopStatus, OperatorStatus, OperatorValueStatus, RunStatus
from edgerl.runtime.control.server import ControlServer
from edgerl.teleop import HOLD_S, Sticks, drive, keys_in, play

LIMITS = (OperatorValueStatus("vx", "m/s", -0.5, 1.0, 0.0), OperatorValueStatus("wz", "rad/s", -2.0, 2.0, 0.0))


class Wires:
    def __init__(self) -> None:
        self.said: list[tuple[tuple[float, ...], bool]] = []
        self.stops = 0

    def estop(self) -> None:
        self.stops += 1

    def operate(self, values: tuple[float, ...], *, dead_man: bool, at_ns: int) -> None:
        self.said.append((values, dead_man))


@pytest.fixture
def run(tmp_path, monkeypatch):
    folder = tmp_path / "r"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(folder))
    operator = OperatorStatus(LIMITS, 0.5, dead_man=True)
    about = RunStatus("", os.getpid(), "udp:r:1", "ab" * 32, "", 1, operator, None, 0, LoopStatus(0, mode="SAFE"))
    wires = Wires()
    with ControlServer(ControlOptions("walker"), about) as served, served.wired(wires):
        yield wires


def test_values_grow_with_keys_to_their_limits_and_stand_only_while_keys_come() -> None:
    sticks = Sticks(LIMITS)
    assert sticks.wish(0.0) == ((0.0, 0.0), False)
    for index in range(20):
        sticks.press("w", index * 0.05)
    values, held = sticks.wish(1.0)
    assert (values[0], held) == (1.0, True)
    sticks.press("left", 1.0)
    assert sticks.wish(1.0)[0] == (1.0, pytest.approx(0.2))
    sticks.press("h", 1.5)
    assert sticks.wish(1.5 + HOLD_S - 0.01) == ((1.0, pytest.approx(0.2)), True)
    assert sticks.wish(1.5 + HOLD_S + 0.01) == ((0.0, 0.0), False)
    for index in range(20):
        sticks.press("s", 10.0 + index * 0.05)
    assert sticks.wish(11.0)[0][0] == -0.5
    sticks.press("space", 11.0)
    assert sticks.wish(11.0) == ((0.0, 0.0), True)


@pytest.mark.parametrize("key", ["z", "\x00", "q", "r", "x"])
def test_a_key_that_moves_nothing_holds_nothing(key) -> None:
    sticks = Sticks(LIMITS)
    sticks.press(key, 5.0)
    assert sticks.wish(5.0) == ((0.0, 0.0), False)


def test_arrows_are_told_from_escape() -> None:
    assert keys_in(b"\x1b[AW \x1b[D\x1b") == ["up", "w", "space", "left", "esc"]
    assert keys_in(b"\xff") == ["\xff"]


def test_a_script_says_values_and_holds_the_switch(run) -> None:
    with connect() as client:
        play(client, ["hold 0.12 vx=0.25  # forward", "", "release 0.06", "estop"])
    assert ((0.25, 0.0), True) in run.said
    assert run.said[-1] == ((0.0, 0.0), False)
    assert run.stops == 1


@pytest.mark.parametrize("line", ["hold", "hold x", "hold 1 vy=2", "hold 1 vx=fast", "hold -1", "jump 1", "arm now"])
def test_a_line_that_is_none_is_refused(run, line) -> None:
    with connect() as client, pytest.raises(ControlError, match=r"is none\. Valid: hold SECONDS.*vx, wz"):
        play(client, [line])


def test_without_a_terminal_keys_are_refused(run) -> None:
    with connect() as client, Path(os.devnull).open() as nothing, pytest.raises(ControlError, match="no terminal"):
        drive(client, print, terminal=nothing.fileno())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_real_terminal_drives_and_is_given_back_as_it_was(run, number) -> None:
    controller, terminal = pty.openpty()
    before = termios.tcgetattr(terminal)
    process = subprocess.Popen(
        [sys.executable, "-m", "edgerl", "teleop"], stdin=terminal, stdout=terminal, stderr=terminal,
        start_new_session=True,
    )  # fmt: skip
    try:
        until = time.monotonic() + 20
        while not run.said and time.monotonic() < until:
            time.sleep(0.01)
        os.write(controller, b"ww")
        while not any(held for _, held in run.said) and time.monotonic() < until:
            time.sleep(0.01)
        os.write(controller, b"x")
        while not run.stops and time.monotonic() < until:
            time.sleep(0.01)
        assert termios.tcgetattr(terminal) != before
        process.send_signal(number)
        process.wait(10)
        assert termios.tcgetattr(terminal) == before
    finally:
        process.kill()
        process.wait()
        os.close(controller)
        os.close(terminal)
    assert run.stops == 1
    assert max(values[0] for values, _ in run.said) == pytest.approx(0.2)
