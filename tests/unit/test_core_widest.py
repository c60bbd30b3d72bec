"""A loop with every channel, element, term and value in use that there may be: the last one counts like the first.

The sanitizers run this too (tests/native/test_sanitizers.py): whoever goes one channel too far leaves the arrays here.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgerl.runtime import structs
from edgerl.runtime.enums import (
    MAX_COMMANDS,
    MAX_ELEMENTS,
    MAX_OBSERVATION_BYTES,
    MAX_STATES,
    MAX_TERMS,
    Dtype,
    ElementSource,
    Event,
    LadderClass,
    Mode,
    OnViolation,
    Request,
    Source,
    Verdict,
)
from tests.core_pair import Pair
from tests.core_world import MS, PERIOD, Answer, World, command, set_ladder, silent, small_config

INF = math.inf
REJECTED = [0, 63, 64, 126, 127, 191, 192, 255]
SATURATED = [1, 62, 65, 125, 128, 129, 190, 254]


def widest(**fields: object) -> structs.Config:
    """Return a configuration in which nothing more has room."""
    config = small_config(
        **{
            "state_count": MAX_STATES,
            "command_count": MAX_COMMANDS,
            "action_count": MAX_COMMANDS,
            "raw_count": MAX_COMMANDS,
            "element_count": MAX_ELEMENTS,
            "term_count": MAX_TERMS,
            "observation_bytes": MAX_OBSERVATION_BYTES,
            "blend_ns": 2 * PERIOD,
            "prepare_ns": 2 * PERIOD,
            "bucket_limit": 10,
            **fields,
        }
    )
    for index in range(MAX_STATES):
        config.states[index] = structs.StateChannel(-INF, INF, -INF, INF, 0, 0)
    for index in range(MAX_COMMANDS):
        rejects = OnViolation.REJECT if index in REJECTED else OnViolation.SATURATE
        config.commands[index] = command(-1.0, 1.0, INF, INF, 0.25, rejects, action=index)
        config.commands[index].prepare, config.commands[index].damp = 0.5, -0.5
    for index in range(MAX_ELEMENTS):
        config.elements[index] = structs.Element(ElementSource.STATE, index % MAX_STATES, 0.0, 1.0, -INF, INF)
    width, history = MAX_ELEMENTS // MAX_TERMS, MAX_OBSERVATION_BYTES // MAX_ELEMENTS // 4
    for index in range(MAX_TERMS):
        at = index * MAX_OBSERVATION_BYTES // MAX_TERMS
        config.terms[index] = structs.Term(width * index, width, Dtype.FLOAT32, at, history, 4 * width, 0, 0)
    return config


def active(config: structs.Config) -> Pair:
    pair = Pair(config)
    world = pair.world
    world.stands = [0.0] * MAX_STATES
    pair.values, pair.acting = [0.125] * MAX_COMMANDS, Answer([0.75] * MAX_COMMANDS)
    world.ticks(1)
    assert world.sent[-1].values.tolist() == [0.25] * MAX_COMMANDS
    world.request(Request.ARM)
    world.ticks(6)
    assert Source.RAMP in [sent.source for sent in world.sent]
    assert world.now_mode() == Mode.ACTIVE
    assert world.sent[-1].values.tolist() == [0.75] * MAX_COMMANDS
    return pair


def bits(words: list[int]) -> list[int]:
    return [64 * word + bit for word, value in enumerate(words) for bit in range(64) if value >> bit & 1]


def violations(world: World) -> dict[tuple[int, Verdict], int]:
    """Return what is counted, by channel and cause."""
    rows = enumerate(world.status.violations)
    return {(i, Verdict(1 << cause)): count for i, row in rows for cause, count in enumerate(row) if count}


def test_each_channel_that_breaks_a_limit_is_named_and_no_other():
    pair = active(widest())
    world = pair.world
    values = np.full(MAX_COMMANDS, 0.75)
    values[REJECTED], values[SATURATED] = 2.0, -3.0
    values[127] = math.nan
    pair.acting = Answer(values.tolist(), raw=[0.0] * MAX_COMMANDS)
    expected = {(i, Verdict.HIGH): 1 for i in REJECTED if i != 127} | {(i, Verdict.LOW): 1 for i in SATURATED}
    world.ticks(1)
    header = world.record().header
    assert (bits(header.rejected), bits(header.saturated)) == (REJECTED, SATURATED)
    assert header.causes == Verdict.HIGH | Verdict.LOW | Verdict.NOT_FINITE
    assert violations(world) == expected | {(127, Verdict.NOT_FINITE): 1}
    assert world.record().events == {Event.REJECT}
    values[REJECTED] = -0.25
    pair.acting = Answer(values.tolist(), raw=[0.0] * MAX_COMMANDS)
    world.ticks(1)
    header = world.record().header
    assert (bits(header.rejected), bits(header.saturated), header.causes) == ([], SATURATED, Verdict.LOW)
    assert world.sent[-1].values[REJECTED].tolist() == [-0.25] * len(REJECTED)
    assert world.sent[-1].values[SATURATED].tolist() == [-1.0] * len(SATURATED)
    pair.acting = Answer([0.75] * MAX_COMMANDS)
    world.ticks(1)
    header = world.record().header
    assert (bits(header.rejected), bits(header.saturated), header.causes) == ([], [], 0)
    assert sum(violations(world).values()) == len(REJECTED) + 2 * len(SATURATED)
    assert (world.read_status().rejected, world.read_status().saturated) == (1, 2)


@pytest.mark.parametrize(
    ("source", "value"), [(Source.HOLD, 0.75), (Source.SAFE, 0.25), (Source.DAMP, -0.5), (Source.STANDBY, 0.125)]
)
def test_each_source_commands_all_channels(source, value):
    config = widest()
    set_ladder(config, LadderClass.POLICY, (source, 90 * MS))
    world = active(config).world
    world.die()
    world.ticks(4)
    assert (world.now_mode(), Source(world.sent[-1].source)) == (Mode.FALLBACK, source)
    assert world.sent[-1].values.tolist() == [value] * MAX_COMMANDS


def test_a_raw_action_that_is_not_finite_in_the_end_spoils_every_value():
    pair = active(widest())
    world = pair.world
    pair.acting = Answer([0.5] * MAX_COMMANDS, raw=[0.0] * (MAX_COMMANDS - 1) + [math.nan])
    world.ticks(1)
    assert np.isnan(world.record().action).all()
    assert bits(world.record().header.rejected) == list(range(MAX_COMMANDS))
    world.policy = silent
    world.ticks(1)
    assert world.sent[-1].values.tolist() == [0.75] * MAX_COMMANDS
