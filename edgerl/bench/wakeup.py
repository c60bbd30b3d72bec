"""How late a tick begins, beside cyclictest: at 1 kHz by how long the guardian spins, and at 4 kHz over a minute.

cyclictest does nothing between two wake-ups. The guardian runs its whole loop, with a policy in charge: that is what
it has to be on time for.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial

import numpy as np

from edgerl.bench.cyclictest import NAME, CyclicTest, installed, run_cyclictest
from edgerl.bench.policies import mlp_load, mlp_load_in_c
from edgerl.bench.result import Benchmark, Fact, Gate, not_run, ratio_gate, sample
from edgerl.bench.setting import MS, Setting, never_degrading
from edgerl.bench.statistics import Times
from edgerl.runtime.load import Load
from edgerl.runtime.recording import Records
from edgerl.runtime.run import RunOptions

WARM_TICKS = 100
"""Not counted: the first ones bring code and data into the caches. cyclictest's first ones are left out, too."""
SPINS_NS = (0, 25_000, 100_000)
"""Shown beside the default."""
FAST_NS = MS // 4
LATE_NS = 100_000
P50_LIMIT, P99_LIMIT = 0.2, 1.0
_MISSING = "cyclictest is not installed (Debian: rt-tests)"


@dataclass(frozen=True, eq=False)
class Woken:
    """One round of a loop."""

    late_ns: Times
    busy: float
    """Share of its processor that the guardian used."""


def lateness_of(records: Records, period_ns: int) -> Times:
    """Return by how much each wake-up missed the grid point that it slept for, skipped ones before it included."""
    late = records["start_ns"].astype(np.int64) - records["scheduled_ns"].astype(np.int64)
    return np.asarray(late + records["missed_periods"].astype(np.int64) * period_ns)


def wakeup(setting: Setting) -> Benchmark:
    """Measure at 1 kHz."""
    begun = time.monotonic()
    load = never_degrading(mlp_load(MS))
    seconds = setting.much(20, 5) / 10
    spin_ns = RunOptions().spin_ns
    gated = _spinning(spin_ns)
    variants = {gated: partial(_loop_round, setting, load, seconds, spin_ns)}
    if installed():
        variants[NAME] = partial(_cyclic_round, setting, MS, seconds)
    found = setting.take_turns(setting.much(24, 5), variants)
    others = {_spinning(spin): partial(_loop_round, setting, load, seconds, spin) for spin in SPINS_NS}
    found |= setting.take_turns(setting.much(5, 1), others)
    return Benchmark(
        "wakeup",
        "Wake-up lateness at 1 kHz",
        "The guardian with a policy in charge (48-256-256-12, ONNX Runtime, same processor) and cyclictest take turns, "
        f"both SCHED_FIFO {RunOptions().guardian_priority} on the same processor; then the guardian with other "
        "times of spinning. Lateness is the time from the grid point to the first instruction of the tick.",
        time.monotonic() - begun,
        tuple(sample(name, np.concatenate([one.late_ns for one in ours])) for name, ours in found.items()),
        tuple(
            Fact(f"processor time of the {name}", round(100 * float(np.median([one.busy for one in ours])), 2), "%")
            for name, ours in found.items()
            if name != NAME
        ),
        _gates(found, gated),
    )


def _spinning(spin_ns: int) -> str:
    return f"guardian, spin {spin_ns // 1000} µs"


def _gates(found: dict[str, list[Woken]], ours: str) -> tuple[Gate, ...]:
    pairs = ((0.5, P50_LIMIT), (0.99, P99_LIMIT))
    names = [f"p{q * 100:g} of lateness, guardian / cyclictest" for q, _ in pairs]
    if NAME not in found:
        return tuple(not_run(name, limit, "", _MISSING) for name, (_, limit) in zip(names, pairs, strict=True))
    mine, theirs = ([one.late_ns for one in found[name]] for name in (ours, NAME))
    return tuple(ratio_gate(name, mine, theirs, q, limit) for name, (q, limit) in zip(names, pairs, strict=True))


def fast(setting: Setting) -> Benchmark:
    """Measure at 4 kHz, a minute of each."""
    begun = time.monotonic()
    load = never_degrading(mlp_load_in_c(FAST_NS, setting.program("policy")))
    rounds, seconds = setting.much(6, 2), setting.much(100, 5) / 10
    ours = "guardian"
    variants = {ours: partial(_loop_round, setting, load, seconds, RunOptions().spin_ns)}
    if installed():
        variants[NAME] = partial(_cyclic_round, setting, FAST_NS, seconds)
    found = setting.take_turns(rounds, variants)
    late = {name: np.concatenate([one.late_ns for one in turns]) for name, turns in found.items()}
    return Benchmark(
        "wakeup-4khz",
        "A minute at 4 kHz",
        "As at 1 kHz, with the policy in C: ONNX Runtime from Python does not fit into the half of a quarter of a "
        f"millisecond here. A tick is late where it began more than {LATE_NS // 1000} µs after its grid point.",
        time.monotonic() - begun,
        tuple(sample(name, values) for name, values in late.items()),
        (
            *(_late_share(name, values, LATE_NS, "late ticks") for name, values in late.items()),
            *(_late_share(name, values, FAST_NS, "missed periods") for name, values in late.items()),
            Fact(
                f"processor time of the {ours}",
                round(100 * float(np.median([one.busy for one in found[ours]])), 2),
                "%",
            ),
        ),
        () if NAME in found else (not_run("late ticks beside cyclictest's", 1.0, "", _MISSING),),
    )


def _late_share(name: str, late: Times, limit_ns: int, what: str) -> Fact:
    return Fact(f"{what}, {name}", round(1000 * float((late > limit_ns).mean()), 3), "‰")


def _loop_round(setting: Setting, load: Load, seconds: float, spin_ns: int) -> Woken:
    with setting.loop(load, seconds + 5, options=RunOptions(spin_ns=spin_ns)) as loop:
        loop.wait_ready()
        loop.arm()
        loop.run(0.05)
        before, at = loop.guardian_busy_ns(), time.monotonic_ns()
        loop.run(seconds)
        busy = (loop.guardian_busy_ns() - before) / (time.monotonic_ns() - at)
        late = lateness_of(loop.finish_active(), loop.config.period_ns)
    return Woken(late[WARM_TICKS:], busy)


def _cyclic_round(setting: Setting, period_ns: int, seconds: float) -> Woken:
    cycles = round(seconds * 1e9 / period_ns) + WARM_TICKS
    test = CyclicTest(RunOptions().guardian_priority, setting.processors.loop, period_ns, cycles)
    return Woken(run_cyclictest(test)[WARM_TICKS:], 0.0)
