"""Packing holds the trainer's recorded observations against the limits of the state."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgerl.bundle.replay import replay_golden
from edgerl.bundle.replay_state import replay_states
from edgerl.envelope import Envelope, default_envelope
from edgerl.envelope.state import StateLimits, StateSet
from edgerl.errors import EnvelopeRejectsState
from edgerl.golden import GoldenSet
from edgerl.runtime.assembly import assemble
from edgerl.runtime.state_channels import state_channels
from edgerl.spec import PolicySpec
from tests.unit.test_state_channels import STACK, TALL, config_of, spec_of, term

OPAQUE = spec_of(term("o", "opaque", 3))
TWO = ("hip", "knee")
STACKED = spec_of(
    term("gravity", "imu.gravity", 3, unit="1", scale=(2.0, 2.0, 2.0), history=STACK),
    term("q", "joint_position", 2, unit="rad", joints=("knee", "hip"), offset=(0.5, -0.25), history=STACK),
    term("dq", "joint_velocity", 2, unit="rad/s", joints=TWO, scale=(0.05, 0.1), clip=(-1.0, 1.0), history=TALL),
    term("last", "last_action_raw", 2),
)


def golden_of(observations: np.ndarray, recorded: np.ndarray | None = None) -> GoldenSet:
    rows = len(observations)
    return GoldenSet(
        model="0" * 64,
        inputs={"observation": observations},
        episode_start=np.arange(rows) == 0,
        expected_float32=np.zeros((rows, 2), np.float32),
        tolerance=np.zeros(2),
        decided=np.ones((rows, 2), np.bool_),
        expected_trainer=None,
        trainer_rows=np.ones(rows, np.bool_) if recorded is None else recorded,
        state={},
    )


def limited(spec: PolicySpec, *channels: tuple[str, float, float], tilt: float | None = None) -> Envelope:
    limits = (StateLimits(name, None, low, high, -math.inf, math.inf, noisy=False) for name, low, high in channels)
    free = spec_of(term("o", "opaque", 3))
    action = dataclasses.replace(free.action, meaning="opaque")
    return dataclasses.replace(
        default_envelope(dataclasses.replace(free, action=action, robot=dataclasses.replace(free.robot, pd="none"))),
        state=StateSet(tuple(limits), tilt, None),
    )


def assembled(states: np.ndarray) -> GoldenSet:
    """Return a golden set of what the guardian's assembler makes of the states, in the order of the channels."""
    rows = len(states)
    made = assemble(config_of(STACKED), states.astype(np.float32), raws=np.zeros((rows, 2), np.float32))
    assert made.made.all()
    return golden_of(made.records[:, : STACKED.inputs[0].nbytes].copy().view(np.float32))


def standing(rows: int, **channels: Any) -> np.ndarray:
    names = [channel.name for channel in state_channels(STACKED)]
    states = np.zeros((rows, len(names)))
    states[:, names.index("imu.gravity.z")] = -1.0
    for name, values in channels.items():
        states[:, names.index(name)] = values
    return states


def test_the_observation_of_an_environment_is_the_state():
    observations = np.zeros((4, 3), np.float32)
    observations[2:, 1] = 2.5, 3.5
    golden = golden_of(observations)
    assert replay_states(limited(OPAQUE, ("observation[1]", -1.0, 3.5)), golden, OPAQUE) == (
        "4 recorded observations within the limits of the state"
    )
    with pytest.raises(EnvelopeRejectsState) as refused:
        replay_golden(limited(OPAQUE, ("observation[1]", -1.0, 2.0)), golden, OPAQUE, 20_000_000)
    assert "Row 2 of the golden set: the state's 'observation[1]' is 2.5, above high = 2. " in str(refused.value)
    assert "in 2 of the 4 recorded rows" in str(refused.value)
    assert refused.value.exit_code == 3
    with pytest.raises(EnvelopeRejectsState, match=r"Row 0 .*'observation\[0\]' is 0, below low = 1"):
        replay_states(limited(OPAQUE, ("observation[0]", 1.0, 2.0)), golden, OPAQUE)


def test_rows_that_were_made_up_are_no_states():
    observations = np.full((3, 3), 9.0, np.float32)
    tight = limited(OPAQUE, ("observation[0]", -1.0, 1.0))
    nowhere = replay_states(tight, golden_of(observations, np.zeros(3, np.bool_)), OPAQUE)
    assert nowhere == "no recorded observation to judge the limits of the state by"
    observations[0] = 0.0
    first = np.array([True, False, False])
    assert replay_states(tight, golden_of(observations, first), OPAQUE).startswith("1 recorded observations")


def test_without_limits_the_claim_is_as_it_was():
    golden = golden_of(np.full((3, 3), 9.0, np.float32))
    free = limited(OPAQUE)
    for envelope in (
        free,
        dataclasses.replace(free, state=None),
        limited(OPAQUE, ("observation[0]", *(-math.inf, math.inf))),
    ):
        assert replay_states(envelope, golden, OPAQUE) == ""
        assert replay_golden(envelope, golden, OPAQUE, 20_000_000).endswith("none saturated")


@given(
    st.lists(st.tuples(st.floats(-4.0, 4.0, width=32), st.floats(-9.0, 9.0, width=32)), min_size=1, max_size=6),
    st.floats(0.5, 3.5, width=32),
)
def test_what_the_assembler_did_is_undone(values, high):
    positions, speeds = (np.array(one) for one in zip(*values, strict=True))
    golden = assembled(standing(len(values), **{"q[knee]": positions, "dq[hip]": speeds}))
    envelope = limited(STACKED, ("q[knee]", -5.0, high), ("dq[hip]", -10.0, 10.0))
    if (positions <= high).all():
        assert "within the limits" in replay_states(envelope, golden, STACKED)
    elif (positions > high + 1e-5).any():
        with pytest.raises(EnvelopeRejectsState, match=r"'q\[knee\]' is .* above high"):
            replay_states(envelope, golden, STACKED)


def test_what_a_clip_has_hidden_is_not_judged():
    fast = assembled(standing(2, **{"dq[knee]": [9.0, 50.0]}))  # times 0.1, clipped at 1
    assert "within" in replay_states(limited(STACKED, ("dq[knee]", -10.0, 9.5)), fast, STACKED)
    with pytest.raises(EnvelopeRejectsState, match=r"Row 0 .*'dq\[knee\]' is 9, above high = 8"):
        replay_states(limited(STACKED, ("dq[knee]", -10.0, 8.0)), fast, STACKED)


def test_channels_that_the_policy_does_not_observe_are_not_judged():
    envelope = limited(STACKED, ("temperature[hip]", 10.0, 80.0), ("q[hip]", -1.0, 1.0))
    assert "within" in replay_states(envelope, assembled(standing(2)), STACKED)


def test_a_recorded_tilt_is_judged():
    lean = np.array([0.0, 0.5, 0.75])
    golden = assembled(standing(3, **{"imu.gravity.x": np.sin(lean), "imu.gravity.z": -np.cos(lean)}))
    assert "within" in replay_states(limited(STACKED, tilt=0.75), golden, STACKED)
    with pytest.raises(EnvelopeRejectsState, match=r"Row 2 .*'tilt' is 0.75 rad, above max_tilt_rad = 0.6"):
        replay_states(limited(STACKED, tilt=0.6), golden, STACKED)
