"""A world in which everybody misbehaves now and then, drawn from dice: any configuration that is valid, a robot, three
policies, an operator and a supervisor. Every tick is held against :mod:`tests.core_model`.

The dice are a ``random.Random``, of a seed or of Hypothesis.
"""

from __future__ import annotations

import ctypes
import math
import random
import struct

import numpy as np

from edgerl.runtime import core, structs, wire
from edgerl.runtime.enums import (
    POLICY_SLOTS,
    Attitude,
    Mode,
    Request,
    Result,
    StateFlag,
)
from tests.core_any_config import MAX, any_config
from tests.core_model import Model
from tests.core_model_senses import Given
from tests.core_world import EPOCH, MS, PERIOD, SESSION, START, World

EVIL = [math.nan, math.inf, -math.inf, MAX, -MAX, 1e30, -1e30, 1e-40, -1e-45, 0.0, -0.0, 5.0, 2.0, -2.0]
REQUESTS = [Request.ARM] * 20 + [Request.SWITCH] * 4 + [Request.RESET]
RECOVERIES = [Request.RESET, Request.RESET, Request.ARM, Request.SWITCH, Request.ESTOP]
REQUESTS += [Request.DISARM, Request.ESTOP]
IN_CHARGE = [Request.SWITCH] * 4 + [Request.DISARM, Request.ESTOP, Request.RESET, Request.ARM]


