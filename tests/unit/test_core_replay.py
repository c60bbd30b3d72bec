"""The envelope and the assembler on recorded rows: what each row is made from, and how much of it there may be."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgerl.errors import EnvelopeError
from edgerl.runtime import core, structs
from edgerl.runtime.assembly import assemble
from edgerl.runtime.enums import MAX_COMMANDS, Dtype, ElementSource, OnViolation, Source
from tests.core_world import command, small_config

INF = math.inf
S = 1_000_000_000


def channel(low: float = -1.0) -> structs.CommandChannel:
    return command(low, 1.0, INF, INF, 0.25, OnViolation.REJECT)


@pytest.mark.parametrize(("on_reject", "written"), [(Source.HOLD, 0.5), (Source.SAFE, 0.25), (Source.LAPSE, math.nan)])
def test_a_command_may_have_as_many_channels_as_there_can_be(on_reject, written):
    rows = np.full((2, MAX_COMMANDS), 0.5, np.float32)
    rows[1, -1] = 2.0
    times = np.array([S, 2 * S], np.uint64)
    found = core.replay_envelope(
        [channel()] * MAX_COMMANDS, rows, times, np.array([True, False]), on_reject=on_reject, seed_ns=S
    )
    assert np.array_equal(found.written[0], rows[0])
    assert np.array_equal(found.written[1], np.full(MAX_COMMANDS, written, np.float32), equal_nan=True)


@pytest.mark.parametrize("wrong", [0, 1])
def test_every_channel_is_checked_before_the_first_row(wrong):
    channels = [channel(), channel()]
    channels[wrong] = channel(low=2.0)
    with pytest.raises(EnvelopeError, match="low <= safe <= high"):
        core.replay_envelope(channels, np.zeros((1, 2), np.float32), np.zeros(1, np.uint64), np.ones(1, bool))


def observed() -> structs.Config:
    """A state, two operator values and two values of the last raw action, as they are."""
    config = small_config(
        state_count=1, operator_count=2, operator_timeout_ns=1, raw_count=2, element_count=5, term_count=1
    )
    for index in range(2):
        config.operators[index] = structs.OperatorChannel(-100.0, 100.0, 0.0, 0)
    sources = [ElementSource.STATE, *[ElementSource.OPERATOR] * 2, *[ElementSource.LAST_RAW] * 2]
    for at, (source, index) in enumerate(zip(sources, [0, 0, 1, 0, 1], strict=True)):
        config.elements[at] = structs.Element(source, index, 0.0, 1.0, -INF, INF)
    config.terms[0] = structs.Term(0, 5, Dtype.FLOAT32, 0, 1, 20, 0, 0)
    return config


def rows_of(first: float, rows: int, width: int) -> np.ndarray:
    return first + np.arange(rows * width, dtype=np.float32).reshape(rows, width)


def test_each_row_is_made_from_the_state_the_operator_and_the_raw_action_beside_it():
    states, operators, raws = rows_of(1, 3, 1), rows_of(10, 3, 2), rows_of(20, 3, 2)
    reset = np.array([True, False, True])
    found = assemble(observed(), states, operators=operators, raws=raws, reset=reset)
    expected = np.hstack([states, operators, np.where(reset[:, None], 0.0, raws)])
    assert np.array_equal(found.records.view(np.float32)[:, :5], expected)
    assert found.made.tolist() == [True] * 3


def test_before_the_first_row_that_can_be_made_the_record_is_zeros():
    states = np.array([[math.nan], [1.0]], np.float32)
    found = assemble(observed(), states, operators=rows_of(10, 2, 2), raws=rows_of(20, 2, 2))
    assert found.made.tolist() == [False, True]
    assert not found.records[0].any()
    assert found.records[1].view(np.float32)[:5].tolist() == [1.0, 12.0, 13.0, 0.0, 0.0]
