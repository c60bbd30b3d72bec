"""What a driver process prints: one line of JSON for each session that it served, its own account of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Leaving = Literal["left", "orphaned", "stopped"]
"""The controller said BYE; it went without a word and no command came any more; the driver was told to end."""


@dataclass(frozen=True)
class DriverCounts:
    """What one session came to."""

    states: int
    commands: int
    """Written to the robot."""
    expired: int
    """Came when they were no longer valid."""
    lapses: int
    """How often no command was valid any more."""
    missed_periods: int
    dropped: dict[str, int]
    """Datagrams, by cause."""


@dataclass(frozen=True)
class SessionEnd:
    """How a session went."""

    left: Leaving
    realtime_priority: int
    """The SCHED_FIFO priority that it had; 0 where it asked for none or the machine gave none."""
    counts: DriverCounts