class Crowd(World):
    """A world of its own dice; ``run`` disturbs it, lets it tick, and checks the tick."""

    def __init__(self, dice: random.Random, config: structs.Config | None = None) -> None:
        self.dice = dice
        self.given = Given(START)
        self.epochs = [EPOCH + slot for slot in range(POLICY_SLOTS)]
        self.words = [0, 0]
        self.died = [0] * POLICY_SLOTS
        self.said: dict[tuple[int, int], list[list[float]]] = {}
        self.dishonest = [False] * POLICY_SLOTS
        self.spoilt = [False] * POLICY_SLOTS
        self.last: list[float] = []
        super().__init__(config or any_config(dice))
        self.model = Model(self.config, START)
        self.last = [channel.safe for channel in self.model.commands.channels]
        self.raws = [channel.action for channel in self.model.commands.channels]
        for slot in range(POLICY_SLOTS):
            core.say_ready(self.slots[slot], self.epochs[slot])
        self.name(0, dice.choice([1, 1, None]))
        self.lockstep = False
        self.stuck = 0
        self.seen: set[tuple[str, int]] = set()

    def chance(self, probability: float) -> bool:
        return self.dice.random() < probability

    # What the loop sees, and what is noted of it.

    def _receive(self, context: object, buffer: int, capacity: int, deadline: int) -> int:
        size = super()._receive(context, buffer, capacity, deadline)
        self.given.sensed_ns = self.now
        if size != 0:
            self.given.datagrams.append(ctypes.string_at(buffer, max(0, size)))
        return size

    def _sleep_until(self, context: object, when: int) -> None:
        super()._sleep_until(context, when)
        self.given.sensed_ns = self.now

    def _wait_word(self, _: object, word: int, seen: int, deadline: int) -> None:
        self._notice()
        self._advance(min([deadline, *(when for when, _ in self.hooks)]))

    def _notice(self) -> None:
        """Let the policies see a new observation; each answers in its own time, or not."""
        if self.observation.sequence == self._seen.value:
            return
        header = structs.ObservationHeader()
        record = ctypes.create_string_buffer(self.config.observation_bytes)
        found = core.wait_observation(
            self.at["observation"], self._seen, header, ctypes.addressof(record), len(record), timeout_ns=0
        )
        if found == Result.OK:
            for slot in range(POLICY_SLOTS):
                self._think(slot, header.sequence)

    def _think(self, slot: int, sequence: int) -> None:
        pick, chance = self.dice.choice, self.chance
        if chance(0.06) or (slot == 2 and chance(0.7)):
            return
        delay = pick([MS] * 15 + [4 * MS, 5 * MS, 6 * MS, 15 * MS])
        epoch = pick([0, EPOCH - 1, EPOCH + 9]) if chance(0.03) else self.epochs[slot]
        other = pick([-1, 1, 2**63]) if chance(0.03) else 0
        count = self.config.action_count + (pick([-1, 1]) if chance(0.02) else 0)
        values = [self.evil() if chance(0.03) else self._sensible(i) for i in range(count)]
        raw = [self.evil() if chance(0.02) else 0.5] * (self.config.raw_count + chance(0.01))
        self._later(delay, slot, epoch, (sequence + other) % 2**64, values, raw, honest=other == 0)

    def _later(self, delay_ns: int, *answer: object, honest: bool = True) -> None:
        """Let a policy answer in a while: slot, epoch, sequence, values, raw."""
        self.hooks.append((self.now + delay_ns, lambda: self._say(*answer, honest=honest)))

    def _sensible(self, action: int) -> float:
        """A value near the command in force, as far as there is one."""
        wild = self.dice.uniform(-1.0, 1.0)
        if action not in self.raws or self.chance(0.1):
            return wild
        i = self.raws.index(action)
        channel = self.config.commands[i]
        if channel.pd:
            return 0.3 * wild
        reach = min(0.1, 0.5 * channel.max_rate * 0.01, 0.2 * channel.max_acceleration * 1e-4)
        return min(max(self.last[i] + reach * wild, channel.low), channel.high)

    def evil(self) -> float:
        """Any float32 that there is, the worst more often."""
        any_float = struct.unpack("<f", self.dice.getrandbits(32).to_bytes(4, "little"))[0]
        return self.dice.choice([*EVIL, any_float, any_float])

    def _say(
        self, slot: int, epoch: int, sequence: int, values: list[float], raw: list[float], *, honest: bool
    ) -> None:
        said = np.array(values, np.float32)
        core.post_action(self.slots[slot], epoch, sequence, said, raw=np.array(raw, np.float32), infer_ns=slot)
        good = all(map(math.isfinite, raw))
        self.said.setdefault((epoch, sequence), []).append(values if good else [math.nan] * len(values))
        self.dishonest[slot] = not honest

    # What everybody does between two ticks.

    def name(self, acting: int | None, candidate: int | None) -> None:
        """Name the slots whose policies act and stand beside."""
        words = [0 if slot is None else core.policy_word(self.epochs[slot], slot) for slot in (acting, candidate)]
        self.words = words
        core.set_policies(self.at["requests"], *words)

    def act(self, epoch: int) -> None:
        self.epoch = epoch

    def disturb(self) -> None:
        """Do what a bad robot, bad policies, a bad supervisor, a bad operator and a busy machine do."""
        chance = self.chance
        self._robot()
        self.send_answer = -111 if chance(0.02) else 0
        if chance(0.7):
            core.heartbeat(self.at["requests"])
            self.given.heartbeat = True
        asks = {Mode.ACTIVE: IN_CHARGE, Mode.FALLBACK: RECOVERIES, Mode.STOPPED: RECOVERIES}
        rare = self.model.mode in (Mode.ACTIVE, Mode.FALLBACK)
        while chance(0.1 if rare else 0.3):
            kind = self.dice.choice(asks.get(self.model.mode, REQUESTS))
            self.request(kind)
            self.given.requests.add(kind)
        self._supervise()
        if chance(0.02):
            self._spoil(self.dice.randrange(POLICY_SLOTS))
        if chance(0.05):
            periods, more = self.dice.choice([0, 0, 1, 1, 2, 4]), self.dice.choice([0, 3 * MS, 12 * MS])
            self._advance(self.now + periods * PERIOD + more)
        if (self.config.operator_count or self.config.dead_man) and chance(0.9):
            self._operate()

    def _supervise(self) -> None:
        """Report deaths and replace policies, now and then wrongly."""
        if self.chance(0.02):
            self._bury(self.dice.choice([0, 0, 0, 1, 2]))
        if self.chance(0.02):
            slot = self.dice.randrange(POLICY_SLOTS)
            self.epochs[slot] += 8
            if self.chance(0.6):
                core.say_ready(self.slots[slot], self.epochs[slot])
        if self.chance(0.02):
            words = [self.dice.choice([0, 3, 200, core.policy_word(EPOCH, 1)]) for _ in range(2)]
            self.words = words
            core.set_policies(self.at["requests"], *words)
        elif self.chance(0.06):
            acting = self.dice.choice([0, 0, 0, 0, 1, 2])
            self.name(acting, self.dice.choice([slot for slot in (1, 0, 2, None) if slot != acting]))

    def _bury(self, slot: int) -> None:
        """Report a death, of a policy that the guardian may go by or not, and as a rule have a successor ready."""
        core.policy_died(self.at["requests"], core.policy_word(self.epochs[slot], slot))
        self.died[slot] = self.epochs[slot]
        if self.chance(0.9):
            self.epochs[slot] += 8
            core.say_ready(self.slots[slot], self.epochs[slot])
            if self.chance(0.7):
                self.name(0, self.dice.choice([1, 2, None]))

    def _spoil(self, slot: int) -> None:
        """Write garbage into a policy's mailbox."""
        mailbox = (ctypes.c_ubyte * ctypes.sizeof(structs.ActionMailbox)).from_address(self.slots[slot])
        for _ in range(self.dice.randrange(1, 30)):
            mailbox[self.dice.randrange(8, len(mailbox))] = self.dice.randrange(256)
        self.spoilt[slot] = True

    def _operate(self) -> None:
        count = self.config.operator_count + (self.chance(0.02) and self.config.operator_count < 16)
        values = [self.evil() if self.chance(0.05) else self.dice.uniform(-2, 2) for _ in range(count)]
        stamp = self.now + self.dice.choice([0] * 20 + [PERIOD, -30 * MS])
        held = self.dice.choice([1] * 30 + [0, 2])
        self.operate(values, dead_man=held, stamp=stamp)
        said = structs.Operator(stamp, held, count)
        said.values[:count] = values
        self.given.operator = said

    def _measure(self) -> list[float]:
        """What the robot measures: now and then nonsense."""
        dice, config = self.dice, self.config
        upright = {Attitude.WXYZ: [1, 0, 0, 0], Attitude.XYZW: [0, 0, 0, 1], Attitude.GRAVITY: [0, 0, -1]}
        fallen = {Attitude.WXYZ: [0.5, 0.5, 0.5, 0.5], Attitude.XYZW: [1, 0, 0, 0], Attitude.GRAVITY: [1, 0, 0]}
        lying = fallen if self.chance(0.02) else upright
        attitude = lying.get(Attitude(config.attitude), [])
        moving = config.state_count - 1 - len(attitude)
        values = [dice.uniform(-1, 1) for _ in range(moving)] + [dice.randrange(200), *attitude]
        self.stuck = dice.randrange(6) if self.chance(0.02) else max(0, self.stuck - 1)
        values[0] = 0.25 if self.stuck else values[0]
        if self.chance(0.02):
            values[dice.randrange(moving)] = dice.choice([2.6, -2.4, 1e6])
        if self.chance(0.01):
            values[dice.randrange(len(values))] = dice.choice([self.evil(), 300.0, -1.0])
        return values

    def _robot(self) -> None:
        chance, dice = self.chance, self.dice
        self.lockstep ^= chance(0.01)
        flags = StateFlag.LOCKSTEP if self.lockstep else StateFlag(0)
        rare = {StateFlag.EPISODE_START: 0.02, StateFlag.DONE: 0.006, StateFlag.ESTOP: 0.003, StateFlag.WAITING: 0.02}
        for flag, often in rare.items():
            flags |= flag if chance(often) else StateFlag(0)
        values = self._measure()
        if chance(0.92):
            self.state(values, flags, at=self.now + dice.choice([0, 0, 0, MS]))
            return
        old = dice.randrange(2**40)
        bye = wire.encode(wire.Bye(wire.Header(SESSION, 1, 1), 0))
        noise = dice.randrange(2**64).to_bytes(8, "little") * dice.randrange(1, 9)
        dice.choice(
            [
                lambda: None,
                lambda: None,
                lambda: None,
                lambda: self._out_of_order(values, flags, sequence=max(0, self.sequence - old % 3)),
                lambda: self._out_of_order(values, flags, stamp=max(0, self.stamp - old)),
                lambda: self.state(values, flags, stamp=min(self.stamp + old, 2**64 - 1)),
                lambda: self.state(values, flags, session=SESSION + 1),
                lambda: self._burst(values, flags, old % 80),
                lambda: self.inbox.append((self.now, bye)),
                lambda: self.inbox.append((self.now, noise)),
                lambda: self.inbox.append((self.now, -111)),
            ]
        )()

    def _burst(self, values: list[float], flags: StateFlag, count: int) -> None:
        """Send more states than a tick may read, the first with any flags."""
        self.state(values, flags | StateFlag(self.dice.randrange(32)))
        for _ in range(count):
            self.state(values, flags)

    def _out_of_order(self, values: list[float], flags: StateFlag, **changed: int) -> None:
        """Send an old state once more; the ones after it are as new as if it had never been."""
        sequence, stamp = self.sequence, self.stamp
        self.state(values, flags, **changed)
        self.sequence, self.stamp = sequence, stamp

    # A tick, and its judge.

    def run(self) -> bool:
        """Disturb, tick and check; False: the loop is over."""
        self.disturb()
        return self.judged_tick()

    def judged_tick(self) -> bool:
        """Tick and hold it against the model; False: the loop is over."""
        given, count = self.given, len(self.sent)
        given.began_ns, given.sensed_ns = self.now, self.now
        given.acting, given.candidate = self.words
        given.died = list(self.died)
        given.ready = [core.ready_epoch(slot) for slot in self.slots]
        ended = core.library().erl_tick(self.loop_at) == Result.ENDED
        self._notice()
        given.heard = [self._holds(slot) for slot in range(POLICY_SLOTS)]
        record, sent = self.record(), self.sent[count:]
        header = record.header
        with np.errstate(all="ignore"):  # what overflows is infinite or NaN, and refused
            self.model.tick(given, header, record, sent, self.read_status())
        self._check_action(header, record.action)
        for one in sent:
            self.last = one.values.tolist()
        self.seen |= {("mode", header.mode), ("source", header.source), ("event", header.event)}
        self.given = Given(self.now)
        del self.sent[:-1]
        return not ended

    def _holds(self, slot: int) -> tuple[int, int, int, int] | None:
        mailbox = self.actions[slot]
        if self.spoilt[slot] or self.dishonest[slot] or mailbox.sequence == 0:
            return None
        epoch, sequence, _, count, raw_count = struct.unpack_from("<QQQII", mailbox, structs.ActionMailbox.words.offset)
        return epoch, sequence, count, raw_count

    def _check_action(self, header: structs.TickHeader, action: np.ndarray) -> None:
        said = self.said.get((header.epoch, header.action_sequence))
        if header.action_ns and said is not None and not any(self.spoilt):
            assert any(np.array_equal(action, np.array(one, np.float32), equal_nan=True) for one in said)
        if len(self.said) > 200:
            self.said.clear()


def sighted(crowds: list[Crowd]) -> dict[str, set[int]]:
    """Return which modes, sources and events governed a tick of these."""
    seen = set().union(*(crowd.seen for crowd in crowds))
    return {kind: {value for name, value in seen if name == kind} for kind in ("mode", "source", "event")}
