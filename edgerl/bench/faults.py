"""How soon, and with what, the robot is answered when something goes wrong: seen from the robot's end.

Every command of every run is held against the mode table (:mod:`edgerl.bench.witness`). The command of the faulted tick
is looked at on its own: the table must name it for an event that this fault may be met with, and the kernel's stamp of
its arrival is compared with the deadline of that tick.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from edgerl.bench.driver_deaths import driver_deaths
from edgerl.bench.fault_kinds import KINDS, FaultKind, events_of
from edgerl.bench.fault_trials import Injection, Trials, in_one_run, one_run_each
from edgerl.bench.orphans import supervisor_deaths
from edgerl.bench.policies import echo_load
from edgerl.bench.result import Benchmark, Fact, Gate, at_most, counted, sample, undecided
from edgerl.bench.robot import RobotFault
from edgerl.bench.setting import MS, Setting
from edgerl.bench.statistics import Times, rank
from edgerl.bench.wakeup import lateness_of
from edgerl.bench.witness import Testimony, cells, examine
from edgerl.runtime.enums import Mode, Source
from edgerl.runtime.quantiles import samples_needed
from edgerl.runtime.recording import Records

NEEDED = 100
"""Trials of each fault."""
MEDIAN_LIMIT_NS = 100_000
STALL_NS = 100_000
"""A wake-up that the guardian's own stamps show to be later than this was no wake-up of a machine that was running."""
_LIMIT = 2.0
"""Of every channel of the benchmark's policies."""


@dataclass(frozen=True)
class Reaction:
    """What became of one fault."""

    kind: FaultKind
    right: bool
    """The table names this command for an event that the fault may be met with."""
    excess_ns: int
    """Arrival of the command of the faulted tick less the tick's deadline; negative: before it."""
    stalled: bool
    """The guardian itself woke late in this tick or the next one: the machine stood still."""
    said: str
    """Where not ``right``: what came."""


def faults(setting: Setting) -> Benchmark:
    """Make every fault at 1 kHz and judge every command."""
    begun = time.monotonic()
    runs = tuple(_all_runs(setting, setting.much(NEEDED + 3, 6)))
    reactions = tuple(found for run in runs for one in run.injections if (found := reaction_of(run, one)) is not None)
    testimonies = tuple(examine(run.records, run.commands, low=-_LIMIT, high=_LIMIT, frozen=run.frozen) for run in runs)
    floor = np.concatenate([_floor(run) for run in runs])
    return Benchmark(
        "faults",
        "Reaction to faults",
        "1 kHz, budget half a period, real signals to real processes. Each fault falls into any part of a tick. The "
        "robot is another process; arrival is the kernel's stamp (SO_TIMESTAMPNS). Time is counted from the deadline "
        "of the faulted tick; a fault that is seen at once is answered before it.",
        time.monotonic() - begun,
        (
            *(sample(kind.name, _excess(reactions, kind)) for kind in KINDS),
            sample("noise floor: wake-up lateness of ticks without a fault", floor),
        ),
        _facts(runs, reactions, testimonies),
        (*_gates(reactions, floor), *_conduct(testimonies)),
    )


def _all_runs(setting: Setting, count: int) -> Iterable[Trials]:
    load = echo_load(MS)
    shared = tuple(kind for kind in KINDS if kind.how in ("robot", "signal"))
    yield in_one_run(setting, load, shared, count)
    for kind in KINDS:
        if kind.how == "restart":
            yield from one_run_each(setting, load, kind, count)
        elif kind.how == "driver":
            yield from driver_deaths(setting, load, kind, count)
        elif kind.how == "supervisor":
            yield from supervisor_deaths(setting, kind, count)


def reaction_of(run: Trials, injection: Injection) -> Reaction | None:
    """Return what became of a fault; None where a stall hid it: its state was never taken, or nobody was in charge."""
    at = faulted_tick(run, injection)
    if at is None and injection.sequence is None and _in_charge(run, injection):
        return Reaction(injection.kind, right=False, excess_ns=0, stalled=False, said="nothing followed from it")
    if at is None or run.records["from_mode"][at] != Mode.ACTIVE:
        return None
    row = run.records[at]
    arrived = np.flatnonzero(run.commands["sequence"] == _sequence_of(run.records, at))
    if not row["write_ns"] or not arrived.size:
        return Reaction(injection.kind, right=False, excess_ns=0, stalled=False, said="no command")
    command = run.commands[arrived[0]]
    sources, mode = cells()[int(row["from_mode"]), int(row["event"])]
    met = bool(int(row["events"]) & events_of(injection.kind))
    right = met and command["source"] == sources[0] and command["mode"] == mode
    late = lateness_of(run.records[at : at + 2], run.period_ns)
    deadline = int(row["scheduled_ns"]) + run.budget_ns
    if run.arrived_after:
        right, said = False, f"{run.arrived_after} commands at the robot without its driver"
    else:
        said = "" if right else f"tick {row['tick']}: events {int(row['events']):#x}, source {command['source']}"
    return Reaction(
        injection.kind, bool(right), int(command["arrival_ns"]) - deadline, bool(late.max() > STALL_NS), said
    )


