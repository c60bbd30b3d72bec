"""The envelope in the guardian's own terms: the fields of its configuration that a bundle decides.

Nothing is judged here. Which numbers are valid is checked in :mod:`edgerl.envelope` and once more by the guardian.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgerl.envelope import ChannelLimits, Envelope, action_delay_of
from edgerl.envelope.commands import command_limits, gain_values, policy_gains, prepare_gains
from edgerl.envelope.joints import CommandField, closes_loop, command_fields
from edgerl.envelope.ladder import CLASSES
from edgerl.envelope.ladder import Ladder as FallbackLadder
from edgerl.envelope.operator import Operator
from edgerl.errors import LoopError
from edgerl.runtime.core import command_channel
from edgerl.runtime.enums import Clock, InnerLaw, LadderClass, OnViolation, Role, Source
from edgerl.runtime.layout import Layout
from edgerl.runtime.structs import CommandChannel, Config, Ladder, OperatorChannel, Rung
from edgerl.spec import PolicySpec

ON_REJECT = {"hold": Source.HOLD, "safe": Source.SAFE, "lapse": Source.LAPSE}
_DO = {**ON_REJECT, "damp": Source.DAMP, "standby": Source.STANDBY}
_ON_VIOLATION = {"reject": OnViolation.REJECT, "saturate": OnViolation.SATURATE}
_CLOCK = {"grid": Clock.GRID, "robot": Clock.ROBOT}
_INNER = {"hold": InnerLaw.HOLD, "interpolate": InnerLaw.INTERPOLATE}


def core_channels(envelope: Envelope, spec: PolicySpec, state: Sequence[str]) -> list[CommandChannel]:
    """Return each command channel, rounded to float32 as the commands are.

    Args:
        envelope: Already checked against the spec.
        spec: Of the policy.
        state: Names of the robot's state channels, in order.

    Raises:
        LoopError: The guardian is to close a joint's loop, and the robot does not say how the joint stands.
    """
    found = {name: index for index, name in enumerate(state)}
    fields, limits = command_fields(spec), command_limits(envelope, spec)
    return [_channel(envelope, spec, field, one, found) for field, one in zip(fields, limits, strict=True)]


def target_channels(envelope: Envelope) -> list[CommandChannel]:
    """Return what the envelope asks of the policy's own values, one channel of the action each.

    These are the limits of the command, except where the guardian closes the loop: there the policy says positions, and
    the command depends on a state, too.
    """
    return [
        _limited(limits, safe, index)
        if limits.target_low is None or limits.target_high is None
        else command_channel(
            low=limits.target_low,
            high=limits.target_high,
            max_rate=math.inf,
            max_acceleration=math.inf,
            safe=limits.target_low,
            on_violation=_ON_VIOLATION[limits.on_violation],
            action=index,
        )
        for index, (limits, safe) in enumerate(zip(envelope.channels, envelope.safe_command, strict=True))
    ]


def apply_envelope(config: Config, envelope: Envelope, spec: PolicySpec, layout: Layout) -> None:
    """Write what the envelope and the spec decide about commands into a guardian's configuration.

    What belongs to the machine or the session (scheduling, lead, spin, session id) and to the robot's layout (state
    channels) stays as it is.

    Args:
        config: As :func:`edgerl.runtime.core.new_config` made it; changed.
        envelope: Already checked against the spec.
        spec: With a control period.
        layout: Of the same spec.

    Raises:
        LoopError: As :func:`core_channels`.
    """
    config.period_ns = spec.period_ns or 0
    config.budget_ns = envelope.budget_ns
    config.valid_for_ns = envelope.valid_for_ns
    config.state_timeout_ns = envelope.state_timeout_ns
    _apply_operator(config, envelope.operator)
    config.allow_lockstep = int(envelope.allow_lockstep)
    config.bucket_limit = envelope.degrade.misses
    config.bucket_window = envelope.degrade.of_ticks
    config.policy_divider = spec.robot.policy_divider
    config.action_delay = action_delay_of(envelope, spec)
    config.inference_timeout_ns = envelope.inference_timeout_ns or 0
    config.on_reject = ON_REJECT[envelope.on_reject]
    config.inner_law = _INNER[envelope.inner_law]
    config.clock = _CLOCK[envelope.clock]
    if envelope.prepare is not None:
        config.prepare_ns, config.blend_ns = envelope.prepare.duration_ns, envelope.prepare.blend_ns
    _apply_ladders(config, envelope.ladder)
    channels = core_channels(envelope, spec, [channel.name for channel in layout.state])
    config.action_count = spec.action.size
    config.command_count = len(channels)
    for index, channel in enumerate(channels):
        config.commands[index] = channel


def _apply_operator(config: Config, operator: Operator | None) -> None:
    """Write what an operator may want into a guardian's configuration."""
    if operator is None:
        return
    config.operator_timeout_ns = operator.timeout_ns
    config.dead_man = int(operator.dead_man)
    config.operator_count = len(operator.values)
    for index, one in enumerate(operator.values):
        config.operators[index] = OperatorChannel(one.low, one.high, one.timeout_value, 0)


