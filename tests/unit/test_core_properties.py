"""For any configuration that is valid and any floats, times and requests, each tick is the one that the model says.

What Hypothesis draws here it also makes smaller, which the seeds of test_core_chaos.py do not. The checks are the same:
every command finite, within range, rate and acceleration, of the source that the table names, and of its very value.
"""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgerl.runtime import structs
from edgerl.runtime.enums import Mode, Request, StateFlag
from tests.core_any_config import any_config
from tests.core_crowd import Crowd
from tests.core_world import MS, PERIOD, joint_config, small_config

FREELY = settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
configs = st.builds(any_config, st.randoms(use_true_random=False))
floats = st.floats(width=32, allow_nan=True, allow_infinity=True)
LAST = 2**64 - 1
words64 = st.integers(0, LAST)


@dataclass(frozen=True)
class Tick:
    """What happens before a tick, and in it."""

    state: tuple[float, ...] | None
    """None: what the robot measures as it stands."""
    flags: StateFlag
    skip: int
    """How far its sequence is from the next one; so for the stamp."""
    drift_ns: int
    lost: bool
    action: tuple[float, ...] | None
    """None: as the command in force."""
    answer_ns: int
    wait_ns: int
    request: Request | None
    held: bool


def rarely(strategy: st.SearchStrategy, otherwise: object) -> st.SearchStrategy:
    return st.one_of(st.just(otherwise), st.just(otherwise), strategy)


ticks = st.lists(
    st.builds(
        Tick,
        state=rarely(st.tuples(floats, floats, floats), None),
        flags=rarely(st.integers(0, 31).map(StateFlag), StateFlag(0)),
        skip=rarely(st.one_of(words64, st.integers(-3, 3)), 0),
        drift_ns=rarely(st.one_of(words64, st.integers(-2 * PERIOD, 3 * PERIOD)), 0),
        lost=rarely(st.booleans(), False),
        action=rarely(st.tuples(floats, floats, floats), None),
        answer_ns=rarely(st.sampled_from([0, 5 * MS, 5 * MS + 1, 25 * MS]), MS),
        wait_ns=rarely(st.sampled_from([1, PERIOD - 1, PERIOD, 31 * MS, 200 * MS]), 0),
        request=rarely(st.sampled_from([None, *Request]), None),
        held=rarely(st.booleans(), True),
    ),
    min_size=1,
    max_size=25,
)


class Script(Crowd):
    """A crowd that does as it is told: two policies, a robot and a supervisor."""

    def __init__(self, config: structs.Config) -> None:
        super().__init__(random.Random(0), config)
        self.name(0, 1)
        self.said_next: tuple[float, ...] | None = None
        self.answer_ns = MS
        self.values = [0.0] * (2 * config.action_count) + [1.0]
        if config.attitude:
            self.values += self._measure()[-3 if config.attitude == 3 else -4 :]
        self.values = (self.values + [0.0] * config.state_count)[: config.state_count]

    def chance(self, probability: float) -> bool:
        return False

    def _think(self, slot: int, sequence: int) -> None:
        count = self.config.action_count
        calm = [self._sensible(i) if self.said_next is None else self.said_next[i] for i in range(count)]
        raw = [0.5] * self.config.raw_count
        if slot < 2:
            self._later(self.answer_ns, slot, self.epochs[slot], sequence, calm, raw)

    def do(self, tick: Tick) -> bool:
        """Do one tick of the script; False: the loop is over."""
        self.said_next, self.answer_ns = tick.action, tick.answer_ns
        self._advance(self.now + tick.wait_ns)
        if not tick.lost:
            values = [*(tick.state or ())][: self.config.state_count]
            values += self.values[len(values) :]
            sequence, stamp = self.sequence + 1 + tick.skip, self.stamp + PERIOD + tick.drift_ns
            self.state(values, tick.flags, sequence=min(max(0, sequence), LAST), stamp=min(max(0, stamp), LAST))
        self._hold(tick.held)
        if tick.request is not None:
            self.ask(tick.request)
        return self.judged_tick()

    def _hold(self, held: bool) -> None:
        said = structs.Operator(self.now, held, self.config.operator_count)
        self.operate([0.0] * self.config.operator_count, dead_man=held)
        self.given.operator = said

    def ask(self, request: Request) -> None:
        self.request(request)
        self.given.requests.add(request)

    def begin(self) -> None:
        """Lead it to ACTIVE where its configuration lets it get there soon."""
        calm = Tick(None, StateFlag(0), 0, 0, False, None, MS, 0, None, True)
        self.do(calm)
        self.ask(Request.ARM)
        for _ in range(12):
            if self.model.mode != Mode.ACTIVE:
                self.do(calm)


def play(config: structs.Config, script: list[Tick]) -> Script:
    world = Script(config)
    world.begin()
    for tick in script:
        if not world.do(tick):
            break
    return world


@FREELY
@given(configs, ticks)
def test_whatever_happens_each_tick_is_the_one_that_the_model_says(config, script):
    play(config, script)


@FREELY
@given(st.booleans(), st.booleans(), ticks)
def test_whatever_happens_to_a_joint_each_tick_is_the_one_that_the_model_says(pd, blends, script):
    """In a configuration that gets to ACTIVE every time, so that its policy's floats are what is tried."""
    config = joint_config(pd=pd, bucket_limit=10, blend_ns=30 * MS if blends else 0, state_timeout_ns=40 * MS)
    config.commands[0].max_rate, config.commands[0].max_acceleration = 50.0, 1e4
    world = Script(config)
    world.begin()
    assert world.model.mode == Mode.ACTIVE
    for tick in script:
        if not world.do(tick):
            break


@pytest.mark.slow
@settings(max_examples=5000, suppress_health_check=[HealthCheck.too_slow])
@given(configs, ticks)
def test_at_length_each_tick_is_the_one_that_the_model_says(config, script):
    play(config, script)


@given(st.lists(st.tuples(floats, floats), min_size=1, max_size=20), st.sampled_from([0.5, 50.0, math.inf]))
def test_no_action_moves_a_command_faster_than_its_rate(actions, rate):
    config = small_config(bucket_limit=10, valid_for_ns=100 * MS)
    config.state_count, config.element_count, config.term_count = 3, 1, 1
    for channel in config.commands[:2]:
        channel.max_rate = rate
    world = Script(config)
    world.begin()
    sent = [world.last]
    for action in actions:
        world.do(Tick(None, StateFlag(0), 0, 0, False, (*action, 0.0), MS, 0, None, True))
        sent.append(world.last)
    for before, after in itertools.pairwise(sent):
        for i, (low, high) in enumerate([(-1.0, 1.0), (-2.0, 2.0)]):
            assert low <= after[i] <= high
            assert abs(after[i] - before[i]) <= rate * PERIOD * 1e-9 * (1 + 1e-9) + 1e-12
