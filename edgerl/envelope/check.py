"""What contradicts itself in an :class:`edgerl.envelope.Envelope`, and what does not fit a policy.

Called by the envelope itself when it is made, and by :func:`edgerl.envelope.check_envelope`. It judges numbers against
each other; what the robot can bear is its owner's to say.
"""

from __future__ import annotations

import dataclasses
import math
import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING

from edgerl.envelope.joints import channel_names, closes_loop, law_problems, takes_gains
from edgerl.envelope.ladder import MAX_TIME_NS, hold_mismatches, ladder_problems
from edgerl.envelope.operator import operator_mismatches, operator_problems
from edgerl.envelope.state import state_mismatches, state_problems
from edgerl.envelope.watchdog import watchdog_mismatches, watchdog_problems
from edgerl.frame_inputs import frame_inputs
from edgerl.runtime.enums import MAX_WINDOW

if TYPE_CHECKING:
    from edgerl.envelope import ChannelLimits, Envelope, Prepare
    from edgerl.spec import PolicySpec

SCHEMA = 1
"""Version of the file and of the form in the manifest."""
MAX_CHANNELS = 256
"""Command channels that the guardian has memory for."""


def problems(envelope: Envelope) -> Iterator[str]:
    """Yield what is wrong with an envelope, whatever the policy."""
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
        *([("frames.max_age_s", 1, envelope.frames.max_age_ns)] if envelope.frames else []),
        ("inference_timeout_s", 1, 1 if envelope.inference_timeout_ns is None else envelope.inference_timeout_ns),
    ):
        if not low <= value <= MAX_TIME_NS:
            yield f"{name} is {_seconds(value)}, valid is {'more than 0' if low else '0'} to {_seconds(MAX_TIME_NS)}"
    yield from ladder_problems(envelope.ladder)
    yield from operator_problems(envelope.operator)
    yield from state_problems(envelope.state)
    yield from watchdog_problems(envelope.watchdog, envelope.state)
    yield from _gain_problems(envelope)
    if envelope.prepare is not None:
        yield from _prepare_problems(envelope.prepare, len(envelope.channels))


def _gain_problems(envelope: Envelope) -> Iterator[str]:
    prepared = envelope.prepare.gains if envelope.prepare is not None else None
    for name, values in (
        ("gains.kp", envelope.safe_gains.kp if envelope.safe_gains else None),
        ("gains.kd", envelope.safe_gains.kd if envelope.safe_gains else None),
        ("damp.kd", envelope.damp_kd),
        ("prepare.kp", prepared.kp if prepared else None),
        ("prepare.kd", prepared.kd if prepared else None),
    ):
        if values is None:
            continue
        if len(values) != len(envelope.channels):
            yield f"{name} has {len(values)} values for {len(envelope.channels)} channels"
        for value in values:
            if not (_fits_float32(value) and value >= 0):
                yield f"{name} is {value:g}, valid is 0 or more"


def _prepare_problems(prepare: Prepare, channels: int) -> Iterator[str]:
    for name, value in (("duration_s", prepare.duration_ns), ("blend_s", prepare.blend_ns)):
        if not 0 <= value <= MAX_TIME_NS:
            yield f"prepare.{name} is {_seconds(value)}, valid is 0 to {_seconds(MAX_TIME_NS)}"
    if (prepare.pose is None) != (prepare.duration_ns == 0):
        yield "prepare has a pose without a duration" if prepare.pose is not None else "prepare has no pose to go to"
    if prepare.pose is not None and len(prepare.pose) != channels:
        yield f"prepare.pose has {len(prepare.pose)} values for {channels} channels"


