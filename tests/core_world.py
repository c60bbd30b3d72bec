"""A world for the C loop without a robot, a policy process or a clock: time moves only when the loop waits."""

from __future__ import annotations

import ctypes
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgerl.runtime import core, structs, wire
from edgerl.runtime.enums import (
    MAX_RUNGS,
    POLICY_SLOTS,
    Dtype,
    ElementSource,
    Event,
    LadderClass,
    Mode,
    OnViolation,
    Request,
    Result,
    Role,
    Source,
    StateFlag,
)

MS = 1_000_000
PERIOD = 10 * MS
BUDGET = 5 * MS
SESSION = 0x1234_5678_9ABC_DEF0
START = 1_000_000 * MS
EPOCH = 7
NO_FLAGS = StateFlag(0)
SHARED = ("status", "requests", "observation", "ring")
MOST_CALLS = 10_000
"""Of its port in one tick: a loop that calls it more often would never end."""


@dataclass
class Answer:
    """What the fake policy does with one observation."""

    values: list[float]
    delay_ns: int = 1 * MS
    epoch: int | None = None
    sequence: int | None = None
    infer_ns: int = 123
    also_before: int = 0
    """This many answers of another sequence are posted first."""
    raw: list[float] | None = None
    """None: the values, as far as the configuration wants any."""


@dataclass(frozen=True)
class Record:
    """One tick as the ring holds it."""

    header: structs.TickHeader
    state: np.ndarray
    action: np.ndarray
    command: np.ndarray
    shadow: np.ndarray
    operator: np.ndarray

    @property
    def events(self) -> set[Event]:
        return {event for event in Event if self.header.events & (1 << event)}


def small_config(*, hold_ns: int = 20 * MS, safe_ns: int = 30 * MS, **fields: object) -> structs.Config:
    """Three state channels, two command channels: the first rejects, the second saturates."""
    config = core.new_config()
    values = {
        "session": SESSION,
        "period_ns": PERIOD,
        "budget_ns": BUDGET,
        "valid_for_ns": 30 * MS,
        "lead_ns": 1 * MS,
        "state_timeout_ns": 40 * MS,
        "allow_lockstep": 1,
        "bucket_limit": 3,
        "bucket_window": 10,
        "arm_ticks": 4,
        "state_count": 3,
        "command_count": 2,
        "action_count": 2,
        "element_count": 3,
        "term_count": 3,
        "observation_bytes": 64,
        "ring_capacity": 64,
    }
    for name, value in {**values, **fields}.items():
        setattr(config, name, value)
    inf = float("inf")
    for index, (offset, dtype) in enumerate([(0, Dtype.FLOAT32), (4, Dtype.INT32), (8, Dtype.UINT8)]):
        config.states[index] = structs.StateChannel(-inf, inf, -inf, inf, 0, 0)
        config.elements[index] = structs.Element(ElementSource.STATE, index, 0.0, 1.0, -inf, inf)
        config.terms[index] = structs.Term(index, 1, dtype, offset, 1, 4, 0, 0)
    config.commands[0] = command(-1.0, 1.0, inf, inf, 0.0, OnViolation.REJECT)
    config.commands[1] = command(-2.0, 2.0, inf, inf, 0.5, OnViolation.SATURATE, action=1)
    set_ladders(config, hold_ns, safe_ns)
    return config


def command(
    low: float, high: float, rate: float, acceleration: float, safe: float, on_violation: int, *, action: int = 0
) -> structs.CommandChannel:
    """Return a command channel that carries one value of the action."""
    return core.command_channel(
        low=low,
        high=high,
        max_rate=rate,
        max_acceleration=acceleration,
        safe=safe,
        on_violation=OnViolation(on_violation),
        action=action,
    )


def set_ladders(config: structs.Config, hold_ns: int, safe_ns: int) -> None:
    """Make every fault hold, then send the safe command."""
    for ladder in LadderClass:
        set_ladder(config, ladder, (Source.HOLD, hold_ns), (Source.SAFE, safe_ns))


def set_ladder(config: structs.Config, ladder: LadderClass, *rungs: tuple[Source, int]) -> None:
    """Make a class of faults go down these rungs."""
    rows = [structs.Rung(duration_ns, source) for source, duration_ns in rungs]
    config.ladders[ladder] = structs.Ladder(len(rows), 0, (structs.Rung * MAX_RUNGS)(*rows))


