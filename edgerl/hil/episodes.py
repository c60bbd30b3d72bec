"""The episodes of a plant: publish, collect commands, choose the one that is valid by the robot's clock, integrate.

In real time it publishes at t_k on an absolute grid and integrates at t_k + budget, not earlier; in lockstep it waits
for the answer. Both share the choice: the newest accepted command while its ``valid_for`` lasts, then the lapse one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from edgerl.hil.environment import Environment
from edgerl.hil.grid import Clock, Grid, MonotonicClock
from edgerl.hil.port import Address, Owner, UdpRobotSide
from edgerl.hil.spaces import ActionChannels, ObservationChannels
from edgerl.runtime import wire
from edgerl.runtime.enums import Mode
from edgerl.runtime.frames import FrameWriter
from edgerl.runtime.layout import Layout
from edgerl.runtime.plant_lines import EpisodeResult, PlantEnd, PlantLine, Span
from edgerl.runtime.realtime import be_ordinary
from edgerl.runtime.wire import StateFlag

PATIENCE_NS = 1_000_000_000
"""Lockstep goes on without an answer after this."""
ATTEND_NS = 50_000_000
"""Without a controller, whoever wants the images is answered this often."""
FAREWELL_NS = 2_000_000_000
"""DONE is repeated at most this long."""


@dataclass(frozen=True)
class PlantConfig:
    """What a plant is told."""

    env: str
    """Gymnasium's id, or ``module:id`` for an environment that the module registers."""
    listen: Address = ("127.0.0.1", 0)
    seed: int = 0
    """Episode i is reset with ``seed + i``."""
    episodes: int = 1
    realtime_seconds: float = math.inf
    """Lockstep begins after this time of stepping; 0 for lockstep from the start."""
    budget_fraction: float = 0.8
    """Share of the period after which the plant integrates."""
    period_ns: int | None = None
    """None: the environment's own; where it has none, the controller's."""
    claim_timeout_s: float = 60.0
    """Ends when no controller came for this long."""
    priority: int = 0
    """SCHED_FIFO priority that it tries to get in real time; 0 for none."""
    layout: Layout | None = None
    """Names and units that the controller uses; None: the environment's generic ones."""
    frames: Path | None = None
    """Socket that gives the environment's images to whoever asks; None: nobody can."""
    frame_sockets: tuple[int, ...] = ()
    """Descriptors of sockets to a controller that is connected already."""


@dataclass
class _Tally:
    """One episode, while it runs."""

    steps: int = 0
    episode_return: float = 0.0
    realtime_steps: int = 0
    missed: int = 0
    lapsed: int = 0
    outside: int = 0
    missed_periods_before: int = 0
    spans: list[list[int | None]] = field(default_factory=list)
    latency_ns: list[int] = field(default_factory=list)
    lateness_ns: list[int] = field(default_factory=list)

    def count_applied(self, mode: int | None, source: int | None) -> None:
        if self.spans and self.spans[-1][:2] == [mode, source]:
            self.spans[-1][2] = (self.spans[-1][2] or 0) + 1
        else:
            self.spans.append([mode, source, 1])


@dataclass(frozen=True, eq=False)
class _Exchange:
    """What one period brought."""

    command: wire.Command | None
    """The newest valid command; None where all have lapsed."""
    answered: bool
    """Whether it answers this period's own state."""
    latency_ns: int
    lateness_ns: int