def _channel_problems(channel: ChannelLimits, safe: float) -> Iterator[str]:
    where = f"channel {channel.name!r}"
    if not (_fits_float32(channel.low) and _fits_float32(channel.high) and channel.low <= channel.high):
        yield f"{where}: low is {channel.low:g} and high {channel.high:g}, valid are finite float32 with low below high"
    elif not channel.low <= safe <= channel.high:
        yield f"{where}: the safe command {safe:g} is outside [{channel.low:g}, {channel.high:g}]"
    for name, value in (("max_rate", channel.max_rate), ("max_acceleration", channel.max_acceleration)):
        if not (value == math.inf or (_fits_float32(value) and _float32(value) > 0)):
            yield f"{where}: {name} is {value:g}, valid is more than 0, or inf for no limit"
    low, high = channel.target_low, channel.target_high
    if low is None and high is None:
        return
    if low is None or high is None or not (_fits_float32(low) and _fits_float32(high) and low < high):
        yield (
            f"{where}: target_low is {low} and target_high {high}, valid are two finite float32, the low one below the "
            "high one"
        )


def mismatches(envelope: Envelope, spec: PolicySpec) -> Iterator[str]:
    """Yield what keeps an envelope from being this policy's."""
    names = channel_names(spec.action)
    if tuple(channel.name for channel in envelope.channels) != names:
        found = ", ".join(channel.name for channel in envelope.channels)
        yield f"its channels are {found}; the policy's, in this order, {', '.join(names)}"
        return
    yield from _limit_mismatches(envelope, spec)
    frames = frame_inputs(spec)
    if frames and envelope.frames is None:
        yield f"{frames[0].name} is an image, and nothing says how old it may be: [frames] max_age_s is missing"
    if envelope.frames is not None and not frames:
        yield "it has limits for images ([frames]), and the policy observes none"
    yield from operator_mismatches(envelope.operator, spec)
    yield from state_mismatches(envelope.state, spec)
    yield from _delay_mismatches(envelope, spec)
    yield from law_problems(spec)
    yield from _law_mismatches(envelope, spec)
    if envelope.prepare is not None and envelope.prepare.pose is not None:
        yield from _pose_mismatches(envelope.channels, envelope.prepare.pose, spec)
    if spec.period_ns is not None:
        yield from _time_mismatches(envelope, spec.period_ns)
        yield from _step_mismatches(envelope.channels, spec.period_ns)
        yield from watchdog_mismatches(envelope.watchdog, spec.period_ns)
        meaning = "torque" if closes_loop(spec) else spec.action.meaning
        if spec.action.kind == "continuous" and meaning != "position":
            what = "of unknown meaning" if meaning == "opaque" else f"a {meaning}"
            yield from hold_mismatches(envelope.ladder, what, spec.period_ns)


def _delay_mismatches(envelope: Envelope, spec: PolicySpec) -> Iterator[str]:
    divider, delay = spec.robot.policy_divider, envelope.action_delay
    least = 0 if divider == 1 else 1
    if delay is not None and not least <= delay <= divider:
        waits = "; 0, to wait within the tick, is for policies that act in every tick" if divider > 1 else ""
        yield f"action_delay is {delay}, valid is {least} to {divider} base ticks, the policy's divider{waits}"
    if divider > 1 and envelope.degrade.misses <= divider:
        yield (
            f"degrade says {envelope.degrade.misses} misses, and one late answer of this policy makes {divider} ticks "
            f"late: it would be a fault at once; valid is more than {divider}, its divider"
        )
    if envelope.inference_timeout_ns is not None and spec.period_ns is not None:
        ticks = max(1, divider if delay is None else delay)
        if envelope.inference_timeout_ns <= ticks * spec.period_ns:
            yield (
                f"inference_timeout_s is {_seconds(envelope.inference_timeout_ns)}, valid is more than "
                f"{_seconds(ticks * spec.period_ns)}, the time that the policy has for its answer"
            )