def _apply_ladders(config: Config, ladder: FallbackLadder) -> None:
    for index, fault in zip(LadderClass, CLASSES, strict=True):
        rungs = [Rung(rung.for_ns, _DO[rung.do]) for rung in ladder.rungs(fault)]
        row = Ladder(len(rungs))
        for place, rung in enumerate(rungs):
            row.rungs[place] = rung
        config.ladders[index] = row


def _channel(
    envelope: Envelope, spec: PolicySpec, field: CommandField, limits: ChannelLimits, state: dict[str, int]
) -> CommandChannel:
    if field.acts:
        channel = _limited(limits, envelope.safe_command[field.action], field.action)
    else:
        values = gain_values(envelope, spec, field)
        channel = _limited(limits, values.safe, -1)
        channel.nominal, channel.damp, channel.prepare = values.policy, values.damp, values.prepare
    channel.role = Role[field.role.upper()]
    channel.measured = state.get(field.measured or "", -1)
    channel.measured_rate = state.get(field.measured_rate or "", -1)
    if closes_loop(spec):
        _close_loop(channel, envelope, spec, field)
    elif field.acts and envelope.prepare is not None and envelope.prepare.pose is not None:
        channel.prepare = envelope.prepare.pose[field.action]
    return channel


def _limited(limits: ChannelLimits, safe: float, action: int) -> CommandChannel:
    return command_channel(
        low=limits.low,
        high=limits.high,
        max_rate=limits.max_rate,
        max_acceleration=limits.max_acceleration,
        safe=safe,
        on_violation=_ON_VIOLATION[limits.on_violation],
        action=action,
    )


def _close_loop(channel: CommandChannel, envelope: Envelope, spec: PolicySpec, field: CommandField) -> None:
    for name, index in ((field.measured, channel.measured), (field.measured_rate, channel.measured_rate)):
        if index < 0:
            raise LoopError(
                f"The guardian is to close the loop of {field.name}, and the robot's states have no channel {name}. "
                "Name the joint in a joint_position and a joint_velocity term, or let the drive close the loop "
                "(robot.pd)."
            )
    own, prepared = policy_gains(spec), prepare_gains(envelope, spec)
    limits, prepare = envelope.channels[field.action], envelope.prepare
    low, high = limits.target_low, limits.target_high
    channel.pd = 1
    channel.kp, channel.kd = own.kp[field.action], own.kd[field.action]
    channel.prepare_kp, channel.prepare_kd = prepared.kp[field.action], prepared.kd[field.action]
    channel.damp_kd = (envelope.damp_kd or own.kd)[field.action]
    channel.target_low, channel.target_high = -math.inf if low is None else low, math.inf if high is None else high
    pose = prepare.pose if prepare is not None else None
    channel.prepare = channel.target_low if pose is None else pose[field.action]
