"""Whatever robot, policy and supervisor do, each command is a good one, and the one that the mode table names."""

from __future__ import annotations

import ctypes
import math
import random

import numpy as np
import pytest

from edgerl.runtime import core, structs, wire
from edgerl.runtime.enums import (
    Clock,
    Dtype,
    ElementSource,
    Event,
    LadderClass,
    Mode,
    OnViolation,
    Request,
    Result,
    Source,
    StateFlag,
)
from tests import core_world
from tests.core_world import (
    EPOCH,
    MS,
    NOT_RAISED,
    PERIOD,
    SESSION,
    Answer,
    World,
    joint_config,
    set_ladder,
    small_config,
)

TICKS, SEEDS = 300, 60
EVIL = [math.nan, math.inf, -math.inf, 1e30, -1e30, 1e-40, 5.0, 2.0, -2.0]
REQUESTS = [Request.ARM] * 14 + [Request.RESET] * 8 + [Request.DISARM, Request.ESTOP, Request.POLICY_DIED]
LADDER = {Source.HOLD, Source.SAFE, Source.LAPSE, Source.DAMP}
RESOLVED = {
    Source.POLICY: {Source.POLICY},
    Source.HOLD: {Source.HOLD, Source.SAFE},
    Source.SAFE: {Source.SAFE},
    Source.LAPSE: {Source.LAPSE},
    Source.RAMP: {Source.RAMP},
    Source.LADDER: LADDER,
    Source.ON_REJECT: {Source.HOLD, Source.SAFE, Source.LAPSE},
}
KINDS = ("plain", "drive", "guardian")


def cell_of(mode: Mode, event: Event) -> structs.Transition:
    cell = structs.Transition()
    assert core.library().erl_modes_transition(mode, event, ctypes.addressof(cell)) == Result.OK
    return cell


def governing(mode: Mode, events: set[Event]) -> Event:
    """Return the highest of the events that lead away, RESET aside; where none does, the highest of all."""
    leading = {event for event in events if cell_of(mode, event).next != mode}
    highest, fault = max(events), max(leading - {Event.RESET}, default=None)
    return highest if fault is None or highest in leading else fault


