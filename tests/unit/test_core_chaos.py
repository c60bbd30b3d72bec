"""Whatever robot, policies, operator and supervisor do, each tick is the one that the model in Python says.

Each seed is a configuration of its own and a crowd that misbehaves in it: tests/core_crowd.py draws both, and
tests/core_model.py holds every event, mode, source and value against the rules of docs/safety.md.
"""

from __future__ import annotations

import random

import pytest

from edgerl.runtime.enums import Event, Mode, Request, Source
from tests.core_crowd import Crowd, sighted

TICKS = 250
BLOCKS, SEEDS = 8, 12
MORE = 1500


def run(seed: int) -> Crowd:
    """Let a crowd run, and tell its seed where a tick is not as it must be."""
    crowd = Crowd(random.Random(seed))
    tick = 0
    try:
        while tick < TICKS and crowd.run():
            tick += 1
        if tick == TICKS:
            crowd.request(Request.QUIT)
            crowd.given.requests.add(Request.QUIT)
            assert not crowd.judged_tick()
    except AssertionError as error:
        raise AssertionError(f"seed {seed}, tick {tick}: {error}") from error  # what repeats it
    return crowd


@pytest.mark.parametrize("block", range(BLOCKS))
def test_every_tick_is_the_one_that_the_table_and_the_envelope_name(block):
    for seed in range(block * SEEDS, (block + 1) * SEEDS):
        run(seed)


def test_the_crowd_meets_every_mode_source_and_event():
    seen = sighted([run(seed) for seed in range(1000, 1000 + 5 * SEEDS)])
    assert seen["mode"] == set(Mode)
    assert seen["source"] == set(Source) - {Source.LADDER, Source.ON_REJECT}
    assert seen["event"] == set(Event)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(4))
def test_at_length_every_tick_is_the_one_that_the_table_and_the_envelope_name(block):
    first = random.SystemRandom().randrange(2**40)
    for seed in range(first, first + MORE // 4):
        run(seed)
