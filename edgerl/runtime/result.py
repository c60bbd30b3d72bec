"""What a run came to: counted from its ticks, the guardian's own counters and the robot's own account.

Real time and lockstep are kept apart, as their times mean different things. Latency exists only where robot and
guardian share a clock. Quantiles are given only where the sample can carry them (:mod:`edgerl.runtime.quantiles`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from edgerl.runtime.budgets import Budgets
from edgerl.runtime.driver_lines import SessionEnd
from edgerl.runtime.enums import Drop
from edgerl.runtime.frame_counts import FrameCounts
from edgerl.runtime.plant_lines import EpisodeResult, PlantEnd
from edgerl.runtime.quantiles import Summary
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
    """Path; empty where nothing was recorded, since no file is kept then."""
    lost_records: int
    """Ticks that the guardian made and that are in no recording."""
    dumps: tuple[str, ...]
    """Paths of the dumps of faults, oldest first."""
    recording_trouble: tuple[str, ...]
    """Why the recording or a dump is missing or ends early, one sentence each; the run itself is not touched by it."""
    bundle: str
    """SHA-256."""
    driver: SessionEnd | None = None
    """The account of a driver process."""
    warnings: tuple[str, ...] = ()
    """What the production profile would have refused."""
    frames: FrameCounts | None = None
    """What became of the policy's images; None where it observes none."""
    budgets: Budgets | None = None
    """What was learned from the run; None where nobody asked, or nothing could be."""
    no_budgets: str = ""
    """Why nothing could be learned from it, where somebody asked."""


def counts_of(
    status: Status,
    violations: npt.NDArray[np.uint32],
    names: Iterable[str],
    *,
    rejected: Iterable[int],
    saturated: Iterable[int],
) -> Counts:
    """Return the guardian's counters.

    Args:
        status: Its last.
        violations: Shape (channels, 5), columns as the bits of ``Verdict``.
        names: Of the command channels.
        rejected: How often each channel was rejected.
        saturated: How often each channel was brought to a limit.
    """
    rows = zip(names, rejected, saturated, violations.tolist(), strict=True)
    channels = tuple(ChannelCounts(name, int(no), int(limited), *causes) for name, no, limited, causes in rows)
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
