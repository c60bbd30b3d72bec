"""The example's quadruped stands on its feet, and its driver hands it what a guardian says and nothing else."""

from __future__ import annotations

import ctypes
import mmap
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from edgerl.runtime import core, wire
from edgerl.runtime.drivers import DriverProcess
from edgerl.runtime.enums import MAX_DATAGRAM, Mode, Source
from edgerl.runtime.layout import Layout
from edgerl.runtime.session import Terms
from edgerl.runtime.shm_session import open_shm_session
from edgerl.runtime.unix_port import MAILBOX_BYTES
from edgerl.runtime.wire import Header, StateFlag

pytest.importorskip("mujoco")
FOLDER = Path(__file__).parents[2] / "examples" / "legged"
PERIOD_NS = 5_000_000


@pytest.fixture(autouse=True)
def folder(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setenv("PYTHONPATH", str(FOLDER))
    yield
    for name in ("driver", "simulation"):
        sys.modules.pop(name, None)


def test_it_stands_for_20_s_and_takes_pushes_and_sinks_when_it_is_damped():
    from simulation import Quadruped  # noqa: PLC0415  of the example's folder

    robot = Quadruped()
    for second in range(20):
        robot.push(((-1) ** second * 0.25, 0.25))
        robot.advance(1.0)
        assert robot.upright > 0.99
        assert robot.height > 0.3
    assert not robot.fallen
    assert 25.0 < robot.temperature.max() < 80.0
    robot.drives.damp()
    robot.advance(3.0)
    assert robot.height < 0.15


def test_its_driver_does_what_it_is_told_until_nothing_is_valid_any_more():
    import driver  # noqa: PLC0415
    from simulation import JOINTS, STANDING  # noqa: PLC0415

    layout = Layout(driver.MEASURED, driver.COMMANDED)
    terms = Terms(layout, PERIOD_NS, PERIOD_NS // 2, 4 * PERIOD_NS)
    lower = STANDING * 1.2
    command = np.concatenate([lower, np.zeros(24), np.full(12, 80.0), np.full(12, 2.0)]).astype(np.float32)
    with DriverProcess("driver:Walker") as process:
        with open_shm_session(
            process.connection, terms, process.name, timeout_s=30.0, meanwhile=process.check
        ) as session:
            state, to_driver = session.fds
            hears = mmap.mmap(state, MAILBOX_BYTES, prot=mmap.PROT_READ)
            says = mmap.mmap(to_driver, MAILBOX_BYTES)
            seen, buffer = ctypes.c_uint32(0), ctypes.create_string_buffer(MAX_DATAGRAM + 1)
            for sequence in range(1, 200):
                data = core.take_datagram(core.address(hears), seen, buffer, time.monotonic_ns() + 2_000_000_000)
                measured = wire.decode(data)
                assert isinstance(measured, wire.State)
                header = Header(session.id, sequence, time.monotonic_ns())
                answer = wire.Command(
                    header, measured.header.sequence, measured.header.stamp_ns, 100_000_000, Mode.ACTIVE, Source.POLICY,
                    command,
                )  # fmt: skip
                core.post_datagram(core.address(says), wire.encode(answer))
            np.testing.assert_allclose(measured.values[: len(JOINTS)], lower, atol=0.15)
            assert not measured.flags & StateFlag.ESTOP
            time.sleep(0.5)  # nothing is said any more: it lapses, and sinks
            for _ in range(3):
                data = core.take_datagram(core.address(hears), seen, buffer, time.monotonic_ns() + 2_000_000_000)
            sunk = wire.decode(data)
            assert isinstance(sunk, wire.State)
            assert np.abs(sunk.values[: len(JOINTS)] - lower).max() > 0.3
        process.finish(patience_s=5.0)
        assert process.end is not None
        assert (process.end.left, process.end.counts.lapses >= 1, process.end.counts.dropped) == ("left", True, {})