def joint_config(*, pd: bool, **fields: object) -> structs.Config:
    """One joint with its position and speed as state; the policy says where to.

    ``pd``: the guardian closes the loop, and the one command is a torque. Otherwise the drive does, and the commands
    are position, kp and kd.
    """
    config = small_config(**{"state_count": 2, "element_count": 1, "term_count": 1, "action_count": 1, **fields})
    inf = float("inf")
    if pd:
        torque = command(-50.0, 50.0, inf, inf, 0.0, OnViolation.SATURATE)
        torque.role, torque.measured, torque.measured_rate, torque.pd = Role.TORQUE, 0, 1, 1
        torque.kp, torque.kd, torque.prepare_kp, torque.prepare_kd, torque.damp_kd = 10.0, 1.0, 20.0, 2.0, 4.0
        torque.prepare = 0.5
        channels = [torque]
    else:
        position = command(-2.0, 2.0, inf, inf, 0.0, OnViolation.REJECT)
        kp = command(0.0, 100.0, inf, inf, 0.0, OnViolation.REJECT, action=-1)
        kd = command(0.0, 10.0, inf, inf, 1.0, OnViolation.REJECT, action=-1)
        position.role, kp.role, kd.role = Role.POSITION, Role.KP, Role.KD
        position.measured, position.prepare = 0, 0.5
        kp.nominal, kp.prepare, kp.damp = 40.0, 80.0, 0.0
        kd.nominal, kd.prepare, kd.damp = 2.0, 4.0, 8.0
        channels = [position, kp, kd]
    config.command_count = len(channels)
    for index, channel in enumerate(channels):
        config.commands[index] = channel
    return config


