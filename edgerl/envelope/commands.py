"""What the envelope allows each channel of the command, gains included.

A gain is only ever one of those that the bundle names, or between two of them while a policy is blended in, so these
are its limits. Nobody has to write them.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from edgerl.envelope import ChannelLimits, Envelope
from edgerl.envelope.joints import CommandField, Gains, command_fields, gains_of
from edgerl.spec import PolicySpec

_NO_GAINS = Gains((), ())


@dataclass(frozen=True)
class GainValues:
    """What one gain is in every mode."""

    policy: float
    """While the policy acts."""
    safe: float
    prepare: float
    damp: float


def policy_gains(spec: PolicySpec) -> Gains:
    """Return the policy's own gains in the order of the action; empty where its robot takes none."""
    return gains_of(spec) or _NO_GAINS


def prepare_gains(envelope: Envelope, spec: PolicySpec) -> Gains:
    """Return the gains of PREPARE in the order of the action: the envelope's, or the policy's own."""
    return (envelope.prepare.gains if envelope.prepare is not None else None) or policy_gains(spec)


def gain_values(envelope: Envelope, spec: PolicySpec, field: CommandField) -> GainValues:
    """Return what a channel of the command is told that carries a gain."""
    own = policy_gains(spec)
    policy, safe, prepare = (
        getattr(gains, field.role)[field.action]
        for gains in (own, envelope.safe_gains or own, prepare_gains(envelope, spec))
    )
    damp = 0.0 if field.role == "kp" else (envelope.damp_kd or own.kd)[field.action]
    return GainValues(policy, safe, prepare, damp)


def command_limits(envelope: Envelope, spec: PolicySpec) -> tuple[ChannelLimits, ...]:
    """Return the limits of every channel of the command, named as in the channel layout.

    Args:
        envelope: Already checked against the spec.
        spec: Of the policy.
    """
    return tuple(_limits(envelope, spec, field) for field in command_fields(spec))


def _limits(envelope: Envelope, spec: PolicySpec, field: CommandField) -> ChannelLimits:
    if field.acts:
        return dataclasses.replace(envelope.channels[field.action], name=field.name)
    values = dataclasses.astuple(gain_values(envelope, spec, field))
    return ChannelLimits(field.name, min(values), max(values), math.inf, math.inf, "reject")
