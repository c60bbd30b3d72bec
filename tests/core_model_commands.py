"""What the control loop may send, once more, in Python: envelope, inner law, ramp, and the value of every source.

Part of :mod:`tests.core_model`. Limits are double precision and setpoints float32, as docs/safety.md and the header
have them, so what the loop sent is compared exactly; beside that each value is held against its limits as such.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from edgerl.runtime import structs
from edgerl.runtime.enums import InnerLaw, LadderClass, Mode, OnViolation, Role, Source

if TYPE_CHECKING:
    from tests.core_model import Model

F32 = np.float32
MAX = float(np.finfo(np.float32).max)
ALL = (-MAX, MAX)
Setpoints = np.ndarray
"""Target, kp and kd of each channel, shape (channels, 3), float32."""


class Inner:
    """What one policy said last, and how far its commands have followed."""

    def __init__(self, channels: int, actions: int) -> None:
        self.has, self.taken, self.blend_ns = False, 0, 0
        self.target, self.before, self.stands = (np.zeros(actions, F32) for _ in range(3))
        self.blend_from = np.zeros((channels, 3), F32)

    def take(self, values: np.ndarray, tick: int) -> None:
        self.before, self.target, self.taken, self.has = self.stands.copy(), values.copy(), tick, True


def mixed(a: np.ndarray, b: np.ndarray, weight: np.float32) -> np.ndarray:
    return b if weight >= 1 else a + weight * (b - a)


class Commands:
    """The commands of a loop, and the judge of each."""

    def __init__(self, config: structs.Config) -> None:
        self.config = config
        self.channels = list(config.commands[: config.command_count])
        self.pd = [channel.pd == 1 for channel in self.channels]
        self.last = [0.0] * len(self.channels)
        self.rate = [0.0] * len(self.channels)
        self.has_rate, self.since_ns = False, 0
        self.holds_pd = False
        self.held = np.zeros((len(self.channels), 3), F32)
        self.wanted = self.held
        self.inner = Inner(len(self.channels), config.action_count)
        self.standby = Inner(len(self.channels), config.action_count)
        self.stands_by = 0
        self.ramp_over, self.ramp_ns, self.ramp_from = False, 0, list(self.last)
        self.policy: list[float] = []
        self.expected: list[float] = []

    def advance(self, elapsed_ns: int) -> None:
        self.since_ns += elapsed_ns
        self.progress_ns = min(elapsed_ns, self.config.period_ns)

    def seed(self, model: Model) -> None:
        """No command is in force: the next one sets out from the robot itself, a period ago."""
        for i, channel in enumerate(self.channels):
            at = self.last[i] if model.written else channel.safe
            if channel.role in (Role.POSITION, Role.VELOCITY):
                measured = 0.0 if model.values is None else float(model.values[max(0, channel.measured)])
                at = measured if channel.measured >= 0 else at
            elif channel.role == Role.TORQUE:
                at = 0.0
            else:
                at = channel.safe
            self.last[i] = min(max(at, channel.low), channel.high) if math.isfinite(at) else channel.safe
        self.has_rate, self.since_ns, self.holds_pd = False, self.config.period_ns, False

    # The envelope.

    def _windows(self, i: int, moving: bool, approach: bool) -> tuple[tuple[float, float], ...]:
        channel, last, dt = self.channels[i], self.last[i], float(self.since_ns) * 1e-9
        rate = acceleration = ALL
        if math.isfinite(channel.max_rate):
            rate = (last - channel.max_rate * dt, last + channel.max_rate * dt)
        if (moving or approach) and math.isfinite(channel.max_acceleration):
            centre = last + self.rate[i] * dt if moving else last
            reach = channel.max_acceleration * (dt * dt)
            acceleration = (centre - reach, centre + reach)
        return (channel.low, channel.high), rate, acceleration

    def _within(self, value: float, windows: tuple[tuple[float, float], ...]) -> float:
        reach, rate, acceleration = windows
        low, high = max(reach[0], -MAX, rate[0]), min(reach[1], MAX, rate[1])
        value = min(max(min(max(value, acceleration[0]), acceleration[1]), low), high)
        nearest = float(F32(value))
        if nearest > high:
            return float(np.nextafter(F32(nearest), F32(-np.inf)))
        return float(np.nextafter(F32(nearest), F32(np.inf))) if nearest < low else nearest

    def _judge(self, model: Model, takes_over: bool, wanted: Setpoints) -> tuple[bool, list[float]]:
        """Return whether the envelope refuses it, and what may be sent."""
        refused, out = False, []
        for i, channel in enumerate(self.channels):
            saturates = channel.on_violation == OnViolation.SATURATE
            if self.pd[i] and not channel.target_low <= wanted[i, 0] <= channel.target_high:
                refused = refused or not saturates or not np.isfinite(wanted[i, 0])
                wanted[i, 0] = min(max(wanted[i, 0], channel.target_low), channel.target_high)
            value = self._command(model, i, wanted[i])
            if not math.isfinite(value):
                refused = True
                out.append(channel.safe)
                continue
            windows = self._windows(i, self.has_rate and not takes_over, False)
            inside = all(low <= value <= high for low, high in windows)
            refused = refused or not (inside or saturates)
            out.append(value if inside else self._within(value, windows))
        return refused, out

    def _approach(self, i: int, takes_over: bool, value: float) -> float:
        channel, dt = self.channels[i], float(self.since_ns) * 1e-9
        target = value if math.isfinite(value) else channel.safe
        limit = channel.max_acceleration
        if math.isfinite(limit):
            way = abs(target - self.last[i])
            if way > limit * dt * dt:
                speed = limit * (math.sqrt(dt * dt + 2.0 * way / limit) - dt)
                target = self.last[i] + math.copysign(speed * dt, target - self.last[i])
        return self._within(target, self._windows(i, self.has_rate and not takes_over, True))

    # Setpoints.

    def _command(self, model: Model, i: int, setpoint: np.ndarray) -> float:
        """The command that a setpoint means; without a new state a torque stays what it was."""
        if not self.pd[i]:
            return float(setpoint[0])
        if not model.observed:
            return self.last[i]
        position = model.values[self.channels[i].measured]
        rate = model.values[self.channels[i].measured_rate]
        return float(setpoint[1] * (setpoint[0] - position) - setpoint[2] * rate)

    def _stand(self, model: Model) -> Setpoints:
        """What each channel was wanted to be in the command in force."""
        found = np.zeros((len(self.channels), 3), F32)
        for i, channel in enumerate(self.channels):
            if not self.pd[i]:
                found[i, 0] = self.last[i]
            elif self.holds_pd:
                found[i] = self.held[i]
            else:
                found[i] = (model.values[channel.measured], channel.kp, channel.kd)
        return found

    def _start(self, model: Model, inner: Inner) -> None:
        inner.blend_ns, inner.blend_from = 0, self._stand(model)
        for i, channel in enumerate(self.channels):
            if channel.action >= 0:
                inner.stands[channel.action] = inner.before[channel.action] = inner.blend_from[i, 0]

    def _make(self, model: Model, inner: Inner, tick: int, takes_over: bool) -> bool:
        c = self.config
        ticks = tick - inner.taken + 1
        whole = c.inner_law != InnerLaw.INTERPOLATE or ticks >= c.policy_divider
        values = mixed(inner.before, inner.target, F32(1) if whole else F32(ticks) / F32(c.policy_divider))
        wanted = np.zeros((len(self.channels), 3), F32)
        for i, channel in enumerate(self.channels):
            wanted[i] = (values[channel.action] if channel.action >= 0 else channel.nominal, channel.kp, channel.kd)
        if inner.blend_ns < c.blend_ns:
            inner.blend_ns += self.progress_ns
            weight = F32(inner.blend_ns) / F32(c.blend_ns)
            for i, channel in enumerate(self.channels):
                if channel.action >= 0 or channel.role in (Role.KP, Role.KD):
                    wanted[i] = mixed(inner.blend_from[i], wanted[i], weight)
        refused, self.policy = self._judge(model, takes_over, wanted)
        self.wanted = wanted
        if not refused:
            inner.stands = values.copy()
        return refused

    def begin(self, model: Model, header: structs.TickHeader) -> bool:
        """Try a policy's first action, as it says it and then blended in; True: it is refused."""
        inner, blend_ns = self.inner, self.config.blend_ns
        self._start(model, inner)
        inner.take(model.action, header.tick)
        inner.blend_ns = blend_ns
        refused = self._make(model, inner, header.tick, True)
        if refused or blend_ns == 0:
            return refused
        inner.blend_ns = 0
        return self._make(model, inner, header.tick, True)

    def act(self, model: Model, header: structs.TickHeader) -> bool:
        """Make the command of the action in effect; True: it is refused."""
        return self._make(model, self.inner, header.tick, model.last_source != Source.POLICY)

    def stand_by(self, model: Model, header: structs.TickHeader) -> bool:
        """Make the candidate's command; True: there is one, and it may be sent."""
        if not self.standby.has or header.tick - self.standby.taken >= self.config.policy_divider:
            return False
        takes_over = model.last_source != Source.STANDBY
        if takes_over or self.stands_by != model.candidate:
            self._start(model, self.standby)
        self.stands_by = model.candidate
        return not self._make(model, self.standby, header.tick, takes_over)

    def ramp_start(self, model: Model) -> None:
        self.ramp_ns, self.ramp_over = 0, False
        self.ramp_from = [
            float(model.values[channel.measured]) if pd else last
            for channel, pd, last in zip(self.channels, self.pd, self.last, strict=True)
        ]

    def _ramp(self) -> Setpoints:
        """Where PREPARE wants each channel: positions on a minimum-jerk way, gains at once."""
        duration_ns = self.config.prepare_ns
        self.ramp_ns += self.progress_ns
        x = self.ramp_ns / duration_ns
        way = x * x * x * (10.0 + x * (6.0 * x - 15.0))
        wanted = np.zeros((len(self.channels), 3), F32)
        for i, channel in enumerate(self.channels):
            target = channel.prepare
            if self.ramp_ns < duration_ns and (self.pd[i] or channel.role == Role.POSITION):
                target = self.ramp_from[i] + (channel.prepare - self.ramp_from[i]) * way
            wanted[i] = (target, channel.prepare_kp, channel.prepare_kd)
        return wanted

    # What is sent.

    def want(self, model: Model, source: Source, mode: Mode) -> None:
        """Find what this source must send in this tick."""
        takes_over = model.last_source != source
        self.pd_after = source in (Source.POLICY, Source.STANDBY, Source.RAMP)
        if source in (Source.POLICY, Source.STANDBY, Source.LAPSE):
            self.expected = self.policy
            return
        if source == Source.HOLD:
            self.pd_after = self.holds_pd and mode in (Mode.ACTIVE, Mode.PREPARE)
            self.wanted = self.held
            values = [
                self._command(model, i, self.held[i]) if pd and self.pd_after else last
                for i, (pd, last) in enumerate(zip(self.pd, self.last, strict=True))
            ]
        elif source == Source.RAMP:
            self.wanted = self._ramp()
            values = [self._command(model, i, setpoint) for i, setpoint in enumerate(self.wanted)]
        elif source == Source.DAMP:
            values = [self._damping(model, i) for i in range(len(self.channels))]
        else:
            values = [channel.safe for channel in self.channels]
        self.expected = [self._approach(i, takes_over, value) for i, value in enumerate(values)]

    def _damping(self, model: Model, i: int) -> float:
        channel = self.channels[i]
        if not self.pd[i] or not model.observed or model.ladder == LadderClass.STATE:
            return channel.damp
        return float(F32(channel.damp) - F32(channel.damp_kd) * model.values[channel.measured_rate])

    def check(self, model: Model, source: Source, values: list[float]) -> None:
        """Hold a command that was sent against its limits, and against what its source must send."""
        dt = float(self.since_ns) * 1e-9
        for value, channel, last in zip(values, self.channels, self.last, strict=True):
            assert math.isfinite(value)
            assert channel.low <= value <= channel.high
            if math.isfinite(channel.max_rate):
                assert abs(value - last) <= channel.max_rate * dt * (1 + 1e-12) + abs(last) * 2.0**-52
        assert values == self.expected, (source, values, self.expected)
        if source == Source.RAMP:
            there = (pd or v == c.prepare for pd, v, c in zip(self.pd, values, self.channels, strict=True))
            self.ramp_over = self.ramp_ns >= self.config.prepare_ns and all(there)
        self._commit(values, model.last_source != source)

    def _commit(self, values: list[float], takes_over: bool) -> None:
        moved = self.since_ns > 0
        if moved:
            dt = float(self.since_ns) * 1e-9
            self.rate = [(value - last) / dt for value, last in zip(values, self.last, strict=True)]
        self.last = list(values)
        self.has_rate = moved or (self.has_rate and not takes_over)
        self.since_ns = 0
        self.held, self.holds_pd = self.wanted.copy(), self.pd_after