def _in_charge(run: Trials, injection: Injection) -> bool:
    """Whether a policy was in charge in the last tick before a fault."""
    before = run.records[run.records["start_ns"].astype(np.int64) < injection.before_ns]
    return bool((before["mode"][-1:] == Mode.ACTIVE).any())


def faulted_tick(run: Trials, injection: Injection) -> int | None:
    """Return the row of the tick into which a fault falls; None: it never came to one."""
    records, kind = run.records, injection.kind
    sequences = records["state_sequence"].astype(np.int64)
    if injection.sequence is not None and kind.code == RobotFault.LOST:
        without = np.flatnonzero((sequences == injection.sequence - 1) & (records["observed"] == 0))
        return int(without[0]) if without.size else None  # none: a tick that came late found the next state already
    if injection.sequence is not None:
        last = injection.sequence + kind.states - 1
        taken = np.flatnonzero((sequences >= injection.sequence) & (sequences <= last) & (records["observed"] == 1))
        met = taken[records["events"][taken] & events_of(kind) != 0]
        return min(map(int, [*met[:1], *taken[kind.recognized_after :][:1]]), default=None)
    # A tick that was under way may be the one, so the first that met what follows from the fault is looked for. A tick
    # that began after a policy was dead has no right to its answer; without a supervisor or a driver there is one for a
    # while.
    ends = np.where(records["write_ns"] > 0, records["write_ns"], records["start_ns"]).astype(np.int64)
    odd = records["events"] & events_of(kind) != 0
    if kind.how not in ("supervisor", "driver"):
        posted_after = records["scheduled_ns"].astype(np.int64) > injection.after_ns
        odd |= posted_after & (records["source"] == Source.POLICY) & (records["write_ns"] > 0)
    found = np.flatnonzero((ends > injection.before_ns) & odd)
    return int(found[0]) if found.size else None


def _sequence_of(records: Records, at: int) -> int:
    """Return the sequence of the command that was written in a tick: they are counted from 1."""
    return int(np.count_nonzero(records["write_ns"][: at + 1]))


def _floor(run: Trials) -> Times:
    quiet = run.records[(run.records["from_mode"] == Mode.ACTIVE) & (run.records["event"] == 0)]
    return lateness_of(quiet, run.period_ns)


def _excess(reactions: Iterable[Reaction], kind: FaultKind | None = None) -> Times:
    return np.array([one.excess_ns for one in reactions if kind in (None, one.kind)], np.int64)


def _gates(reactions: tuple[Reaction, ...], floor: Times) -> Iterable[Gate]:
    for kind in KINDS:
        ours = [one for one in reactions if one.kind == kind]
        wrong = [one for one in ours if not one.right]
        name = f"{kind.name}: wrong commands"
        yield counted(name, len(wrong), of=len(ours), needed=NEEDED, said=wrong[0].said if wrong else "")
        if ours:
            median = float(np.median([one.excess_ns for one in ours]))
            yield at_most(f"{kind.name}: median after the deadline", median, MEDIAN_LIMIT_NS, "ns")
    yield _tail(reactions, floor)


def _tail(reactions: tuple[Reaction, ...], floor: Times) -> Gate:
    """Return the gate of the slow end: no slower than the limit and what the machine itself takes away."""
    running = np.sort([one.excess_ns for one in reactions if not one.stalled])
    name = "all: p99 after the deadline, without stalls of the machine"
    if running.size < samples_needed(0.99) or floor.size < samples_needed(0.99):
        return undecided(name, MEDIAN_LIMIT_NS, "ns", f"n = {running.size} is not enough to say")
    own = int(np.sort(floor)[rank(0.99, floor.size)])
    limit = float(MEDIAN_LIMIT_NS + own)
    return at_most(name, float(running[rank(0.99, running.size)]), limit, "ns", "limit: 100 µs and the floor's p99")


def _conduct(testimonies: tuple[Testimony, ...]) -> Iterable[Gate]:
    commands = sum(one.commands for one in testimonies)
    first = next((one.first for one in testimonies if one.first), "")
    for what in ("unsafe", "stale", "out_of_order", "missing"):
        found = sum(getattr(one, what) for one in testimonies)
        name = f"all runs: commands {what.replace('_', ' ')}"
        yield at_most(name, found, 0, "", f"of {commands:,}" + (f"; {first}" if found else ""))


def _facts(
    runs: tuple[Trials, ...], reactions: tuple[Reaction, ...], testimonies: tuple[Testimony, ...]
) -> tuple[Fact, ...]:
    made = sum(len(run.injections) for run in runs)
    return (
        Fact("runs", len(runs), ""),
        Fact("commands looked at", sum(one.commands for one in testimonies), ""),
        Fact("faults made", made, ""),
        Fact("faults that a stall of the machine hid", made - len(reactions), ""),
        Fact("faults during a stall of the machine", sum(one.stalled for one in reactions), ""),
    )
