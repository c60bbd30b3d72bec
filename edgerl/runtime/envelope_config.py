"""The envelope in the guardian's own terms: the fields of its configuration that a bundle decides.

Nothing is judged here. Which numbers are valid is checked in :mod:`edgerl.envelope` and once more by the guardian.
"""

from __future__ import annotations

from edgerl.envelope import Envelope
from edgerl.runtime.core import command_channel
from edgerl.runtime.enums import LadderClass, OnViolation, Source
from edgerl.runtime.structs import CommandChannel, Config, Ladder, Rung

ON_REJECT = {"hold": Source.HOLD, "safe": Source.SAFE, "lapse": Source.LAPSE}
_ON_VIOLATION = {"reject": OnViolation.REJECT, "saturate": OnViolation.SATURATE}


def core_channels(envelope: Envelope) -> list[CommandChannel]:
    """Return the limits of each command channel, rounded to float32 as the commands are."""
    return [
        command_channel(
            low=channel.low,
            high=channel.high,
            max_rate=channel.max_rate,
            max_acceleration=channel.max_acceleration,
            safe=safe,
            on_violation=_ON_VIOLATION[channel.on_violation],
            action=index,
        )
        for index, (channel, safe) in enumerate(zip(envelope.channels, envelope.safe_command, strict=True))
    ]


def apply_envelope(config: Config, envelope: Envelope, period_ns: int) -> None:
    """Write what the envelope and the period decide into a guardian's configuration.

    What belongs to the machine or the session (scheduling, lead, spin, session id) and to the robot's layout (state
    channels) stays as it is.

    Args:
        config: As :func:`edgerl.runtime.core.new_config` made it; changed.
        envelope: Already checked against the spec.
        period_ns: Control period of the spec in [ns].
    """
    config.period_ns = period_ns
    config.budget_ns = envelope.budget_ns
    config.valid_for_ns = envelope.valid_for_ns
    config.state_timeout_ns = envelope.state_timeout_ns
    rungs = (Rung(envelope.ladder.hold_ns, Source.HOLD), Rung(envelope.ladder.safe_ns, Source.SAFE))
    for ladder in LadderClass:
        config.ladders[ladder] = Ladder(len(rungs), 0, rungs)
    config.allow_lockstep = int(envelope.allow_lockstep)
    config.bucket_limit = envelope.degrade.misses
    config.bucket_window = envelope.degrade.of_ticks
    config.on_reject = ON_REJECT[envelope.on_reject]
    config.command_count = config.action_count = len(envelope.channels)
    for index, channel in enumerate(core_channels(envelope)):
        config.commands[index] = channel
