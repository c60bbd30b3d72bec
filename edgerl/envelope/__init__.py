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
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from edgerl import canonical
from edgerl.errors import EnvelopeError
from edgerl.frame_inputs import frame_inputs
from edgerl.spec import Action, PolicySpec

SCHEMA = 1
"""Version of the file and of the form in the manifest."""
MAX_WINDOW = 1024
"""Ticks that the degrade bucket can look back on; the guardian has memory for these."""
MAX_CHANNELS = 256
"""Command channels that the guardian has memory for."""
HOLD_LIMIT_NS = 100_000_000
"""A velocity or torque that is held keeps moving the robot: longer than this, or than one period, needs a reason."""
MAX_TIME_NS = 3_600_000_000_000
"""An hour: any longer time in a control loop is a mistake in its unit."""

OnViolation = Literal["reject", "saturate"]
OnReject = Literal["hold", "safe", "lapse"]


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


@dataclass(frozen=True)
class Degrade:
    """The leaky bucket: so many bad ticks of the last so many are a fault."""

    misses: int
    of_ticks: int


@dataclass(frozen=True)
class Ladder:
    """What is sent after a fault: the command written last, then the safe command, then nothing."""

    hold_ns: int
    safe_ns: int
    """After this time at the safe command nothing is sent any more and the robot's own time-out acts."""
    hold_reason: str | None
    """Why holding a command that keeps the robot moving is right here; needed beyond :data:`HOLD_LIMIT_NS`."""


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
    """Lockstep: without a new robot state for this long the loop faults. On the grid a missing state is a bad tick."""
    allow_lockstep: bool
    """Whether the robot may stop time and wait for commands; only a simulation can."""
    frames: FrameLimits | None = canonical.added(None)
    """For policies that observe frames, and only for these."""

    def __post_init__(self) -> None:
        for problem in _problems(self):
            raise EnvelopeError(f"The envelope is not valid: {problem}.")


def check_envelope(envelope: Envelope, spec: PolicySpec) -> None:
    """Refuse an envelope that does not fit the policy.

    Raises:
        EnvelopeError: Channels, times or the ladder contradict the spec; the message names key and value.
    """
    for problem in _mismatches(envelope, spec):
        raise EnvelopeError(f"The envelope does not fit this policy: {problem}.")


def channel_names(action: Action) -> tuple[str, ...]:
    """Return the names of the command channels: the spec's, or ``action[0]`` and so on where it has none."""
    return action.names or tuple(f"action[{index}]" for index in range(action.size))


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
    action = spec.action
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
        degrade=Degrade(misses=3, of_ticks=20),
        ladder=Ladder(hold_ns=hold_limit_ns(period), safe_ns=1_000_000_000, hold_reason=None),
        budget_ns=period * 4 // 5,
        valid_for_ns=2 * period,
        state_timeout_ns=max(3 * period, 100_000_000),
        allow_lockstep=False,
        frames=FrameLimits(2 * period * spec.robot.policy_divider) if frame_inputs(spec) else None,
    )


def hold_limit_ns(period_ns: int) -> int:
    """Return how long a velocity or torque may be held without a reason: 0.1 s, or one period where that is longer."""
    return max(HOLD_LIMIT_NS, period_ns)


def _boxed(name: str, box: tuple[float, float]) -> ChannelLimits:
    low, high = box
    if not (math.isfinite(low) and math.isfinite(high)):
        raise EnvelopeError(
            f"No envelope can be derived: channel {name!r} has the action box [{low:g}, {high:g}]. "
            "An envelope must be finite; write one and pass it with --envelope (docs/envelope.md)."
        )
    return ChannelLimits(name, low, high, math.inf, math.inf, "reject")


def _default_safe_command(spec: PolicySpec, channels: tuple[ChannelLimits, ...]) -> tuple[float, ...]:
    pose = spec.robot.default_pose
    if spec.action.kind == "continuous" and spec.action.meaning == "position":
        if pose is None or spec.robot.joints != spec.action.names:
            raise EnvelopeError(
                "No safe command can be derived: the action is a position and the policy has no default pose of the "
                "same joints. Write safe_command into an envelope and pass it with --envelope (docs/envelope.md)."
            )
        return pose
    for channel in channels:
        if not channel.low <= 0.0 <= channel.high:
            raise EnvelopeError(
                f"No safe command can be derived: zero is outside [{channel.low:g}, {channel.high:g}] of channel "
                f"{channel.name!r}. Write safe_command into an envelope and pass it with --envelope (docs/envelope.md)."
            )
    return (0.0,) * len(channels)