class Chaos:
    """A world in which everything goes wrong now and then."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.world = World(self._config(KINDS[seed % len(KINDS)]))
        self.world.policy = self._answer
        self.lockstep = False
        self.stuck = 0
        self.last: list[float] | None = None
        self.silent_ns = 0
        self.before: structs.TickHeader | None = None

    def _config(self, kind: str) -> structs.Config:
        pick = self.random.choice
        fields = {
            "hold_ns": pick([0, 20 * MS]),
            "safe_ns": pick([0, 30 * MS]),
            "on_reject": pick([Source.HOLD, Source.SAFE, Source.LAPSE]),
            "heartbeat_timeout_ns": pick([0, 45 * MS]),
            "arm_ticks": pick([1, 4]),
            "bucket_limit": pick([1, 3, 10]),
            "state_grace_ns": pick([0, 3 * MS]),
            "prepare_ns": pick([0, 30 * MS]),
            "blend_ns": pick([0, 40 * MS]),
            "clock": pick([Clock.GRID, Clock.GRID, Clock.ROBOT]),
            "jitter_budget_ns": pick([0, 500_000, 2 * MS]),
            "jitter_limit": pick([1, 1, 2]),
            "jitter_window": 5,
            "frozen_ticks": pick([0, 2]),
            "operator_count": 1,
            "operator_timeout_ns": pick([25 * MS, 1000 * MS]),
            "dead_man": pick([0, 0, 1]),
            "element_count": 5,
            "term_count": 5,
            "raw_count": 1,
        }
        rate, acceleration = pick([math.inf, 5.0, 50.0]), pick([math.inf, 100.0])
        if kind == "plain":
            config = small_config(**fields)
            config.commands[0] = core_world.command(-1, 1, rate, acceleration, 0.0, OnViolation.REJECT)
            config.commands[1] = core_world.command(-2, 2, rate, acceleration, 0.5, OnViolation.SATURATE, action=1)
        else:
            config = joint_config(pd=kind == "guardian", **{"state_count": 3} | fields)
            config.commands[0].max_rate, config.commands[0].max_acceleration = rate, acceleration
            config.commands[0].on_violation = pick(list(OnViolation))
        config.operators[0] = structs.OperatorChannel(-1.0, 1.0, 0.0, 0)
        for index, (source, history) in enumerate([(ElementSource.OPERATOR, 1), (ElementSource.LAST_RAW, 3)], 3):
            config.elements[index] = structs.Element(source, 0, 0.0, 1.0, -math.inf, math.inf)
            config.terms[index] = structs.Term(index, 1, Dtype.FLOAT32, 4 * index, history, 8, pick([0, 1]), 0)
        config.states[0].noisy = 1
        config.states[1].high, config.states[1].start_low = pick([math.inf, 8.5]), pick([-math.inf, -math.inf, -8.5])
        for ladder in LadderClass:
            rungs = [(pick(sorted(LADDER)), pick([0, 20 * MS, 60 * MS])) for _ in range(self.random.randrange(4))]
            set_ladder(config, ladder, *rungs)
        return config

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def _answer(self, header: structs.ObservationHeader, _: bytes) -> Answer | None:
        pick, chance = self.random.choice, self.chance
        count = self.world.config.action_count + pick([0] * 12 + [-1, 1])
        values = [pick(EVIL) if chance(0.04) else self.random.uniform(-0.1, 0.1) for _ in range(count)]
        answer = Answer(values, delay_ns=pick([MS] * 8 + [4 * MS, 5 * MS, 6 * MS]))
        if chance(0.08):
            answer.epoch = pick([0, EPOCH - 1, EPOCH + 1])
        if chance(0.08):
            answer.sequence = header.sequence + pick([-1, 1, 2**63])
        return None if chance(0.08) else answer

    def disturb(self) -> None:
        """Do what a bad robot, a bad policy, a bad supervisor and a busy machine do."""
        world, chance = self.world, self.chance
        self._robot()
        world.send_answer = -111 if chance(0.02) else 0
        if chance(0.3):
            core.heartbeat(world.at["requests"])
        if chance(0.3):
            world.request(self.random.choice(REQUESTS))
        if chance(0.02):
            world.act(self.random.choice([0, EPOCH + 1]))
        elif chance(0.1):
            world.act(EPOCH)
            core.say_ready(world.at["action"], EPOCH)
        if chance(0.03):
            mailbox = (ctypes.c_ubyte * ctypes.sizeof(structs.ActionMailbox)).from_address(world.at["action"])
            for _ in range(self.random.randrange(1, 30)):
                mailbox[self.random.randrange(8, len(mailbox))] = self.random.randrange(256)
        if chance(0.05):
            periods, more = self.random.choice([0, 0, 1, 2, 4]), self.random.choice([0, 12 * MS, 12 * MS])
            world._advance(world.now + periods * PERIOD + more)
        if chance(0.9):
            said = [self.random.choice(EVIL) if chance(0.1) else self.random.uniform(-2, 2)]
            stamp = world.now + self.random.choice([0] * 20 + [PERIOD])
            world.operate(said, dead_man=self.random.choice([1] * 30 + [0, 2]), stamp=stamp)

    def _robot(self) -> None:
        world, chance = self.world, self.chance
        self.lockstep ^= chance(0.005)
        flags = StateFlag.LOCKSTEP if self.lockstep else StateFlag(0)
        for flag, often in ((StateFlag.EPISODE_START, 0.02), (StateFlag.DONE, 0.01), (StateFlag.ESTOP, 0.01)):
            flags |= flag if chance(often) else StateFlag(0)
        values = [self.random.uniform(-3, 3), self.random.randrange(-9, 9), self.random.randrange(200)]
        if chance(0.01):
            values[self.random.randrange(3)] = self.random.choice([math.nan, math.inf, 1e20, -1.0])
        values[1] = 9 if chance(0.01) else values[1]
        if chance(0.02):
            self.stuck = self.random.randrange(5)
        self.stuck = max(0, self.stuck - 1)
        values[0] = 0.25 if self.stuck else values[0]
        old = self.random.randrange(2**40)
        bye = wire.encode(wire.Bye(wire.Header(SESSION, 1, 1), 0))
        noise = self.random.randbytes(self.random.randrange(1, 90))
        self.random.choices(
            [
                lambda: world.state(values, flags),
                lambda: self._out_of_order(values, flags, sequence=max(0, world.sequence - old % 3)),
                lambda: self._out_of_order(values, flags, stamp=max(0, world.stamp - old)),
                lambda: world.state(values, flags, stamp=world.stamp + old),
                lambda: world.state(values, flags, session=SESSION + 1),
                lambda: [world.state(values, flags) for _ in range(old % 80)],
                lambda: world.inbox.append((world.now, bye)),
                lambda: world.inbox.append((world.now, noise)),
                lambda: None,
            ],
            [900, 20, 20, 5, 5, 5, 2, 10, 30],
        )[0]()

    def _out_of_order(self, values: list[float], flags: StateFlag, **changed: int) -> None:
        """Send an old state once more; the ones after it are as new as if it had never been."""
        world = self.world
        sequence, stamp = world.sequence, world.stamp
        world.state(values, flags, **changed)
        world.sequence, world.stamp = sequence, stamp

    def check(self, before: Mode, sent: list[wire.Command]) -> None:
        """Compare the last tick with the mode table and with what may be sent at all."""
        record = self.world.record()
        header = record.header
        assert header.from_mode == before
        assert header.event == governing(before, record.events)
        cell = cell_of(before, Event(header.event))
        assert header.mode == cell.next
        source = Source(header.source)
        assert source in RESOLVED[Source(cell.source)] or self.world.read_status().states_taken == 0
        assert len(sent) == (header.write_ns != 0) <= (source != Source.LAPSE)
        self._be_silent(header)
        for command in sent:
            self._check_command(command, header)
            self.last, self.silent_ns = command.values.tolist(), 0

    def _be_silent(self, header: structs.TickHeader) -> None:
        """Count how long nothing was sent, in the tick's clock."""
        same = self.before is not None and self.before.clock == header.clock
        self.silent_ns += header.tick_ns - self.before.tick_ns if same else PERIOD
        self.before = header

    def _check_command(self, command: wire.Command, header: structs.TickHeader) -> None:
        world = self.world
        assert np.isfinite(command.values).all()
        for value, limits in zip(command.values.tolist(), world.config.commands, strict=False):
            assert limits.low <= value <= limits.high
        assert (command.mode, command.source) == (header.mode, header.source)
        assert (command.state_sequence, command.state_stamp_ns) == (header.state_sequence, header.stamp_ns)
        closes_the_loop = world.config.commands[0].pd and header.mode == Mode.ACTIVE
        lapsed = self.silent_ns > world.config.valid_for_ns
        if header.source == Source.HOLD and not closes_the_loop and not lapsed:
            assert command.values.tolist() == self.last
        if header.source == Source.POLICY:
            assert header.event in (Event.NOMINAL, Event.OPERATOR_LOST, Event.OVERRUN, Event.ARM)
            assert header.mode == Mode.ACTIVE
            assert header.epoch != 0
            assert header.observed
            assert header.action_ns != 0