def _limit_mismatches(envelope: Envelope, spec: PolicySpec) -> Iterator[str]:
    if spec.action.kind != "continuous":
        for channel, low, high in zip(envelope.channels, spec.action.low, spec.action.high, strict=True):
            bare = dataclasses.replace(
                channel, low=low, high=high, max_rate=math.inf, max_acceleration=math.inf, on_violation="reject"
            )
            if channel != bare or channel.target_low is not None:
                yield f"channel {channel.name!r}: a {spec.action.kind} action has no other limits than its choices"
        return
    for channel in envelope.channels:
        where = f"channel {channel.name!r}"
        if not _float32(channel.low) < _float32(channel.high):
            yield f"{where}: low {channel.low:g} is not below high {channel.high:g} as float32"
        if closes_loop(spec) and channel.target_low is None:
            yield f"{where}: the guardian closes its loop, and target_low and target_high are missing"
        if not closes_loop(spec) and channel.target_low is not None:
            yield f"{where} has target_low and target_high, which only a joint has whose loop the guardian closes"


def _law_mismatches(envelope: Envelope, spec: PolicySpec) -> Iterator[str]:
    """Yield where the envelope asks for what this policy's action or this robot's joints do not have."""
    takes, closes = takes_gains(spec), closes_loop(spec)
    prepare, continuous = envelope.prepare, spec.action.kind == "continuous"
    why = "this robot's joints take none (the spec's robot.pd, kp and kd)"
    if envelope.safe_gains is not None and not takes:
        yield f"[gains] gives gains with every command, and {why}"
    if envelope.damp_kd is not None and not (takes or closes):
        yield f"[damp] gives gains, and {why}"
    if prepare is not None and prepare.gains is not None and not (takes or closes):
        yield f"[prepare] gives gains, and {why}"
    if envelope.ladder.does("damp") and not (takes or closes):
        yield f"a ladder damps, which takes gains, and {why}; its rung safe can send what damps here"
    if envelope.inner_law == "interpolate" and not continuous:
        yield f"inner.law is interpolate, and between the choices of a {spec.action.kind} action is nothing"
    if prepare is not None and prepare.blend_ns > 0 and not continuous:
        yield f"prepare.blend_s is given, and between the choices of a {spec.action.kind} action is nothing"


def _pose_mismatches(channels: tuple[ChannelLimits, ...], pose: tuple[float, ...], spec: PolicySpec) -> Iterator[str]:
    if spec.action.kind != "continuous" or spec.action.meaning != "position":
        yield f"[prepare] goes to a pose, and the action is a {spec.action.kind} {spec.action.meaning}"
        return
    for channel, value in zip(channels, pose, strict=True):
        low = channel.low if channel.target_low is None else channel.target_low
        high = channel.high if channel.target_high is None else channel.target_high
        if not low <= value <= high:
            yield f"channel {channel.name!r}: prepare.pose {value:g} is outside [{low:g}, {high:g}]"


def _time_mismatches(envelope: Envelope, period_ns: int) -> Iterator[str]:
    period = f"the control period of {_seconds(period_ns)}"
    if envelope.budget_ns >= period_ns:
        yield f"budget_s is {_seconds(envelope.budget_ns)}, valid is less than {period}"
    if envelope.valid_for_ns < period_ns:
        yield f"valid_for_s is {_seconds(envelope.valid_for_ns)}, valid is {period} or more"
    if envelope.state_timeout_ns < period_ns:
        yield f"state_timeout_s is {_seconds(envelope.state_timeout_ns)}, valid is {period} or more"


def _step_mismatches(channels: tuple[ChannelLimits, ...], period_ns: int) -> Iterator[str]:
    """Yield the channels that could not set out from rest: what a period lets them move vanishes in a float32."""
    period_s = period_ns / 1e9
    for channel in channels:
        largest = max(abs(channel.low), abs(channel.high))
        if not math.isfinite(largest) or channel.low == channel.high:
            continue
        spacing = math.ldexp(1.0, math.frexp(largest)[1] - 24)
        for name, value, step in (
            ("max_rate", channel.max_rate, period_s),
            ("max_acceleration", channel.max_acceleration, period_s * period_s),
        ):
            if value * step < spacing:
                yield (
                    f"{channel.name} could not set out: {name} = {value:g} lets it move by {value * step:.2g} in a "
                    f"period of {_seconds(period_ns)}, and the next number to {largest:g} is {spacing:.2g} away; valid "
                    f"is {spacing / step:.3g} or more"
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
