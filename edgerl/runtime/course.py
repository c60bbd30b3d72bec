"""What a run does by itself, where it is, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass

from edgerl.runtime.control.messages import Stage
from edgerl.runtime.enums import Clock, Mode
from edgerl.runtime.result import Ending


@dataclass(frozen=True)
class Progress:
    """Where a run is; given to ``on_progress`` about ten times a second."""

    stage: Stage
    ticks: int
    mode: Mode
    clock: Clock
    actions_late: int
    states_lost: int
    missed_periods: int
    episodes: int
    """That the robot has reported as over."""
    control: str
    """Path of the control socket; empty where there is none."""


@dataclass(frozen=True)
class End:
    """How a run ended."""

    how: Ending
    message: str


@dataclass(frozen=True)
class Course:
    """What a run does by itself."""

    arms: bool
    """Puts the policy in charge as soon as it is ready."""
    stays: bool
    """Waits after a fault to be reset, and does not end."""
    ticks: int | None
    """Ends the run after so many ticks since it was armed; None: when the robot is done."""
    prepare_s: float
    """How long the way to the start pose takes."""
    ladder_s: float
    """How long the fallback ladder takes at most."""
    lapse_s: float
    """After this time without a command the robot has reacted itself."""
