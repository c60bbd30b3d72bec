"""Envelope: what a command may be, and what is sent when it may not.

Limits per channel, the safe command, the fallback ladder and the times of the loop, resolved against one spec and
carried in the bundle's manifest. The guardian enforces it on the final command, in C (``docs/envelope.md``); this
module only says what it is and refuses what contradicts itself. Times are integer nanoseconds, limits are in the
unit of the spec's action. Reading the TOML file that people write is in :mod:`edgerl.envelope.file`.

Of the discrete kinds only membership is checked, 0 to n - 1, and always by rejecting: there is nothing between two
choices to saturate to.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from edgerl import canonical
from edgerl.envelope.check import SCHEMA, mismatches, problems
from edgerl.envelope.joints import Gains, channel_names, closes_loop
from edgerl.envelope.ladder import Ladder as Ladder
from edgerl.envelope.ladder import hold_limit_ns
from edgerl.envelope.operator import Operator, operator_mismatches
from edgerl.envelope.state import StateSet
from edgerl.envelope.watchdog import Watchdog
from edgerl.errors import EnvelopeError
from edgerl.frame_inputs import frame_inputs
from edgerl.runtime.enums import MAX_WINDOW
from edgerl.spec import Action, PolicySpec

OnViolation = Literal["reject", "saturate"]
OnReject = Literal["hold", "safe", "lapse"]
InnerLaw = Literal["hold", "interpolate"]
"""Between two actions of a policy that is slower than the base tick: the last one, or a straight line to it."""
Clock = Literal["grid", "robot"]
"""What begins a tick: the controller's own clock, or the arrival of the robot's state."""


@dataclass(frozen=True)
class ChannelLimits:
    """What one channel of the command may be."""

    name: str
    low: float
    """Smallest command, in the action's unit."""
    high: float
    """Largest command."""
    max_rate: float
    """Largest change in units/s against the command written last; infinite: any."""
    max_acceleration: float
    """Largest change of that rate in units/s²; infinite: any."""
    on_violation: OnViolation
    """``reject``: the whole command is refused. ``saturate``: this channel is brought to its limit, and counted."""
    target_low: float | None = canonical.added(None)
    """Where the guardian closes the loop the command is a torque, and this the smallest position to be asked for."""
    target_high: float | None = canonical.added(None)


@dataclass(frozen=True)
class Prepare:
    """The way into ACTIVE: a ramp to the start pose, and how long the policy is blended in."""

    duration_ns: int
    """Of the ramp; 0: none."""
    pose: tuple[float, ...] | None
    """Where the ramp ends, in the order of the action; None without a ramp."""
    gains: Gains | None
    """Of the ramp, where the robot's joints take gains; None: the policy's own."""
    blend_ns: int
    """From the command before to the policy's, at arming and at a change of policy."""


@dataclass(frozen=True)
class Degrade:
    """The leaky bucket: so many bad ticks of the last so many are a fault."""

    misses: int
    of_ticks: int


@dataclass(frozen=True)
class FrameLimits:
    """What the images of a policy may be; only for policies that observe some."""

    max_age_ns: int
    """An observation whose newest image is older is not answered. In lockstep age means nothing."""


@dataclass(frozen=True)
class Envelope:
    """Limits, safe command, ladder and times. What can be checked without the spec is checked when made.

    Raises:
        EnvelopeError: The parts contradict each other; the message names key and value.
    """

    schema: int
    origin: Literal["file", "action_box"]
    """``action_box``: derived from the trainer's limits by :func:`default_envelope`; nobody looked at the robot."""
    channels: tuple[ChannelLimits, ...]
    """In the order of the action."""
    safe_command: tuple[float, ...]
    on_reject: OnReject
    """What is sent in place of a rejected command."""
    degrade: Degrade
    ladder: Ladder
    budget_ns: int
    """From the start of a tick until its action must be there."""
    valid_for_ns: int
    """How long the robot may act on a command."""
    state_timeout_ns: int
    """Without a new robot state for this long the loop faults in lockstep, and has a bad tick on the robot's clock. On
    the grid a missing state is a bad tick."""
    allow_lockstep: bool
    """Whether the robot may stop time and wait for commands; only a simulation can."""
    frames: FrameLimits | None = canonical.added(None)
    """For policies that observe frames, and only for these."""
    inner_law: InnerLaw = canonical.added("hold")
    prepare: Prepare | None = canonical.added(None)
    """None: no ramp and no blend."""
    safe_gains: Gains | None = canonical.added(None)
    """With the safe command, where the drives take gains; None: the policy's own."""
    damp_kd: tuple[float, ...] | None = canonical.added(None)
    """Damping gain of rung damp per channel of the action, position gains being 0; None: the policy's own."""
    operator: Operator | None = canonical.added(None)
    """For policies that observe what an operator wants, and where a dead-man switch has to be held."""
    action_delay: int | None = canonical.added(None)
    """Base ticks from an observation to the tick in which its action takes effect; see :func:`action_delay_of`."""
    inference_timeout_ns: int | None = canonical.added(None)
    """A policy that owes an answer for this long is at fault; None: only late actions are counted."""
    clock: Clock = canonical.added("grid")
    state: StateSet | None = canonical.added(None)
    """Limits of what the robot measures, and where the policy may be armed; None: anything finite."""
    watchdog: Watchdog | None = canonical.added(None)

    def __post_init__(self) -> None:
        for problem in problems(self):
            raise EnvelopeError(f"The envelope is not valid: {problem}.")