def _problems(envelope: Envelope) -> Iterator[str]:
    if envelope.schema != SCHEMA:
        yield f"schema is {envelope.schema}, this edgerl reads {SCHEMA}"
    if not 1 <= len(envelope.channels) <= MAX_CHANNELS:
        yield f"it has {len(envelope.channels)} channels, valid is 1 to {MAX_CHANNELS}"
    if len(envelope.safe_command) != len(envelope.channels):
        yield f"safe_command has {len(envelope.safe_command)} values for {len(envelope.channels)} channels"
        return
    for channel, safe in zip(envelope.channels, envelope.safe_command, strict=True):
        yield from _channel_problems(channel, safe)
    degrade = envelope.degrade
    if not 1 <= degrade.misses <= degrade.of_ticks <= MAX_WINDOW:
        yield (
            f"degrade says {degrade.misses} misses of {degrade.of_ticks} ticks, "
            f"valid is 1 <= misses <= of_ticks <= {MAX_WINDOW}"
        )
    for name, low, value in (
        ("budget_s", 1, envelope.budget_ns),
        ("valid_for_s", 1, envelope.valid_for_ns),
        ("state_timeout_s", 1, envelope.state_timeout_ns),
        ("ladder.hold_s", 0, envelope.ladder.hold_ns),
        ("ladder.safe_s", 0, envelope.ladder.safe_ns),
        *([("frames.max_age_s", 1, envelope.frames.max_age_ns)] if envelope.frames else []),
    ):
        if not low <= value <= MAX_TIME_NS:
            yield f"{name} is {_seconds(value)}, valid is {'more than 0' if low else '0'} to {_seconds(MAX_TIME_NS)}"


def _channel_problems(channel: ChannelLimits, safe: float) -> Iterator[str]:
    where = f"channel {channel.name!r}"
    if not (_fits_float32(channel.low) and _fits_float32(channel.high) and channel.low <= channel.high):
        yield f"{where}: low is {channel.low:g} and high {channel.high:g}, valid are finite float32 with low below high"
    elif not channel.low <= safe <= channel.high:
        yield f"{where}: the safe command {safe:g} is outside [{channel.low:g}, {channel.high:g}]"
    for name, value in (("max_rate", channel.max_rate), ("max_acceleration", channel.max_acceleration)):
        if not (value == math.inf or (_fits_float32(value) and _float32(value) > 0)):
            yield f"{where}: {name} is {value:g}, valid is more than 0, or inf for no limit"


def _mismatches(envelope: Envelope, spec: PolicySpec) -> Iterator[str]:
    names = channel_names(spec.action)
    if tuple(channel.name for channel in envelope.channels) != names:
        found = ", ".join(channel.name for channel in envelope.channels)
        yield f"its channels are {found}; the policy's, in this order, {', '.join(names)}"
        return
    if spec.action.kind != "continuous" and envelope.channels != discrete_channels(spec.action):
        yield f"a {spec.action.kind} action has no other limits than its choices"
    for channel in envelope.channels:
        if spec.action.kind == "continuous" and not _float32(channel.low) < _float32(channel.high):
            yield f"channel {channel.name!r}: low {channel.low:g} is not below high {channel.high:g} as float32"
    frames = frame_inputs(spec)
    if frames and envelope.frames is None:
        yield f"{frames[0].name} is an image, and nothing says how old it may be: [frames] max_age_s is missing"
    if envelope.frames is not None and not frames:
        yield "it has limits for images ([frames]), and the policy observes none"
    if spec.period_ns is not None:
        yield from _time_mismatches(envelope, spec.period_ns)
        if spec.action.kind == "continuous" and spec.action.meaning != "position":
            yield from _hold_mismatches(envelope.ladder, spec.action.meaning, spec.period_ns)


def _time_mismatches(envelope: Envelope, period_ns: int) -> Iterator[str]:
    period = f"the control period of {_seconds(period_ns)}"
    if envelope.budget_ns >= period_ns:
        yield f"budget_s is {_seconds(envelope.budget_ns)}, valid is less than {period}"
    if envelope.valid_for_ns < period_ns:
        yield f"valid_for_s is {_seconds(envelope.valid_for_ns)}, valid is {period} or more"
    if envelope.state_timeout_ns < period_ns:
        yield f"state_timeout_s is {_seconds(envelope.state_timeout_ns)}, valid is {period} or more"


def _hold_mismatches(ladder: Ladder, meaning: str, period_ns: int) -> Iterator[str]:
    limit = hold_limit_ns(period_ns)
    if ladder.hold_ns > limit and ladder.hold_reason is None:
        what = "of unknown meaning" if meaning == "opaque" else meaning
        yield (
            f"ladder.hold_s is {_seconds(ladder.hold_ns)} for a command that is {what}; beyond {_seconds(limit)} "
            "ladder.hold_reason must say why the robot may go on moving"
        )


def _seconds(value_ns: int) -> str:
    return f"{value_ns / 1e9:g} s"


def _float32(value: float) -> float:
    """Return the number that the guardian will compare with: commands are float32, so its limits are too."""
    return float(struct.unpack("<f", struct.pack("<f", value))[0])


def _fits_float32(value: float) -> bool:
    try:
        return math.isfinite(_float32(value))
    except OverflowError:
        return False