class World:
    """Owns a loop, its segments and everything that the loop can see."""

    def __init__(self, config: structs.Config | None = None) -> None:
        self.config = config or small_config()
        self.now = START
        self.calls = 0
        """Of the port, in this tick."""
        self.inbox: deque[tuple[int, bytes | int]] = deque()
        self.sent: list[wire.Command] = []
        self.sleeps: list[int] = []
        self.send_answer = 0
        self.babble: bytes | int | None = None
        """What every receive answers at once: a datagram, or an error."""
        self.on_wait: Callable[[], None] | None = None
        self.hooks: list[tuple[int, Callable[[], None]]] = []
        self.policy: Callable[[structs.ObservationHeader, bytes], Answer | None] = lambda header, record: Answer(
            [0.1, 0.2]
        )
        self.observations: list[structs.ObservationHeader] = []
        self._seen = ctypes.c_uint32(0)
        self.sequence = 0
        self.stamp = 500 * MS
        self.stands = [1.5, 2.0, 3.0][: self.config.state_count]
        """What the robot measures where a test says nothing else."""
        tagged = self.config.authenticated == 1
        self.to_robot = bytes(self.config.send_key) if tagged else None
        self.to_controller = bytes(self.config.receive_key) if tagged else None
        self._segments()
        self._start()

    def _segments(self) -> None:
        self.status, self.requests = structs.StatusBlock(), structs.Requests()
        self.observation = structs.ObservationMailbox()
        self.actions = [structs.ActionMailbox() for _ in range(POLICY_SLOTS)]
        self.action = self.actions[0]
        self.ring = (ctypes.c_uint64 * (core.ring_bytes(self.config) // 8))()
        self.at = {
            name: ctypes.addressof(getattr(self, name))
            for name in ("status", "requests", "observation", "action", "ring")
        }
        self.slots = [ctypes.addressof(mailbox) for mailbox in self.actions]
        core.create_segments(self.config, actions=self.slots, **{name: self.at[name] for name in SHARED})
        self.act(EPOCH)
        core.say_ready(self.at["action"], EPOCH)

    def _start(self) -> None:
        self.port = structs.Port(
            None,
            structs.NOW(self._clock),
            structs.SLEEP_UNTIL(self._sleep_until),
            structs.RECEIVE(self._receive),
            structs.SEND(self._send),
            structs.WAIT_WORD(self._wait_word),
        )
        self.loop = np.zeros(core.library().erl_loop_bytes() + 64, np.uint8)
        self.loop_at = (self.loop.ctypes.data + 63) & ~63
        segments = self.segments()
        fault = core.library().erl_loop_start(
            self.loop_at, ctypes.addressof(self.config), ctypes.addressof(segments), ctypes.addressof(self.port)
        )
        assert fault == 0, core.config_fault_name(fault)

    def segments(self) -> structs.Segments:
        """Return the addresses of what this loop shares."""
        status, requests, observation, ring = (self.at[name] for name in SHARED)
        return structs.Segments(status, requests, observation, (ctypes.c_void_p * POLICY_SLOTS)(*self.slots), ring)

    def _advance(self, to: int) -> None:
        for when, hook in sorted(self.hooks, key=lambda pair: pair[0]):
            if when <= to:
                self.hooks.remove((when, hook))
                self.now = max(self.now, when)
                hook()
        self.now = max(self.now, to)

    def _clock(self, _: object) -> int:
        if self._endless():
            self.now += MS
        return self.now

    def _endless(self) -> bool:
        """Count a call; of a loop that does not end by itself, ask for its end, so that the test can fail."""
        self.calls += 1
        if self.calls == MOST_CALLS:
            self.request(Request.QUIT)
        return self.calls >= MOST_CALLS

    def _sleep_until(self, _: object, when: int) -> None:
        self.sleeps.append(when)
        self._advance(when)

    def _receive(self, _: object, buffer: int, capacity: int, deadline: int) -> int:
        if self._endless():
            return -(self.calls % 2)
        if isinstance(self.babble, int):
            return self.babble
        if self.babble is not None:
            ctypes.memmove(buffer, self.babble, len(self.babble))
            return len(self.babble)
        if self.inbox and self.inbox[0][0] <= max(self.now, deadline):
            when, item = self.inbox.popleft()
            self._advance(when)
            if isinstance(item, int):
                return item
            ctypes.memmove(buffer, item, min(len(item), capacity))
            return len(item)
        self._advance(deadline)
        return 0

    def _send(self, _: object, data: int, count: int) -> int:
        if self.send_answer == 0:
            message = wire.decode(ctypes.string_at(data, count), self.to_robot)
            assert isinstance(message, wire.Command)
            self.sent.append(message)
        return self.send_answer

    def _wait_word(self, _: object, word: int, seen: int, deadline: int) -> None:
        assert word - structs.ActionMailbox.sequence.offset in self.slots
        if self.on_wait is not None:
            self.on_wait()
            return
        asked = self._asked()
        answer = None if asked is None else asked[1]
        header = structs.ObservationHeader() if asked is None else asked[0]
        if answer is None or self.now + answer.delay_ns > deadline:
            self._advance(deadline)
            return
        self._advance(self.now + answer.delay_ns)
        self.answer(header, answer)

    def answer(self, header: structs.ObservationHeader, answer: Answer) -> None:
        """Post an answer as the policy process does."""
        values = np.array(answer.values, np.float32)
        epoch = self.epoch if answer.epoch is None else answer.epoch
        sequence = header.sequence if answer.sequence is None else answer.sequence
        raw = values[: self.config.raw_count] if answer.raw is None else np.array(answer.raw, np.float32)
        posted = core.post_action(self.at["action"], epoch, sequence, values, raw=raw, infer_ns=answer.infer_ns)
        assert posted == Result.OK

    def state(
        self,
        values: list[float] | None = None,
        flags: StateFlag = NO_FLAGS,
        *,
        at: int | None = None,
        **changed: int,
    ) -> None:
        """Let the robot send a state that arrives at ``at`` (now)."""
        self.sequence = changed.get("sequence", self.sequence + 1)
        self.stamp = changed.get("stamp", self.stamp + PERIOD)
        header = wire.Header(changed.get("session", SESSION), self.sequence, self.stamp)
        message = wire.State(header, flags, np.array(self.stands if values is None else values, np.float32))
        self.inbox.append((self.now if at is None else at, wire.encode(message, self.to_controller)))

    def operate(self, values: list[float], *, dead_man: int = 0, **changed: int) -> None:
        """Let the operator say something now."""
        said = structs.Operator(changed.get("stamp", self.now), dead_man, changed.get("count", len(values)))
        said.values[: len(values)] = values
        core.post_operator(self.at["requests"], said)

    def act(self, epoch: int) -> None:
        """Name the policy process whose answers count, in the first slot."""
        self.epoch = epoch
        core.set_policies(self.at["requests"], core.policy_word(epoch, 0))

    def die(self) -> None:
        """Report the policy in the first slot dead, and name its successor, which is ready."""
        core.policy_died(self.at["requests"], core.policy_word(self.epoch, 0))
        self.epoch += 1
        core.say_ready(self.at["action"], self.epoch)
        candidate = structs.Requests.from_address(self.at["requests"]).candidate
        core.set_policies(self.at["requests"], core.policy_word(self.epoch, 0), candidate)

    def request(self, kind: Request) -> None:
        core.request(self.at["requests"], kind)

    def _asked(self) -> tuple[structs.ObservationHeader, Answer | None] | None:
        """Show the policy an observation that it has not seen; return what it says to it."""
        header, record = structs.ObservationHeader(), ctypes.create_string_buffer(self.config.observation_bytes)
        found = core.wait_observation(
            self.at["observation"], self._seen, header, ctypes.addressof(record), len(record), timeout_ns=0
        )
        if found != Result.OK:
            return None
        self.observations.append(header)
        return header, self.policy(header, record.raw)

    def tick(self) -> Result:
        """Make one tick; what it asked without waiting is answered while time goes on."""
        self.calls = 0
        result = Result(core.library().erl_tick(self.loop_at))
        assert self.calls < MOST_CALLS, "the tick waited without end"
        asked = self._asked() if self.config.action_delay > 0 else None
        if asked is not None and asked[1] is not None:
            header, answer = asked[0], asked[1]
            self.hooks.append((self.now + answer.delay_ns, lambda: self.answer(header, answer)))
        return result

    def ticks(self, count: int, flags: StateFlag = NO_FLAGS) -> None:
        """Make ticks, each with a fresh state."""
        for _ in range(count):
            self.state(flags=flags)
            assert self.tick() == Result.OK

    def until_posted(self) -> None:
        """Make ticks, up to and with the next one that posts an observation."""
        for _ in range(64):
            self.ticks(1)
            if self.record().header.post_ns != 0:
                return
        raise AssertionError("no observation was posted")

    def arm(self, flags: StateFlag = NO_FLAGS) -> None:
        """Start, arm, and check that it is ACTIVE."""
        self.ticks(1, flags)
        self.request(Request.ARM)
        self.ticks(1, flags)
        assert self.now_mode() == Mode.ACTIVE

    def read_status(self) -> structs.Status:
        status = core.read_status(self.at["status"])
        assert status is not None
        return status

    def now_mode(self) -> Mode:
        return Mode(self.read_status().mode)

    def record(self, index: int = -1) -> Record:
        """Return a tick's record; the last one by default."""
        if index < 0:
            index += core.ring_head(self.at["ring"])
        raw = ctypes.create_string_buffer(structs.Ring.from_buffer(self.ring).record_bytes)
        assert core.read_record(self.at["ring"], index, ctypes.addressof(raw), len(raw)) == Result.OK
        floats = np.frombuffer(raw.raw, np.float32, offset=ctypes.sizeof(structs.TickHeader))
        states, commands, actions = self.config.state_count, self.config.command_count, self.config.action_count
        return Record(
            structs.TickHeader.from_buffer_copy(raw),
            floats[:states],
            floats[states : states + actions],
            floats[states + actions : states + actions + commands],
            floats[states + actions + commands :][:actions],
            floats[states + 2 * actions + commands :][: self.config.operator_count],
        )


def enter(mode: Mode, config: structs.Config | None = None, **fields: int) -> World:
    """Return a world that has got into ``mode``, in this configuration or in one with these fields."""
    config = config or small_config(**fields)
    config.prepare_ns = 10 * PERIOD if mode == Mode.PREPARE else config.prepare_ns
    world = World(config)
    world.operate([0.0] * config.operator_count, dead_man=1)
    if mode in (Mode.SAFE, Mode.PREPARE):
        world.ticks(1)
    else:
        world.arm()
    if mode == Mode.PREPARE:
        world.request(Request.ARM)
        world.ticks(1)
    if mode == Mode.FALLBACK:
        world.die()
        world.ticks(1)
    if mode == Mode.STOPPED:
        world.request(Request.ESTOP)
        world.ticks(1)
    assert world.now_mode() == mode
    return world


def silent(header: structs.ObservationHeader, record: bytes) -> None:
    """Be a policy that never answers."""
