"""What the guardian does after a standstill of 120 ms: it goes on with the grid point that has just passed.

The guardian is stopped by a signal, or displaced by a busy task of higher priority on its processor. Afterwards each
grid point has at most one tick, those in between were skipped, and the record says how many: counted here from the
times of the ticks and, apart from that, by the robot, whose own grid went on.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgerl.bench.loop import BenchLoop
from edgerl.bench.neighbour import hog
from edgerl.bench.policies import echo_load
from edgerl.bench.result import Benchmark, Fact, Gate, at_most, counted, sample
from edgerl.bench.robot import Commands
from edgerl.bench.setting import MS, Setting, never_degrading
from edgerl.bench.statistics import Times
from edgerl.runtime.recording import Records
from edgerl.runtime.run import RunOptions

STALL_MS = 120
SHORTEST_MS = 100
"""A gap in the commands from here on is one of ours."""
WITHIN = 20
"""Periods after a standstill in which commands are counted."""
ABOVE = 10
"""Priorities by which the busy task stands above the guardian."""


@dataclass(frozen=True, eq=False)
class Standstills:
    """What was seen of some standstills."""

    burst: int
    """Ticks beyond one for each grid point."""
    miscounted: int
    """Standstills whose skipped periods the record has not counted as they were."""
    extra_commands: int
    """Commands soon after a standstill beyond one a period, and one for each end of the window."""
    gaps_ns: Times
    """Without a command, by the kernel's stamps."""
    found: int


def stall(setting: Setting) -> Benchmark:
    """Stop the guardian, and displace it, many times each."""
    begun = time.monotonic()
    count = setting.much(20, 3)
    found = {}
    for name, stop in (("stopped", _stop), ("displaced", _displace)):
        found[name] = _standstills(setting, name, count, stop)
    return Benchmark(
        "stall",
        f"Standstill of {STALL_MS} ms",
        "1 kHz. The guardian is stopped with SIGSTOP and SIGCONT, or displaced by a SCHED_FIFO task above it.",
        time.monotonic() - begun,
        tuple(sample(f"{name}: time without a command", one.gaps_ns) for name, one in found.items()),
        tuple(Fact(f"standstills: {name}", one.found, "") for name, one in found.items()),
        tuple(gate for name, one in found.items() for gate in _gates(name, one, count)),
    )


def _gates(name: str, one: Standstills, needed: int) -> tuple[Gate, ...]:
    return (
        counted(f"{name}: ticks in a burst", one.burst, of=one.found, needed=needed),
        counted(f"{name}: missed periods not counted", one.miscounted, of=one.found,
                needed=needed),
        at_most(f"{name}: commands in a burst", one.extra_commands, 0, ""),
    )  # fmt: skip


def _standstills(setting: Setting, name: str, count: int, stop: Callable[[Setting, BenchLoop], None]) -> Standstills:
    load = never_degrading(echo_load(MS))
    with setting.loop(load, 20.0 + 1.0 * count) as loop:
        loop.wait_ready()
        loop.arm()
        for number in range(count):
            setting.say(f"{name}: {number + 1} of {count}")
            loop.run(float(setting.random.uniform(0.05, 0.1)))
            stop(setting, loop)
        loop.run(0.05)
        records = loop.finish()
        return standstills_in(records, loop.robot.commands(), int(loop.config.period_ns))


def _stop(_: Setting, loop: BenchLoop) -> None:
    os.kill(loop.guardian_pid, signal.SIGSTOP)
    time.sleep(STALL_MS / 1000)
    os.kill(loop.guardian_pid, signal.SIGCONT)


def _displace(setting: Setting, _: BenchLoop) -> None:
    with hog(setting, priority=RunOptions().guardian_priority + ABOVE, milliseconds=STALL_MS) as child:
        child.wait(STALL_MS / 1000 + 5)


def standstills_in(records: Records, commands: Commands, period_ns: int) -> Standstills:
    """Return what the guardian's ticks and the robot say of the standstills in a run."""
    scheduled, starts = (records[name].astype(np.int64) for name in ("scheduled_ns", "start_ns"))
    missed = records["missed_periods"].astype(np.int64)
    after = np.flatnonzero(missed >= SHORTEST_MS * MS // period_ns)
    ends = commands["arrival_ns"][1:][np.diff(commands["arrival_ns"]) >= SHORTEST_MS * MS]
    gaps = np.diff(commands["arrival_ns"])[np.diff(commands["arrival_ns"]) >= SHORTEST_MS * MS]
    passed = (starts[after] - scheduled[after - 1]) // period_ns
    wrong = (missed[after] != passed - 1) | (scheduled[after] - scheduled[after - 1] != passed * period_ns)
    if len(gaps) == len(after):
        wrong |= np.abs(gaps / period_ns - (missed[after] + 1)) > 1.5
    return Standstills(
        burst=_beyond(starts, starts[after], period_ns) + int((np.diff(scheduled) < period_ns).sum()),
        miscounted=int(wrong.sum()) + abs(len(gaps) - len(after)),
        # The first one came late in its period, so that the window ends late in another one, too.
        extra_commands=_beyond(commands["arrival_ns"], ends, period_ns, spare=1),
        gaps_ns=gaps,
        found=len(after),
    )


def _beyond(times: Times, begins: Times, period_ns: int, spare: int = 0) -> int:
    """Return how many ``times`` after each begin are more than one a period, one, and ``spare``."""
    counts = [int(((times >= begin) & (times < begin + WITHIN * period_ns)).sum()) for begin in begins]
    return sum(max(0, count - WITHIN - 1 - spare) for count in counts)
