"""What a tick of the control loop meets, once more, in Python: states, times, requests, operator, and itself.

Part of :mod:`tests.core_model`.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections import deque
from dataclasses import dataclass, field

import numpy as np

from edgerl.runtime import structs
from edgerl.runtime.enums import (
    MAX_DRAIN,
    POLICY_SLOTS,
    Attitude,
    Clock,
    Dtype,
    ElementSource,
    Event,
    LadderClass,
    Request,
    StateFlag,
)
from tests.core_model_commands import Commands
from tests.core_model_table import E, M, S

OF_REQUEST = {
    Request.DISARM: E.DISARM,
    Request.ESTOP: E.ESTOP,
    Request.RESET: E.RESET,
    Request.QUIT: E.QUIT,
}
URGENT = {Request.DISARM, Request.ESTOP, Request.QUIT}
STICKY = StateFlag.EPISODE_START | StateFlag.ESTOP | StateFlag.DONE


@dataclass
class Given:
    """What went into one tick."""

    began_ns: int
    sensed_ns: int = 0
    """When the tick had its state: requests and heartbeats are looked at then."""
    datagrams: list[bytes] = field(default_factory=list)
    """As they were read; empty: an error."""
    requests: set[Request] = field(default_factory=set)
    heartbeat: bool = False
    operator: structs.Operator | None = None
    acting: int = 0
    candidate: int = 0
    died: list[int] = field(default_factory=lambda: [0] * POLICY_SLOTS)
    """Newest epoch of each slot that is reported dead."""
    ready: list[int] = field(default_factory=list)
    """Epoch that each slot says to be ready, while the tick ran."""
    heard: list[tuple[int, int, int, int] | None] = field(default_factory=list)
    """Epoch, sequence and counts that each mailbox holds after the tick; None: nothing that could be read."""


def _lives(given: Given, word: int) -> bool:
    slot, epoch = word & 0xFF, word >> 8
    return slot < POLICY_SLOTS and epoch > given.died[slot]


class Bucket:
    """So many of the last so many."""

    def __init__(self, limit: int, window: int) -> None:
        self.limit, self.last = limit, deque([False] * window, max(1, window))

    def push(self, bad: bool) -> bool:
        self.last.append(bad)
        return sum(self.last) >= self.limit


class Senses:
    """What the loop remembers, and what it meets."""

    def __init__(self, config: structs.Config, start_ns: int) -> None:
        self.config = config
        self.commands = Commands(config)
        self.mode, self.last_source = M.SAFE, S.LAPSE
        self.sequence = self.stamp = 0
        self.values: np.ndarray | None = None
        self.before = [0.0] * config.state_count
        self.states = 0
        self.on_grid = False
        self.same = [0] * config.state_count
        self.clock = Clock.WAITING
        self.tick_ns = self.start_ns = self.beat_ns = start_ns
        self.silent_ns = self.ladder_ns = self.ahead_ns = self.stale_ns = 0
        self.ladder = LadderClass.POLICY
        self.trying = False
        self.limits = [(one.low, one.high) for one in config.states[: config.state_count]]
        self.starts = [(one.start_low, one.start_high) for one in config.states[: config.state_count]]
        self.noisy = [one.noisy == 1 for one in config.states[: config.state_count]]
        self.whole = [
            (element.index, term.dtype)
            for term in config.terms[: config.term_count]
            for element in config.elements[term.first : term.first + term.count]
            if element.source == ElementSource.STATE and term.dtype != Dtype.FLOAT32
        ]
        self.written = self.supervisor_lost = self.late = self.outstanding = self.posted = self.restart = False
        self.asked_ticks = self.asked = self.seen_acting = self.acting = self.candidate = 0
        self.said: structs.Operator | None = None
        self.arm_left = self.switch_left = 0
        self.command_sequence = 0
        self.fault = E.NOMINAL
        self._new_buckets()

    def _new_buckets(self) -> None:
        c = self.config
        self.bucket = Bucket(c.bucket_limit, c.bucket_window)
        self.jitter = Bucket(c.jitter_limit, c.jitter_window)

    # What was met.

    def _listen(self, given: Given) -> None:
        """Take the newest state; keep the flags of those that it overtook."""
        self.observed, self.bye, self.flags = False, False, StateFlag(0)
        self.read = 0
        size = 40 + 4 * self.config.state_count + 4
        for data in given.datagrams:
            bye = len(data) == 40
            waits = self.clock != Clock.GRID and not self.observed
            self.read = 1 if waits and self.read == MAX_DRAIN else self.read + 1  # it slept, and begins to count anew
            self.read = 0 if waits and not data else self.read
            if len(data) != size and not bye:
                continue
            magic, version, kind, session, sequence, stamp = struct.unpack_from("<4sHHQQQ", data)
            good = magic == b"ERLP" and version == 1 and zlib.crc32(data[:-4]) == struct.unpack("<I", data[-4:])[0]
            if not good or session != self.config.session or kind not in (4, 6):
                continue
            if kind == 6 and bye:
                self.bye = self.bye or struct.unpack_from("<H", data, 34)[0] == 0
                continue
            flags, count, zero = struct.unpack_from("<IHH", data, 32)
            if kind != 4 or len(data) != size or flags > 31 or count != self.config.state_count or zero:
                continue
            if self.values is not None and (sequence <= self.sequence or stamp <= self.stamp):
                continue
            self.flags = (self.flags & STICKY) | StateFlag(flags)
            self.own_flags = StateFlag(flags)
            self.sequence, self.stamp, self.observed = sequence, stamp, True
            self.values = np.frombuffer(data, np.float32, count, 40)

    def _time(self, given: Given, header: structs.TickHeader) -> None:
        """Let the tick's clock go on, and with it all that counts time."""
        before = self.clock
        if self.observed:
            lockstep = self.config.allow_lockstep and self.own_flags & StateFlag.LOCKSTEP
            self.clock = Clock.LOCKSTEP if lockstep else Clock(self.config.clock)
        assert header.clock == self.clock
        old = self.observed and self.read >= MAX_DRAIN and self.clock != Clock.LOCKSTEP
        self.observed = self.observed and not old
        stands = self.clock in (Clock.LOCKSTEP, Clock.ROBOT)
        if stands:
            dated = self.observed or self.clock != before
            assert header.tick_ns == (self.stamp if dated else self.tick_ns)
        elif self.clock == Clock.GRID and before != Clock.LOCKSTEP:
            assert header.tick_ns == header.scheduled_ns
            assert 0 <= header.start_ns - header.tick_ns < self.config.period_ns
            if self.on_grid:
                assert header.tick_ns - self.tick_ns == self.config.period_ns * (1 + header.missed_periods)
        by_grid = before == Clock.GRID or (before == Clock.WAITING and self.clock == Clock.GRID)
        self.on_grid = by_grid and self.clock == Clock.GRID
        self.elapsed_ns = header.tick_ns - self.tick_ns if self.clock == before else self.config.period_ns
        assert self.elapsed_ns >= 0
        self.late_ns = header.start_ns - header.scheduled_ns
        if by_grid:
            self.late_ns += header.missed_periods * self.config.period_ns
        real_ns = header.start_ns - self.start_ns
        if stands and not self.observed:
            self.ladder_ns += real_ns
            self.ahead_ns += real_ns
        else:
            self.ladder_ns += max(0, self.elapsed_ns - self.ahead_ns)
            self.ahead_ns = 0
        self.silent_ns += self.elapsed_ns
        self.stale_ns = 0 if self.observed else self.stale_ns + self.elapsed_ns
        self.tick_ns, self.start_ns = header.tick_ns, header.start_ns
        patience_ns = self.config.period_ns if self.supervisor_lost else self.config.state_timeout_ns
        waited = before != Clock.GRID and not (self.observed or old) and given.sensed_ns - given.began_ns >= patience_ns
        hurried = not self.supervisor_lost and self._misses_supervisor(given)
        self.timed_out = waited and not hurried and self.clock != Clock.ROBOT

    def _misses_supervisor(self, given: Given) -> bool:
        timeout_ns = self.config.heartbeat_timeout_ns
        return timeout_ns != 0 and not given.heartbeat and given.sensed_ns - self.beat_ns >= timeout_ns

    def _tilted(self, least: float) -> bool:
        gravity = self.gravity
        return least != -1.0 and not -gravity[2] / math.sqrt(sum(x * x for x in gravity)) >= least - 1e-6

    def _attitude(self) -> bool:
        """Find where gravity points; False: the state says no direction."""
        c = self.config
        at = [float(x) for x in self.values[c.attitude_channel :][:4]]
        self.gravity = (0.0, 0.0, -1.0)
        if c.attitude == Attitude.NONE:
            return True
        if c.attitude == Attitude.GRAVITY:
            self.gravity = tuple(at[:3])
            return 0.96 <= sum(x * x for x in self.gravity) <= 1.04
        w, x, y, z = at if c.attitude == Attitude.WXYZ else (at[3], *at[:3])
        norm = w * w + x * x + y * y + z * z
        if not 0.96 <= norm <= 1.04:
            return False
        down = (2 * (x * z - w * y), 2 * (y * z + w * x), w * w - x * x - y * y + z * z)
        self.gravity = tuple(-part / norm for part in down)
        return True

    def _state_events(self) -> set[Event]:
        c, events = self.config, set()
        values = [] if self.values is None else self.values.tolist()
        if not self.observed:
            events.add(E.STATE_LOST)
        elif not (all(map(math.isfinite, values)) and self._attitude()):
            events.add(E.STATE_FAULT)
        else:
            inside = all(low <= value <= high for (low, high), value in zip(self.limits, values, strict=True))
            events |= set() if inside and not self._tilted(c.tilt_cos) else {E.STATE_LIMIT}
            comparable = self.states > 0 and not self.flags & StateFlag.WAITING
            pairs = zip(values, self.before, self.same, strict=True)
            self.same = [same + 1 if comparable and value == before else 0 for value, before, same in pairs]
            noisy = any(noisy and same >= c.frozen_ticks for noisy, same in zip(self.noisy, self.same, strict=True))
            events |= {E.STATE_FROZEN} if c.frozen_ticks and noisy else set()
            self.before = values
        self.states += self.observed
        self.restart = self.restart or bool(self.flags & StateFlag.EPISODE_START)
        events |= {E.STATE_FAULT} if self.bye or self.timed_out else set()
        events |= {E.ESTOP} if self.flags & StateFlag.ESTOP else set()
        return events | ({E.DONE} if self.flags & StateFlag.DONE else set())

    def _supervisor_events(self, given: Given) -> set[Event]:
        self.supervisor_lost = self._misses_supervisor(given)
        self.beat_ns = given.sensed_ns if given.heartbeat else self.beat_ns
        events = {OF_REQUEST[kind] for kind in given.requests if kind in OF_REQUEST}
        if Request.ARM in given.requests and self.mode in (M.SAFE, M.PREPARE):
            self.arm_left = self.config.arm_ticks
        lost = self.acting != 0 and not _lives(given, self.acting)
        events |= {E.POLICY_FAULT} if lost else set()
        if lost or given.acting != self.seen_acting:
            self.seen_acting = given.acting
            self.acting = given.acting if _lives(given, given.acting) else 0
        before = self.candidate
        known = given.candidate != self.acting and _lives(given, given.candidate)
        self.candidate = given.candidate if known else 0
        self.switch_left = self.switch_left if self.candidate == before else 0
        self.commands.standby.has = self.commands.standby.has and self.candidate == before
        if Request.SWITCH in given.requests and self.candidate and self.mode not in (M.FALLBACK, M.STOPPED):
            self.switch_left = self.config.arm_ticks
        return events | ({E.SUPERVISOR_FAULT} if self.supervisor_lost else set())

    def _operator_events(self, given: Given, header: structs.TickHeader) -> set[Event]:
        c = self.config
        self.held = True
        if c.operator_count == 0 and c.dead_man == 0:
            return set()
        said = given.operator
        if (
            said is not None
            and said.count == c.operator_count
            and said.dead_man <= 1
            and 0 < said.stamp_ns <= header.start_ns
            and all(map(math.isfinite, said.values[: c.operator_count]))
        ):
            self.said = said
        fresh = self.said is not None and header.start_ns - self.said.stamp_ns <= c.operator_timeout_ns
        for i in range(c.operator_count):
            one = c.operators[i]
            wanted = min(max(self.said.values[i], one.low), one.high) if fresh else one.timeout_value
            assert self.operators[i] == wanted
        self.held = c.dead_man == 0 or (fresh and self.said.dead_man == 1)
        events = set() if fresh else {E.OPERATOR_LOST}
        return events | ({E.DEAD_MAN} if not self.held and self.mode in (M.ACTIVE, M.PREPARE) else set())

    def _own_events(self, header: structs.TickHeader) -> set[Event]:
        """What the loop finds wrong with itself."""
        c, events = self.config, set()
        events |= {E.OVERRUN} if header.missed_periods else set()
        if self.mode in (M.ACTIVE, M.PREPARE):
            jitters = c.jitter_budget_ns != 0 and self.jitter.push(self.late_ns > c.jitter_budget_ns)
            events |= {E.JITTER_FAULT} if jitters else set()
            events |= {E.LAPSED} if not self.in_force else set()
        all_ns = sum(rung.duration_ns for rung in self._rungs())
        over = self.mode == M.FALLBACK and self.ladder_ns >= all_ns
        return events | ({E.LADDER_END} if over else set())

    def _rungs(self) -> list[structs.Rung]:
        ladder = self.config.ladders[self.ladder]
        return list(ladder.rungs[: ladder.count])
