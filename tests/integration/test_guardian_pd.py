"""The guardian closes a joint's loop: a slow policy says where to, every tick's torque answers that tick's state."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from edgerl.envelope import ChannelLimits, Degrade
from edgerl.runtime.enums import Event, Mode, Source
from edgerl.runtime.load import Load
from edgerl.runtime.recording.read import read_recording
from edgerl.runtime.run import RunOptions, run_load
from edgerl.spec import Action, Robot, Term
from tests import loop_parts
from tests.loop_parts import MS

pytestmark = pytest.mark.usefixtures("core")
PERIOD, N = 5 * MS, 4
KP, KD, LIMIT, TARGET = 100.0, 18.0, 20.0, 0.8


@pytest.fixture(autouse=True)
def no_child_is_left():
    yield
    assert loop_parts.children() == {}


def reaching() -> Load:
    """Return a policy of 50 Hz that always wants the joint at one position; the joint's loop has 200 Hz."""
    plain = loop_parts.spec_of(PERIOD, size=2)
    plain = replace(plain, robot=replace(plain.robot, policy_divider=N))
    load = loop_parts.load_of(
        plain, loop_parts.linear(plain, np.zeros(2), bias=TARGET), degrade=Degrade(900, 1000), valid_for_ns=250 * MS
    )
    terms = (
        Term("position", 0, 1, "joint_position", "rad", None, ("hip",), None, None, None, None),
        Term("velocity", 1, 2, "joint_velocity", "rad/s", None, ("hip",), None, None, None, None),
    )
    spec = replace(
        plain,
        inputs=(replace(plain.inputs[0], terms=terms),),
        action=Action("continuous", ("hip",), "rad", "position", (-2.0,), (2.0,), True, False, None, None),
        robot=Robot(("hip",), (0.0,), (KP,), (KD,), "guardian", None, N),
    )
    limits = ChannelLimits("hip", -LIMIT, LIMIT, math.inf, math.inf, "saturate", target_low=-1.0, target_high=1.0)
    return replace(
        load, engine=replace(load.engine, spec=spec), envelope=replace(load.envelope, channels=(limits,))
    )  # fmt: skip


def test_each_ticks_torque_is_the_pd_law_at_that_ticks_state_within_its_limits(tmp_path) -> None:
    options = RunOptions(arm=True, ticks=300)
    result = run_load(reaching(), "pkg:tests.loop_drivers:Joint", tmp_path / "run.mcap", options)
    assert (result.ended, result.fault) == ("ticks", None)
    recording = read_recording(tmp_path / "run.mcap")
    assert [(one.name, one.unit) for one in recording.header.channels("command")] == [("tau[hip]", "Nm")]
    assert [one.name for one in recording.header.channels("state")] == ["q[hip]", "dq[hip]"]
    rows = recording.records
    acting = rows[(rows["source"] == Source.POLICY) & (rows["mode"] == Mode.ACTIVE)]
    fresh = acting[acting["observed"] == 1]
    assert len(fresh) > 200
    position, velocity = fresh["state"].T
    law = np.float32(KP) * (np.float32(TARGET) - position) - np.float32(KD) * velocity
    np.testing.assert_array_equal(fresh["command"][:, 0], np.clip(law, -LIMIT, LIMIT))
    assert len(np.unique(fresh["command"][:, 0])) > len(fresh) / 2  # between two actions of the policy, too
    assert (np.abs(law) > LIMIT).any()
    assert ((fresh["saturated"][:, 0] == 1) == (np.abs(law) > LIMIT)).all()
    assert (rows["events"] & (1 << Event.REJECT) == 0).all()
    taken = rows[rows["action_ns"] > 0]
    assert np.diff(taken["tick"].astype(np.int64)).min() >= 1
    np.testing.assert_allclose(taken["action"], TARGET, atol=1e-6)
    assert abs(position[-1] - TARGET) < 0.05  # it got there
    assert rows["command"][rows["mode"] == Mode.SAFE][-1, 0] == 0.0
