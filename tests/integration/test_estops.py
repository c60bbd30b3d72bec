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
from tests.asked_runs import Going, command, going
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


def test_an_estop_stops_in_the_tick_that_sees_it_and_only_a_rearm_leads_back(button, tmp_path) -> None:
    model = loop_parts.linear(SPEC, np.zeros(3), bias=0.5)
    load = loop_parts.load_of(SPEC, model, valid_for_ns=250 * MS, degrade=Degrade(90, 100))
    with going(load, "pkg:tests.loop_drivers:WithButton", tmp_path / "run.mcap") as run:
        run.stage("waiting")
        run.client.arm()
        for by in ("command line", "API", "robot"):
            press(by, button)
            stopped = run.stage("stopped").loop
            assert (stopped.mode, stopped.fault) == ("STOPPED", "estop")
            with pytest.raises(RequestRefused, match=r"e-stop.*edgerl rearm"):
                run.client.arm()
            run.until(lambda status, at=stopped.ticks: status.loop.ticks > at + 20)
            assert run.client.status().loop.mode == "STOPPED"
            if by == "robot":
                release(run, button)
            assert run.client.rearm().loop.mode == "ACTIVE"
        run.client.stop()
        assert run.end().ended == "stopped"
    assert_stopped_at_once(read_recording(tmp_path / "run.mcap").records)


def release(run: Going, button: Path) -> None:
    """As long as it is pressed nobody gets past it; to let go of it is no wish to move."""
    for ask in (run.client.rearm, run.client.reset):
        with pytest.raises(RequestRefused, match=r"The robot's e-stop is pressed\. Release it there"):
            ask()
    assert run.stage("stopped").loop.mode == "STOPPED"
    button.unlink()
    at = run.client.status().loop.ticks
    run.until(lambda status: status.loop.ticks > at + 100)
    assert run.client.status().loop.mode == "STOPPED"


def assert_stopped_at_once(rows) -> None:
    armed, resets = (np.flatnonzero(rows["event"] == event) for event in (Event.ARM, Event.RESET))
    assert (len(armed), len(resets)) == (4, 3)
    pressed = np.flatnonzero(rows["state_flags"] & StateFlag.ESTOP)
    for begin, reset in zip(armed, resets, strict=False):
        at = begin + int(np.argmax(rows["event"][begin:] == Event.ESTOP))
        assert (rows["from_mode"][at], rows["mode"][at], rows["source"][at]) == (
            Mode.ACTIVE, Mode.STOPPED, Source.SAFE,
        )  # fmt: skip
        assert rows["command"][at, 0] == 0.0
        assert reset - at > 20
        between = rows[at + 1 : reset]
        assert (between["mode"] == Mode.STOPPED).all()
        assert (between["source"] == Source.LAPSE).all()
        assert (between["write_ns"] == 0).all()  # nothing is sent
    assert pressed[0] == at  # of the last one: the tick of the first state that said so
    assert (rows["mode"][pressed] == Mode.STOPPED).all()