class Plant:
    """Runs episodes of an environment for the owner of a port."""

    def __init__(
        self,
        env: Environment,
        config: PlantConfig,
        port: UdpRobotSide,
        channels: tuple[ObservationChannels, ActionChannels],
        frames: FrameWriter,
    ) -> None:
        self._env = env
        self._config = config
        self._port = port
        self._frames = frames
        self._observation, self._action = channels
        self._clock: Clock = MonotonicClock()
        self._last: wire.Command | None = None
        self._stamp_ns = 0

    def run(self, report: Callable[[PlantLine], None]) -> PlantEnd:
        """Serve one controller until the last episode is over or it went; episodes are reported as they end."""
        owner = self._claim()
        if owner is None:
            return self._end("unclaimed")
        self._period_ns = owner.period_ns
        self._realtime_left = self._config.realtime_seconds * 1e9 / self._period_ns
        self._grid = Grid(self._clock, self._period_ns)
        self._stamp_ns = self._grid.at_ns
        for index in range(self._config.episodes):
            result = self._episode(index)
            report(result)
            if self._port.left is not None:
                return self._end(self._port.left)
        self._say_done()
        return self._end("done")

    def _claim(self) -> Owner | None:
        until_ns = self._clock.now_ns() + round(self._config.claim_timeout_s * 1e9)
        owner = None
        while owner is None and (now_ns := self._clock.now_ns()) < until_ns:
            self._frames.attend()
            owner = self._port.claim(min(until_ns, now_ns + ATTEND_NS))
        return owner

    def _end(self, reason: str) -> PlantEnd:
        dropped = {
            cause.value: count for cause, count in sorted(self._port.dropped.items(), key=lambda item: item[0].value)
        }
        refused = {code.name.lower(): count for code, count in sorted(self._port.refused.items())}
        return PlantEnd("end", reason, self._port.accepted, dropped, refused)  # type: ignore[arg-type]

    def _episode(self, index: int) -> EpisodeResult:
        seed = self._config.seed + index
        self._show(self._env.reset(seed=seed)[0] if index == 0 else self._reset_meanwhile(seed))
        self._last = None
        tally = _Tally(missed_periods_before=self._grid.missed)
        exchange = self._wait_for_active()
        terminated = truncated = False
        while exchange is not None:
            terminated, truncated = self._integrate(exchange, tally)
            if terminated or truncated:
                break
            exchange = self._exchange(StateFlag(0))
        return self._result(index, seed, tally, (terminated, truncated))

    def _result(self, index: int, seed: int, tally: _Tally, ended: tuple[bool, bool]) -> EpisodeResult:
        total = tally.episode_return
        return EpisodeResult(
            "episode",
            index,
            seed,
            None if math.isnan(total) else total,
            tally.steps,
            *ended,
            self._port.left,
            tally.realtime_steps,
            tally.missed,
            tally.lapsed,
            tally.outside,
            self._grid.missed - tally.missed_periods_before,
            tuple(Span(mode, source, steps or 0) for mode, source, steps in tally.spans),
            tuple(tally.latency_ns),
            tuple(tally.lateness_ns),
        )

    def _show(self, observation: object) -> None:
        self._values = self._observation.flatten(observation)
        self._images = self._observation.images(observation)

    def _publish(self, flags: StateFlag) -> int:
        """The images first: whoever has the state finds those that belong to it."""
        for frame, image in zip(self._observation.frames, self._images, strict=True):
            self._frames.write(frame.name, image, state_stamp_ns=self._stamp_ns)
        return self._port.publish(self._values, flags, self._stamp_ns)

    def _wait_for_active(self) -> _Exchange | None:
        """Stand still until a command from mode ACTIVE answers; None where the controller went."""
        while True:
            exchange = self._exchange(StateFlag.EPISODE_START | StateFlag.WAITING)
            if exchange is None:
                return None
            command = exchange.command
            if exchange.answered and command is not None and command.mode == Mode.ACTIVE:
                return exchange
            if self._realtime_left < 1:
                self._grid.wait()  # lockstep has no pace of its own, and standing still is no race

    def _integrate(self, exchange: _Exchange, tally: _Tally) -> tuple[bool, bool]:
        command = exchange.command
        tally.missed += not exchange.answered
        tally.lapsed += command is None
        tally.count_applied(None if command is None else command.mode, None if command is None else command.source)
        if self._realtime_left >= 1:
            tally.realtime_steps += 1
            tally.lateness_ns.append(exchange.lateness_ns)
            if exchange.answered:
                tally.latency_ns.append(exchange.latency_ns)
            self._leave_realtime_after(1)
        action, moved = self._action.unflatten(self._action.lapse if command is None else command.values)
        tally.outside += moved
        observation, reward, terminated, truncated, _ = self._env.step(action)
        self._show(observation)
        tally.steps += 1
        tally.episode_return += float(reward)
        return bool(terminated), bool(truncated)

    def _reset_meanwhile(self, seed: int) -> object:
        """Reset as a real robot would, which goes on telling its state while it waits; return the observation."""
        with ThreadPoolExecutor(1) as thread:
            reset = thread.submit(self._env.reset, seed=seed)
            while wait([reset], self._period_ns * 0.5e-9).not_done:
                if self._exchange(StateFlag.WAITING) is None:
                    break
            return reset.result()[0]

    def _leave_realtime_after(self, steps: int) -> None:
        self._realtime_left -= steps
        if self._realtime_left < 1:
            be_ordinary()

    def _exchange(self, flags: StateFlag) -> _Exchange | None:
        """Publish, collect commands until the deadline, choose; None where the controller went."""
        if self._realtime_left < 1:
            return self._exchange_in_lockstep(flags)
        at_ns = self._grid.wait()
        self._stamp_ns = self._clock.now_ns()
        sequence = self._publish(flags)
        deadline_ns = at_ns + round(self._period_ns * self._config.budget_fraction)
        latency_ns = -1
        while (arrival := self._port.receive(deadline_ns)) is not None:
            self._last = arrival.command
            if arrival.command.state_sequence == sequence and latency_ns < 0:
                latency_ns = arrival.arrived_ns - self._stamp_ns
        if self._port.owner is None:
            return None
        self._clock.sleep_until(deadline_ns)
        return self._choose(sequence, self._clock.now_ns(), latency_ns, self._stamp_ns - at_ns)

    def _exchange_in_lockstep(self, flags: StateFlag) -> _Exchange | None:
        self._stamp_ns += self._period_ns
        sequence = self._publish(flags | StateFlag.LOCKSTEP)
        deadline_ns = self._clock.now_ns() + PATIENCE_NS
        while (arrival := self._port.receive(deadline_ns)) is not None:
            self._last = arrival.command
            if arrival.command.state_sequence == sequence:
                break
        if self._port.owner is None:
            return None
        return self._choose(sequence, self._stamp_ns, -1, 0)

    def _choose(self, sequence: int, now_ns: int, latency_ns: int, lateness_ns: int) -> _Exchange:
        last = self._last
        if last is None or now_ns - last.state_stamp_ns > last.valid_for_ns:
            return _Exchange(None, answered=False, latency_ns=latency_ns, lateness_ns=lateness_ns)
        answered = last.state_sequence == sequence
        return _Exchange(last, answered=answered, latency_ns=latency_ns, lateness_ns=lateness_ns)

    def _say_done(self) -> None:
        """Repeat DONE until the controller says BYE: one datagram may be lost."""
        until_ns = self._clock.now_ns() + FAREWELL_NS
        lockstep = StateFlag.LOCKSTEP if self._realtime_left < 1 else StateFlag(0)
        while self._port.owner is not None and self._clock.now_ns() < until_ns:
            self._stamp_ns = self._stamp_ns + self._period_ns if lockstep else self._clock.now_ns()
            self._publish(StateFlag.DONE | lockstep)
            pause_ns = self._clock.now_ns() + self._period_ns
            while self._port.receive(pause_ns) is not None:
                pass
