"""A control socket that is served, the loop behind it and where its guardian would be."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgerl.runtime.control.listener import ControlOptions
from edgerl.runtime.control.server import ControlServer
from tests.control_run import ABOUT, Wires


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    place = tmp_path / "r"
    place.mkdir(mode=0o700)
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(place))
    return place


@pytest.fixture
def run() -> Iterator[ControlServer]:
    with ControlServer(ControlOptions("walker"), ABOUT) as served:
        yield served


@pytest.fixture
def loop(run) -> Iterator[list[str]]:
    """A loop that does everything it is asked, until the test is over; yields what it was asked."""
    done: list[str] = []
    over = threading.Event()

    def live() -> None:
        while not over.wait(0.002):
            for asked in run.take():
                done.append(asked.ask.do)
                run.answer(asked)

    thread = threading.Thread(target=live)
    thread.start()
    yield done
    over.set()
    thread.join()


@pytest.fixture
def wires(run) -> Iterator[Wires]:
    made = Wires()
    with run.wired(made):
        yield made


@pytest.fixture
def stopped(wires) -> list[float]:
    """When the robot was stopped past the loop."""
    return wires.stops
