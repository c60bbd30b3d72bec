"""What a plant prints, one JSON document per line, and the strict reader of it.

The lines are the robot's own account of a run, in its own measure: the supervisor takes the episode's return and the
robot's latency from here, never from the controller's side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from edgerl import canonical
from edgerl.errors import PortError


@dataclass(frozen=True)
class Listening:
    """First line: where the plant can be reached."""

    event: Literal["listening"]
    host: str
    port: int
    period_ns: int | None
    """None: the environment has no clock of its own and takes the controller's period."""
    state_channels: int
    command_channels: int
    realtime_priority: int
    """The SCHED_FIFO priority that it has; 0 where it asked for none or the machine gave none."""


@dataclass(frozen=True)
class Span:
    """Successive steps whose command came from the same mode and source."""

    mode: int | None
    """None: no command was valid, the lapse command was applied."""
    source: int | None
    steps: int


@dataclass(frozen=True)
class EpisodeResult:
    """One line per episode."""

    event: Literal["episode"]
    index: int
    seed: int
    episode_return: float | None
    """Sum of rewards, undiscounted; None where a reward was NaN."""
    steps: int
    terminated: bool
    truncated: bool
    left: Literal["left", "silent"] | None
    """The controller went before the episode's end."""
    realtime_steps: int
    missed: int
    """Steps without the command that answers their own state; an older valid one or lapse was applied."""
    lapsed: int
    """Steps with the lapse command; part of ``missed``."""
    outside: int
    """Steps whose command was outside the action space and was moved to the nearest valid one."""
    missed_periods: int
    """Periods that the plant's own grid lost, because the machine did not run it in time."""
    applied: tuple[Span, ...]
    latency_ns: tuple[int, ...]
    """State published to command arrived, of each real-time step that was answered in time."""
    lateness_ns: tuple[int, ...]
    """Published minus scheduled, of each real-time step."""


@dataclass(frozen=True)
class PlantEnd:
    """Last line."""

    event: Literal["end"]
    reason: Literal["done", "left", "silent", "unclaimed"]
    accepted: int
    """Commands accepted."""
    dropped: dict[str, int]
    """Datagrams dropped, by cause."""
    refused: dict[str, int]
    """Sessions refused, by code."""


PlantLine: TypeAlias = Listening | EpisodeResult | PlantEnd
_LINES: dict[str, type[PlantLine]] = {"listening": Listening, "episode": EpisodeResult, "end": PlantEnd}


def read_line(text: str) -> PlantLine:
    """Return what one line of a plant says.

    Raises:
        PortError: The line is none of a plant's.
        SpecError: It is one, with fields of another form.
    """
    plain = canonical.parse(text, "a line of the plant")
    event = plain.get("event") if isinstance(plain, dict) else None
    if not isinstance(event, str) or event not in _LINES:
        raise PortError(f"The plant printed {text[:80]!r}. Expected a JSON line with event {', '.join(_LINES)}.")
    return canonical.from_plain(_LINES[event], plain, f"the plant's line '{event}'")
