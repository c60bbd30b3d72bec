"""A person steers a run: what is said reaches the policy in bounds, and silence or a released switch is acted upon."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from edgerl.envelope import Degrade, Ladder
from edgerl.envelope.ladder import Rung
from edgerl.envelope.operator import Operator, OperatorLimit
from edgerl.errors import RequestRefused
from edgerl.runtime.enums import Event, Mode, Source
from edgerl.runtime.load import Load
from edgerl.runtime.recording.read import read_recording
from edgerl.spec import Term
from tests import loop_parts
from tests.asked_runs import Going, going
from tests.loop_parts import MS

pytestmark = pytest.mark.usefixtures("core")
PERIOD = 20 * MS
ROBOT = "pkg:tests.loop_drivers:Endless"
LIMITS = (OperatorLimit("velocity[0]", -0.5, 1.0, 0.125), OperatorLimit("velocity[1]", -0.25, 0.25, 0.0))


@pytest.fixture(autouse=True)
def no_child_is_left():
    yield
    assert loop_parts.children() == {}


def steered(*, dead_man: bool) -> Load:
    """Return a policy that observes one state and a wanted velocity, and says the velocity's first value."""
    spec = loop_parts.spec_of(PERIOD)
    ladder = Ladder(2 * PERIOD, 4 * PERIOD, "a simulation", machine=(Rung("safe", 5 * PERIOD),))
    load = loop_parts.load_of(
        spec, loop_parts.linear(spec, np.array([0.0, 1.0, 0.0])),
        ladder=ladder, valid_for_ns=250 * MS, degrade=Degrade(90, 100),
    )  # fmt: skip
    terms = (
        Term("height", 0, 1, "external", "m", None, (), None, None, None, None),
        Term("velocity", 1, 3, "operator", "m/s", None, (), None, None, None, None),
    )
    spec = replace(spec, inputs=(replace(spec.inputs[0], terms=terms),))
    envelope = replace(load.envelope, operator=Operator(LIMITS, 300 * MS, dead_man))
    return replace(load, engine=replace(load.engine, spec=spec), envelope=envelope)


def in_use(rows) -> list[tuple[float, float]]:
    """Return the values that the policy observed, each once for as long as they stood."""
    pairs = [tuple(pair) for pair in rows["operator"].tolist()]
    return [pair for index, pair in enumerate(pairs) if index == 0 or pair != pairs[index - 1]]


def assert_observed(rows) -> None:
    """What the policy said to a tick's state is what the operator wanted in that tick."""
    taken = rows[rows["action_ns"] > 0]
    assert len(taken) > 10
    np.testing.assert_allclose(taken["action"][:, 0], taken["operator"][:, 0], atol=1e-6)


def test_values_come_in_bounds_and_silence_puts_the_configured_ones_in_their_place(tmp_path) -> None:
    with going(steered(dead_man=False), ROBOT, tmp_path / "run.mcap") as run:
        run.stage("waiting")
        operator = run.client.status().operator
        assert [(one.name, one.unit, one.low, one.high) for one in operator.values] == [
            ("velocity[0]", "m/s", -0.5, 1.0), ("velocity[1]", "m/s", -0.25, 0.25),
        ]  # fmt: skip
        run.client.arm()
        for values in ((0.75, 0.0), (7.0, -9.0), (-3.0, 1e20)):
            tick = run.client.operate(values).loop.ticks
            say = partial(run.client.operate, values)
            run.until(lambda status, tick=tick: status.loop.ticks > tick + 3, every=say)
        quiet = run.client.status().loop.ticks
        run.until(lambda status: status.loop.ticks > quiet + 30)
        with pytest.raises(RequestRefused, match="1 values came; the run takes 2"):
            run.client.operate((0.5,))
        assert run.client.status().loop.mode == "ACTIVE"
        run.client.stop()
        assert run.end().ended == "stopped"
    rows = read_recording(tmp_path / "run.mcap").records
    active = rows[rows["mode"] == Mode.ACTIVE]
    assert in_use(active) == [(0.125, 0.0), (0.75, 0.0), (1.0, -0.25), (-0.5, 0.25), (0.125, 0.0)]
    assert_observed(rows)
    fresh = active["operator_stamp_ns"] > 0
    assert (fresh == (active["events"] & (1 << Event.OPERATOR_LOST) == 0)).all()
    age_ns = active["start_ns"][fresh] - active["operator_stamp_ns"][fresh]
    assert age_ns.max() <= 300 * MS
    assert set(active["source"].tolist()) <= {int(Source.POLICY), int(Source.HOLD)}


@contextmanager
def keyboard() -> Iterator[Callable[[bytes], None]]:
    """A terminal in which ``edgerl teleop`` runs, and what types into it."""
    master, slave = pty.openpty()
    teleop = ["setsid", "--ctty", sys.executable, "-m", "edgerl", "teleop"]  # Ctrl-C is the terminal's own business
    process = subprocess.Popen(teleop, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    shown: list[bytes] = []

    def read() -> None:
        try:
            while data := os.read(master, 4096):
                shown.append(data)
        except OSError:  # the terminal's other end is closed
            pass

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield lambda keys: os.write(master, keys) and None
        os.write(master, b"\x03")
        assert process.wait(10) == 130, b"".join(shown).decode()
    finally:
        process.kill()
        process.wait()
        reader.join()
        os.close(master)


def hold(run: Going, key: bytes, keys: Callable[[bytes], None], until: Callable[[object], bool]):
    """Let a key repeat, as one does that is held down."""

    def press() -> None:
        keys(key)
        time.sleep(0.03)

    return run.until(until, every=press)


def test_keys_of_a_terminal_arm_steer_and_their_release_takes_the_policy_out_of_charge(tmp_path) -> None:
    with going(steered(dead_man=True), ROBOT, tmp_path / "run.mcap") as run:
        run.stage("waiting")
        with pytest.raises(RequestRefused, match="dead man"):
            run.client.arm()
        with keyboard() as keys:
            hold(run, b"h", keys, lambda status: status.clients >= 2)
            hold(run, b"hr", keys, lambda status: status.loop.mode == "ACTIVE")
            tick = run.client.status().loop.ticks
            hold(run, b"w", keys, lambda status: status.loop.ticks > tick + 50)
            released = run.stage("stopped")
        assert released.loop.fault == "dead_man"
        assert "the dead-man switch was released" in released.loop.message
        with pytest.raises(RequestRefused, match="dead man"):
            run.client.rearm()
        assert run.stage("waiting").loop.mode == "SAFE"
        run.client.stop()
        run.end()
    rows = read_recording(tmp_path / "run.mcap").records
    active = rows[rows["mode"] == Mode.ACTIVE]
    wanted = active["operator"][:, 0]
    assert wanted.max() == 1.0
    steps = np.unique(np.round(np.diff(wanted[: int(np.argmax(wanted == 1.0)) + 1]), 6))
    assert steps.min() >= 0.0
    assert_observed(rows)
    at = int(np.flatnonzero(rows["event"] == Event.DEAD_MAN)[0])
    assert (rows["from_mode"][at], rows["mode"][at], rows["source"][at]) == (Mode.ACTIVE, Mode.FALLBACK, Source.SAFE)
    assert (rows["mode"][at:] != Mode.ACTIVE).all()
