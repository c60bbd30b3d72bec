"""What the guardian watches besides commands and limits: its own wake-ups, stuck sensors, and its supervisor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from edgerl.envelope.ladder import MAX_TIME_NS
from edgerl.envelope.state import StateSet
from edgerl.runtime.enums import MAX_WINDOW

MAX_FROZEN_TICKS: Final = 1_000_000
MIN_HEARTBEAT_NS: Final = 100_000_000
"""The supervisor has ordinary priority and gives its sign of life every 20 ms; less is a fault of a busy machine."""


@dataclass(frozen=True)
class Jitter:
    """How late the loop may wake up, and how often later."""

    budget_ns: int
    misses: int
    of_ticks: int


@dataclass(frozen=True)
class Watchdog:
    """What is watched; None: it is not, or as the run's options say."""

    jitter: Jitter | None
    frozen_ticks: int | None
    """A noisy channel that did not change for so many states is stuck."""
    heartbeat_timeout_ns: int | None
    """A supervisor that is silent for longer is dead; None: as the run's options say."""


def watchdog_problems(watchdog: Watchdog | None, state: StateSet | None) -> Iterator[str]:
    """Yield what is wrong with the watchdogs, whatever the policy."""
    noisy = [one.name for one in state.channels if one.noisy] if state else []
    frozen = watchdog.frozen_ticks if watchdog else None
    if frozen is not None and not 1 <= frozen <= MAX_FROZEN_TICKS:
        yield f"watchdog.frozen_ticks is {frozen}, valid is 1 to {MAX_FROZEN_TICKS:,}"
    if frozen is not None and not noisy:
        yield (
            f"watchdog.frozen_ticks is {frozen}, and no state channel is noisy: only of those can be said that they "
            "are stuck. Say noisy = true in [state.channels]"
        )
    if frozen is None and noisy:
        yield (
            f"state channel {noisy[0]!r} is noisy, and nothing watches whether it is stuck. Say in [watchdog] after "
            "how many frozen_ticks it is"
        )
    if watchdog is None:
        return
    if watchdog == Watchdog(None, None, None):
        yield "[watchdog] watches nothing; remove it"
    if watchdog.jitter is not None:
        yield from _jitter_problems(watchdog.jitter)
    heartbeat = watchdog.heartbeat_timeout_ns
    if heartbeat is not None and not MIN_HEARTBEAT_NS <= heartbeat <= MAX_TIME_NS:
        yield (
            f"watchdog.heartbeat_timeout_s is {heartbeat / 1e9:g}, valid is {MIN_HEARTBEAT_NS / 1e9:g} to "
            f"{MAX_TIME_NS / 1e9:g}"
        )


def watchdog_mismatches(watchdog: Watchdog | None, period_ns: int) -> Iterator[str]:
    """Yield what in the watchdogs does not fit the loop."""
    jitter = watchdog.jitter if watchdog else None
    if jitter is not None and jitter.budget_ns >= period_ns:
        yield (
            f"watchdog.jitter.budget_s is {jitter.budget_ns / 1e9:g}, valid is less than the control period of "
            f"{period_ns / 1e9:g} s; a tick that is later counts as a bad one anyway"
        )


def _jitter_problems(jitter: Jitter) -> Iterator[str]:
    if not 1 <= jitter.budget_ns <= MAX_TIME_NS:
        yield f"watchdog.jitter.budget_s is {jitter.budget_ns / 1e9:g}, valid is more than 0 to {MAX_TIME_NS / 1e9:g}"
    if not 1 <= jitter.misses <= jitter.of_ticks <= MAX_WINDOW:
        yield (
            f"watchdog.jitter says {jitter.misses} misses of {jitter.of_ticks} ticks, "
            f"valid is 1 <= misses <= of_ticks <= {MAX_WINDOW}"
        )
