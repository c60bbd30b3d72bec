"""What a report about one run of the control loop is made from.

Everything that the page shows is in here, and nothing is read from the machine that draws it: the run may have been on
a robot, the report on a desk. Times are integer nanoseconds, commands are in the unit of the policy's action.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgerl.envelope import ChannelLimits, Envelope
from edgerl.runtime.recording import Recording
from edgerl.runtime.result import RunResult

if TYPE_CHECKING:
    from edgerl.parity import ParityReport  # it imports onnx, which drawing a page does not need


@dataclass(frozen=True)
class PolicyFacts:
    """Which policy ran; the digest of its bundle is in the result."""

    name: str
    trainer: str
    trainer_version: str | None
    algorithm: str | None
    checkpoint: tuple[tuple[str, str], ...]
    """(file, SHA-256) of each file that the trainer wrote and the export read."""
    bundle: str
    """Name of its file."""
    engine: str
    """Backend that computed the actions."""
    packed_with: tuple[tuple[str, str], ...]
    """(package, version)."""


@dataclass(frozen=True)
class TrainerReturn:
    """What the trainer's own evaluation says."""

    mean: float
    std: float
    episodes: int
    floor: float | None
    """Return below which the run did not go well; None: shown, not judged."""


@dataclass(frozen=True)
class SentChannel:
    """One channel of the command."""

    limits: ChannelLimits
    unit: str | None
    said: int | None
    """The channel of the action that says the same quantity; None: the policy says none, or another one."""


@dataclass(frozen=True, eq=False)
class RunReport:
    """One run of the control loop and all that is known about it."""

    title: str
    result: RunResult
    recording: Recording
    policy: PolicyFacts
    envelope: Envelope
    commands: tuple[SentChannel, ...]
    """Every channel of the command, in order."""
    parity: ParityReport
    trainer_return: TrainerReturn | None

    @property
    def period_ns(self) -> int:
        """Control period, as the guardian was told it."""
        return self.recording.header.guardian.get("period_ns", 0)