@pytest.mark.parametrize("seed", range(SEEDS))
def test_no_tick_sends_what_the_table_does_not_name_or_the_envelope_does_not_allow(seed):
    chaos = Chaos(seed)
    before = Mode.SAFE
    for _ in range(TICKS):
        chaos.disturb()
        count = len(chaos.world.sent)
        ended = chaos.world.tick() == Result.ENDED
        chaos.check(before, chaos.world.sent[count:])
        if ended:
            break
        before = chaos.world.now_mode()


def test_the_chaos_meets_every_mode_source_and_event():
    seen: set[tuple[str, int]] = set()
    for seed in range(SEEDS):
        chaos = Chaos(seed)
        for _ in range(TICKS):
            chaos.disturb()
            ended = chaos.world.tick() == Result.ENDED
            header = chaos.world.record().header
            seen |= {("mode", header.mode), ("source", header.source), ("event", header.event)}
            if ended:
                break
    assert {mode for kind, mode in seen if kind == "mode"} == set(Mode)
    assert {source for kind, source in seen if kind == "source"} == set(Source) - {
        Source.STANDBY,
        Source.LADDER,
        Source.ON_REJECT,
    }
    assert {event for kind, event in seen if kind == "event"} == set(Event) - {Event.QUIT} - NOT_RAISED
