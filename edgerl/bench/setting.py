"""What every benchmark is given: programs, processors, how much to measure, and a way to take turns."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from edgerl.bench.loop import BenchLoop, LoopSettings, Placement
from edgerl.bench.programs import compile_program
from edgerl.envelope import Degrade
from edgerl.errors import PlatformError
from edgerl.runtime.load import Load
from edgerl.runtime.recording import Records
from edgerl.runtime.run import RunOptions

T = TypeVar("T")

MS = 1_000_000
SETTLE_NS = 50 * MS
"""Of each turn, not counted: caches and clocks follow what runs."""
_WITH_CORE = frozenset({"policy", "ticks"})


@dataclass(frozen=True)
class Processors:
    """The two that a benchmark uses; on a machine with more, the last two."""

    loop: int
    """The guardian's, and the policy's where they share one."""
    other: int
    """The robot's, and the policy's where it has one of its own."""


@dataclass(frozen=True, eq=False)
class Setting:
    """What a benchmark runs in."""

    folder: Path
    """For recordings and programs; empty at first."""
    processors: Processors
    quick: bool
    say: Callable[[str], None]
    """Called with what goes on now."""
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def program(self, name: str) -> Path:
        """Return a program of the benchmarks, compiled when first asked for.

        Raises:
            PlatformError: There is no C compiler, or it refused.
        """
        made = self.folder / name
        return made if made.exists() else compile_program(name, self.folder, with_core=name in _WITH_CORE)

    def much(self, whole: int, quick: int) -> int:
        """Return how much to measure: ``whole``, or ``quick`` with ``--quick``."""
        return quick if self.quick else whole

    def loop(
        self,
        load: Load,
        seconds: float,
        *,
        options: RunOptions | None = None,
        policy_apart: bool = False,
    ) -> BenchLoop:
        """Return a loop that is to be entered.

        Args:
            load: What runs.
            seconds: How long it may last.
            options: How it runs; None: the product's own defaults.
            policy_apart: Whether the policy has a processor of its own, shared with the robot.
        """
        at = self.processors
        placement = Placement(at.loop, at.other if policy_apart else at.loop, at.other)
        return BenchLoop(
            LoopSettings(load, self.program("robot"), self.folder, placement, options or RunOptions(), seconds)
        )

    def take_turns(self, rounds: int, variants: Mapping[str, Callable[[], T]]) -> dict[str, list[T]]:
        """Call each variant once a round, in a new random order each round; return what they gave, by round."""
        found: dict[str, list[T]] = {name: [] for name in variants}
        names = list(variants)
        for number in range(rounds):
            for index in self.random.permutation(len(names)):
                self.say(f"round {number + 1} of {rounds}: {names[index]}")
                found[names[index]].append(variants[names[index]]())
        return found

    def take_turns_in(
        self, loop: BenchLoop, rounds: int, seconds: float, variants: Mapping[str, Callable[[float], None]]
    ) -> dict[str, list[Window]]:
        """Let variants take turns within one run of a loop; return when each was at work, by round.

        Args:
            loop: In charge.
            rounds: How many turns each has.
            seconds: Of each turn.
            variants: Called with its seconds; returns after that time.
        """

        def turn(variant: Callable[[float], None]) -> Window:
            loop.step()
            begin = time.monotonic_ns() + SETTLE_NS
            variant(seconds + SETTLE_NS / 1e9)
            return Window(begin, time.monotonic_ns() - SETTLE_NS // 10)

        return self.take_turns(rounds, {name: partial(turn, variant) for name, variant in variants.items()})


@dataclass(frozen=True)
class Window:
    """When something was measured, CLOCK_MONOTONIC."""

    begin_ns: int
    end_ns: int

    def of(self, records: Records) -> Records:
        """Return the ticks that were due in it."""
        due = records["scheduled_ns"].astype(np.int64)
        return np.asarray(records[(due >= self.begin_ns) & (due < self.end_ns)])


def find_processors() -> Processors:
    """Return the processors to use.

    Raises:
        PlatformError: There is only one.
    """
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        raise PlatformError(
            f"The benchmarks need two processors, one for the robot that they measure with; this process may use "
            f"{len(usable)}. Run them on a machine with more, or without taskset."
        )
    return Processors(loop=usable[-1], other=usable[-2])


def never_degrading(load: Load) -> Load:
    """Return a load whose loop stays in charge when the machine is noisy: what is measured is time, not a reaction."""
    patient = replace(load.envelope, degrade=Degrade(misses=1000, of_ticks=1000), valid_for_ns=1000 * MS)
    return replace(load, envelope=patient)
