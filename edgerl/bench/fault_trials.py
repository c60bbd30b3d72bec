"""Makes the faults of :mod:`edgerl.bench.fault_kinds` happen, with real signals to real processes.

Faults that a policy survives take turns in one run. Those that it does not survive have a run each. The death of the
supervisor is in :mod:`edgerl.bench.orphans`.
"""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from edgerl.bench.fault_kinds import FROZEN_TICKS, FaultKind
from edgerl.bench.loop import BenchLoop
from edgerl.bench.robot import Commands, RobotFault
from edgerl.bench.setting import Setting
from edgerl.envelope.state import StateLimits, StateSet
from edgerl.envelope.watchdog import Watchdog
from edgerl.errors import LoopError
from edgerl.runtime.enums import Mode
from edgerl.runtime.load import Load
from edgerl.runtime.recording import Records
from edgerl.runtime.recording.recorder import Keep
from edgerl.runtime.run import RunOptions
from edgerl.runtime.state_channels import state_channels

STOPPED_S = 0.02
"""How long a stopped policy stays stopped."""
_SETTLE_S = (0.008, 0.02)
"""In charge for so long before a fault, at random, so that it falls into any part of a tick."""
_OUT_S = 2.0
_TRIES = 3
"""For each trial, at most."""
OPTIONS = RunOptions(keep=Keep(before_fault_s=0.02))
"""A dump of the seconds before each of a thousand faults would be work that no run has."""


@dataclass(frozen=True)
class Injection:
    """One fault that was made to happen."""

    kind: FaultKind
    before_ns: int
    """CLOCK_MONOTONIC before it was made."""
    after_ns: int
    """And after, when it had surely begun; 0 where the robot's state says it."""
    sequence: int | None
    """The first state with it, where the robot made it."""


@dataclass(frozen=True, eq=False)
class Trials:
    """One run, and what was injected in it."""

    injections: tuple[Injection, ...]
    records: Records
    commands: Commands
    budget_ns: int
    period_ns: int
    arrived_after: int = 0
    """Commands that reached the robot's end though its driver was dead."""

    @property
    def frozen(self) -> tuple[tuple[int, int], ...]:
        """First and last sequence of the states that were left as the one before."""
        made = (one for one in self.injections if one.sequence is not None and one.kind.code == RobotFault.FROZEN)
        return tuple((one.sequence or 0, (one.sequence or 0) + one.kind.states - 1) for one in made)


def in_one_run(setting: Setting, load: Load, kinds: tuple[FaultKind, ...], count: int) -> Trials:
    """Make ``count`` faults of each kind that a policy survives, in random order.

    A trial that finds the machine so noisy that the policy lost its charge before the fault is made again, within
    reason.
    """
    left = dict.fromkeys(kinds, count)
    done: list[Injection] = []
    tries = _TRIES * count * len(kinds)
    with setting.loop(watching_for_frozen_states(load), 1.0 + tries * 0.1, options=OPTIONS) as loop:
        loop.wait_ready()
        for _ in range(tries):
            open_ = [kind for kind in kinds if left[kind]]
            if not open_ or loop.robot.full:
                break
            kind = open_[int(setting.random.integers(len(open_)))]
            setting.say(f"fault {len(done) + 1} of {count * len(kinds)}: {kind.name}")
            loop.arm()
            if loop.run(settle(setting)).mode != Mode.ACTIVE:
                continue
            left[kind] -= 1
            done.append(_inject(loop, kind))
            _let_it_act(loop, kind)
        return _trials(loop, tuple(done))


def watching_for_frozen_states(load: Load) -> Load:
    """Return a load whose envelope says that the robot's first channel, never the same twice in a row, is noisy."""
    first = state_channels(load.engine.spec)[0].name
    noisy = StateLimits(first, None, -math.inf, math.inf, -math.inf, math.inf, noisy=True)
    watchdog = Watchdog(jitter=None, frozen_ticks=FROZEN_TICKS, heartbeat_timeout_ns=None)
    return replace(load, envelope=replace(load.envelope, state=StateSet((noisy,), None, None), watchdog=watchdog))


def one_run_each(setting: Setting, load: Load, kind: FaultKind, count: int) -> Iterator[Trials]:
    """Make a fault that the policy does not survive, in ``count`` runs."""
    for number in range(count):
        setting.say(f"{kind.name}: {number + 1} of {count}")
        for _ in range(_TRIES):
            with setting.loop(load, 5.0, options=OPTIONS) as loop:
                loop.wait_ready()
                loop.arm()
                if loop.run(settle(setting)).mode != Mode.ACTIVE:
                    continue
                injection = _inject(loop, kind)
                _let_it_act(loop, kind)
                yield _trials(loop, (injection,))
                break


def settle(setting: Setting) -> float:
    """Return how long to wait before a fault, in [s]."""
    return float(setting.random.uniform(*_SETTLE_S))


def _inject(loop: BenchLoop, kind: FaultKind) -> Injection:
    before = time.monotonic_ns()
    if kind.code:
        loop.robot.inject(kind.code, kind.states)
        until = time.monotonic() + _OUT_S
        while (sequence := loop.robot.injected()) is None:
            loop.step(0.001)
            if time.monotonic() > until:
                raise LoopError(f"The benchmark's robot did not make the fault '{kind.name}'.")
        return Injection(kind, before, 0, sequence)
    number = signal.SIGSTOP if kind.how == "signal" else signal.SIGKILL
    os.kill(loop.policy_pid, number)
    return Injection(kind, before, time.monotonic_ns(), None)


def _let_it_act(loop: BenchLoop, kind: FaultKind) -> None:
    """Wait for what the fault leads to, and undo it."""
    if kind.how == "signal":
        loop.run(STOPPED_S)
        os.kill(loop.policy_pid, signal.SIGCONT)
    if kind.latches:
        until = time.monotonic() + _OUT_S
        while loop.step(0.001).mode != Mode.STOPPED and time.monotonic() < until:
            pass
    else:
        loop.run(0.005)


def _trials(loop: BenchLoop, injections: tuple[Injection, ...]) -> Trials:
    records = loop.finish()
    config = loop.config
    return Trials(injections, records, loop.robot.commands(), int(config.budget_ns), int(config.period_ns))
