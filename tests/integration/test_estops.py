"""E-stops while the policy acts: by the command line, by the API and by the robot; and the one way back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgerl.envelope import Degrade
from edgerl.errors import RequestRefused
from edgerl.runtime.control.client import connect
from edgerl.runtime.enums import Event, Mode, Source, StateFlag
from edgerl.runtime.recording.read import read_recording
from tests import loop_parts
from tests.asked_runs import command, going
from tests.loop_parts import MS

pytestmark = pytest.mark.usefixtures("core")
SPEC = loop_parts.spec_of(20 * MS)


@pytest.fixture(autouse=True)
def no_child_is_left():
    yield
    assert loop_parts.children() == {}


@pytest.fixture
def button(tmp_path, monkeypatch) -> Path:
    """The robot's e-stop is pressed as long as this file is there."""
    path = tmp_path / "button"
    monkeypatch.setenv("DRIVER_BUTTON", str(path))
    return path


def press(by: str, button: Path) -> None:
    if by == "command line":
        assert command("estop").returncode == 0
    elif by == "API":
        with connect(owner="a stranger") as stranger:  # it needs no owner
            stranger.estop()
    else:
        button.touch()


@pytest.mark.parametrize("by", ["command line", "API", "robot"])
def test_an_estop_stops_in_the_tick_that_sees_it_and_only_a_rearm_leads_back(by, button, tmp_path) -> None:
    model = loop_parts.linear(SPEC, np.zeros(3), bias=0.5)
    load = loop_parts.load_of(SPEC, model, valid_for_ns=250 * MS, degrade=Degrade(90, 100))
    with going(load, "pkg:tests.loop_drivers:WithButton", tmp_path / "run.mcap") as run:
        run.stage("waiting")
        run.client.arm()
        press(by, button)
        stopped = run.stage("stopped").loop
        assert (stopped.mode, stopped.fault) == ("STOPPED", "estop")
        with pytest.raises(RequestRefused, match=r"e-stop.*edgerl rearm"):
            run.client.arm()
        run.until(lambda status: status.loop.ticks > stopped.ticks + 20)
        assert run.client.status().loop.mode == "STOPPED"
        if by == "robot":
            for ask in (run.client.rearm, run.client.reset):
                with pytest.raises(RequestRefused, match=r"The robot's e-stop is pressed\. Release it there"):
                    ask()
            assert run.stage("stopped").loop.mode == "STOPPED"
            button.unlink()
            run.until(lambda status: status.loop.ticks > stopped.ticks + 120)
            assert run.client.status().loop.mode == "STOPPED"  # to let go of it is no wish to move
        assert run.client.rearm().loop.mode == "ACTIVE"
        run.client.stop()
        assert run.end().ended == "stopped"
    assert_stopped_at_once(read_recording(tmp_path / "run.mcap").records, by)


def assert_stopped_at_once(rows, by: str) -> None:
    at = int(np.flatnonzero(rows["event"] == Event.ESTOP)[0])
    assert (rows["from_mode"][at], rows["mode"][at], rows["source"][at]) == (Mode.ACTIVE, Mode.STOPPED, Source.SAFE)
    assert rows["command"][at, 0] == 0.0
    reset = int(np.flatnonzero(rows["event"] == Event.RESET)[0])
    assert reset - at > 20
    between = rows[at + 1 : reset]
    assert (between["mode"] == Mode.STOPPED).all()
    assert (between["source"] == Source.LAPSE).all()
    assert (between["write_ns"] == 0).all()  # nothing is sent
    pressed = np.flatnonzero(rows["state_flags"] & StateFlag.ESTOP)
    assert (len(pressed) > 0) == (by == "robot")
    if by == "robot":
        assert pressed[0] == at  # the tick of the first state that said so
        assert (rows["mode"][pressed] == Mode.STOPPED).all()
    armed = np.flatnonzero(rows["event"] == Event.ARM)
    assert len(armed) == 2
    assert armed[0] < at < reset < armed[1]
