"""What a run came to: counted from its recording, the guardian's own counters and the robot's own account.

Real time and lockstep are kept apart, as their times mean different things. Latency exists only where robot and
guardian share a clock. Quantiles are given only where the sample can carry them (:mod:`edgerl.runtime.quantiles`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from edgerl.runtime.enums import Clock, Drop, Event, Mode, Source
from edgerl.runtime.plant_lines import EpisodeResult, PlantEnd
from edgerl.runtime.quantiles import Summary, summarize
from edgerl.runtime.recording import Recording, Records
from edgerl.runtime.structs import Status

Ending = Literal["done", "ticks", "stopped", "estop", "fault"]
"""The robot was done; the wanted number of ticks was reached; a person stopped it, orderly or by e-stop; a fault."""


@dataclass(frozen=True)
class ModeSpan:
    """Successive ticks that ended in the same mode with the same source of the command."""

    mode: str
    source: str
    first_tick: int
    ticks: int


@dataclass(frozen=True)
class Misses:
    """What went wrong in ticks that began in mode ACTIVE."""

    ticks: int
    """Ticks that began in mode ACTIVE."""
    actions_late: int
    states_lost: int
    rejected: int
    """Commands that the envelope refused."""
    saturated: int
    """Commands that the envelope brought to a limit."""
    missed_periods: int
    """Points of the grid that had no tick."""


@dataclass(frozen=True)
class ChannelCounts:
    """Envelope interventions on one command channel, in all modes."""

    name: str
    rejected: int
    saturated: int
    not_finite: int
    low: int
    high: int
    rate: int
    acceleration: int


@dataclass(frozen=True)
class Counts:
    """The guardian's own counters at the end; complete also where the recording has gaps."""

    ticks: int
    missed_periods: int
    actions_taken: int
    actions_late: int
    actions_stale: int
    states_taken: int
    states_lost: int
    states_skipped: int
    commands_sent: int
    send_errors: int
    receive_errors: int
    dropped: dict[str, int]
    """Datagrams, by cause; causes that did not occur are left out."""
    channels: tuple[ChannelCounts, ...]


@dataclass(frozen=True)
class Scheduling:
    """What the machine gave the guardian; an errno where it refused, 0 where it granted or was not asked."""

    priority: int
    """SCHED_FIFO priority that it runs at; 0: ordinary."""
    priority_errno: int
    affinity_errno: int
    memory_lock: bool
    lock_errno: int


@dataclass(frozen=True)
class Timing:
    """Measured times in [ns]."""

    lateness: Summary
    """Tick start minus scheduled start, real-time ticks."""
    latency: Summary | None
    """State stamp to command written, real-time ticks with a new state; None where the clocks differ."""
    answer: Summary
    """Observation posted to action taken, real-time ticks."""
    inference: Summary
    """Inside the engine's infer, real-time ticks."""
    lockstep_inference: Summary
    """The same in lockstep: back to back, with warm caches, as never on a robot."""


@dataclass(frozen=True)
class RunResult:
    """One run of the control loop."""

    ended: Ending
    message: str
    """One sentence for people."""
    fault: str | None
    """Event that led to FALLBACK or STOPPED."""
    ticks: int
    realtime_ticks: int
    lockstep_ticks: int
    misses: Misses
    modes: tuple[ModeSpan, ...]
    timing: Timing
    counts: Counts
    scheduling: Scheduling
    episodes: tuple[EpisodeResult, ...]
    """The robot's own account; empty where it gives none."""
    plant: PlantEnd | None
    recording: str
    """Path; empty where it was stopped before a tick was recorded, since no file is kept then."""
    lost_records: int
    """Ticks that are missing in the recording."""
    bundle: str
    """SHA-256."""


def misses_of(records: Records) -> Misses:
    """Return what went wrong while the policy was in charge."""
    rows = records[records["from_mode"] == Mode.ACTIVE]
    return Misses(
        len(rows),
        _count(rows, Event.ACTION_LATE),
        _count(rows, Event.STATE_LOST),
        int(rows["rejected"].any(axis=1).sum()),
        int(rows["saturated"].any(axis=1).sum()),
        int(rows["missed_periods"].sum()),
    )


def modes_of(records: Records) -> tuple[ModeSpan, ...]:
    """Return the run as spans of one mode and source, oldest first."""
    if not len(records):
        return ()
    pairs = records["mode"].astype(np.int32) * 256 + records["source"]
    starts = [0, *(np.flatnonzero(np.diff(pairs)) + 1).tolist()]
    return tuple(
        ModeSpan(
            Mode(records["mode"][first]).name,
            Source(records["source"][first]).name.lower(),
            int(records["tick"][first]),
            stop - first,
        )
        for first, stop in zip(starts, [*starts[1:], len(records)], strict=True)
    )


def timing_of(recording: Recording) -> Timing:
    """Return the measured times of a recording."""
    rows = recording.records
    real = rows[rows["clock"] == Clock.GRID]
    taken = real[real["action_ns"] > 0]
    lockstep = rows[(rows["clock"] == Clock.LOCKSTEP) & (rows["action_ns"] > 0)]
    answered = real[(real["observed"] > 0) & (real["write_ns"] > 0)]
    latency = summarize(_between(answered, "stamp_ns", "write_ns")) if recording.header.same_clock else None
    return Timing(
        summarize(_between(real, "scheduled_ns", "start_ns")),
        latency,
        summarize(_between(taken, "post_ns", "action_ns")),
        summarize(taken["infer_ns"].astype(np.int64)),
        summarize(lockstep["infer_ns"].astype(np.int64)),
    )


def counts_of(status: Status, violations: npt.NDArray[np.uint32], recording: Recording) -> Counts:
    """Return the guardian's counters.

    Args:
        status: Its last.
        violations: Shape (channels, 5), columns as the bits of ``Verdict``.
        recording: Of the same run; rejected and saturated channels are counted in it.
    """
    names = [channel.name for channel in recording.header.layout.command]
    rejected, saturated = (_per_channel(recording.records[mask], len(names)) for mask in ("rejected", "saturated"))
    channels = tuple(
        ChannelCounts(name, rejected[index], saturated[index], *(int(count) for count in violations[index]))
        for index, name in enumerate(names)
    )
    return Counts(
        ticks=int(status.ticks),
        missed_periods=int(status.missed_periods),
        actions_taken=int(status.actions_taken),
        actions_late=int(status.actions_late),
        actions_stale=int(status.actions_stale),
        states_taken=int(status.states_taken),
        states_lost=int(status.states_lost),
        states_skipped=int(status.states_skipped),
        commands_sent=int(status.commands_sent),
        send_errors=int(status.send_errors),
        receive_errors=int(status.receive_errors),
        dropped={cause.name.lower(): int(status.dropped[cause]) for cause in Drop if status.dropped[cause]},
        channels=channels,
    )


def _per_channel(masks: npt.NDArray[np.uint64], channels: int) -> list[int]:
    """Return how many rows have the bit of each channel set; channel 64 w + b is bit b of word w."""
    bits = np.unpackbits(np.ascontiguousarray(masks).view(np.uint8), axis=1, bitorder="little")
    return [int(count) for count in bits[:, :channels].sum(axis=0)]


def _count(rows: Records, event: Event) -> int:
    return int(np.count_nonzero(rows["events"] & np.uint32(1 << event)))


def _between(rows: Records, begin: str, end: str) -> npt.NDArray[np.int64]:
    return rows[end].astype(np.int64) - rows[begin].astype(np.int64)