def check_envelope(envelope: Envelope, spec: PolicySpec) -> None:
    """Refuse an envelope that does not fit the policy.

    Raises:
        EnvelopeError: Channels, times or the ladder contradict the spec; the message names key and value.
    """
    for problem in mismatches(envelope, spec):
        raise EnvelopeError(f"The envelope does not fit this policy: {problem}.")


def action_delay_of(envelope: Envelope, spec: PolicySpec) -> int:
    """Return after how many base ticks an action takes effect.

    Where the envelope does not say: in the same tick, for a policy that acts in every tick; else when the policy's next
    observation is made, so that it has its whole period to answer.
    """
    if envelope.action_delay is not None:
        return envelope.action_delay
    return 0 if spec.robot.policy_divider == 1 else spec.robot.policy_divider


def command_box(action: Action) -> tuple[tuple[float, float], ...]:
    """Return (low, high) of each command channel as the trainer's action box gives it."""
    scale = action.scale or (1.0,) * action.size
    offset = action.offset or (0.0,) * action.size
    ends = [
        (low * factor + shift, high * factor + shift)
        for low, high, factor, shift in zip(action.low, action.high, scale, offset, strict=True)
    ]
    return tuple((min(pair), max(pair)) for pair in ends)


def discrete_channels(action: Action) -> tuple[ChannelLimits, ...]:
    """Return the only limits that discrete kinds have: membership, by rejecting."""
    return tuple(
        ChannelLimits(name, low, high, math.inf, math.inf, "reject")
        for name, low, high in zip(channel_names(action), action.low, action.high, strict=True)
    )


def default_envelope(spec: PolicySpec) -> Envelope:
    """Return an envelope from the trainer's own action box, for a policy that has a finite one.

    It keeps the policy inside what it was trained to say and knows nothing of the robot: no rate is limited. The safe
    command is the default pose for positions, otherwise zero.

    Raises:
        EnvelopeError: The box is not finite, the period is unknown, or no safe command can be derived.
    """
    if spec.period_ns is None:
        raise EnvelopeError("No envelope can be derived: the policy has no control period. Give period_s with --spec.")
    for problem in operator_mismatches(None, spec):
        raise EnvelopeError(f"No envelope can be derived: {problem}. Pass the file with --envelope (docs/envelope.md).")
    action = spec.action
    if closes_loop(spec):
        raise EnvelopeError(
            "No envelope can be derived: the guardian closes the joints' loop, and nobody said which torques they may "
            "have. Write an envelope and pass it with --envelope (docs/envelope.md)."
        )
    if action.kind == "continuous":
        channels = tuple(
            _boxed(name, box) for name, box in zip(channel_names(action), command_box(action), strict=True)
        )
    else:
        channels = discrete_channels(action)
    period = spec.period_ns
    return Envelope(
        schema=SCHEMA,
        origin="action_box",
        channels=channels,
        safe_command=_default_safe_command(spec, channels),
        on_reject="hold",
        degrade=_default_degrade(spec.robot.policy_divider),
        ladder=Ladder(hold_ns=hold_limit_ns(period), safe_ns=1_000_000_000, hold_reason=None),
        budget_ns=period * 4 // 5,
        valid_for_ns=2 * period,
        state_timeout_ns=max(3 * period, 100_000_000),
        allow_lockstep=False,
        frames=FrameLimits(2 * period * spec.robot.policy_divider) if frame_inputs(spec) else None,
    )


def _default_degrade(divider: int) -> Degrade:
    """The third late answer in the time of twenty is one too many; a late one costs as many ticks as the divider."""
    return Degrade(misses=min(2 * divider + 1, MAX_WINDOW), of_ticks=min(20 * divider, MAX_WINDOW))


def _boxed(name: str, box: tuple[float, float]) -> ChannelLimits:
    low, high = box
    if not (math.isfinite(low) and math.isfinite(high)):
        raise EnvelopeError(
            f"No envelope can be derived: channel {name!r} has the action box [{low:g}, {high:g}]. "
            "An envelope must be finite; write one and pass it with --envelope (docs/envelope.md)."
        )
    return ChannelLimits(name, low, high, math.inf, math.inf, "reject")


def _default_safe_command(spec: PolicySpec, channels: tuple[ChannelLimits, ...]) -> tuple[float, ...]:
    pose, joints = spec.robot.default_pose, spec.robot.joints
    if spec.action.kind == "continuous" and spec.action.meaning == "position":
        names = channel_names(spec.action)
        if pose is None or any(name not in joints for name in names):
            raise EnvelopeError(
                "No safe command can be derived: the action is a position and the policy has no default pose of the "
                "same joints. Write safe_command into an envelope and pass it with --envelope (docs/envelope.md)."
            )
        return tuple(pose[joints.index(name)] for name in names)
    for channel in channels:
        if not channel.low <= 0.0 <= channel.high:
            raise EnvelopeError(
                f"No safe command can be derived: zero is outside [{channel.low:g}, {channel.high:g}] of channel "
                f"{channel.name!r}. Write safe_command into an envelope and pass it with --envelope (docs/envelope.md)."
            )
    return (0.0,) * len(channels)
