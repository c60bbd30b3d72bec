"""What the robot's state may be, where the policy may be armed, and which channels are noisy.

Channels are the robot's state channels (:mod:`edgerl.runtime.state_channels`), and others that only the envelope names:
those the robot measures and the policy does not observe. The guardian judges every state by them, in C; where the file
says nothing, nothing but a value that is not finite is a fault.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edgerl.runtime.channels import Channel
from edgerl.runtime.enums import Attitude
from edgerl.runtime.state_channels import attitude_of, state_channels
from edgerl.spec import PolicySpec


@dataclass(frozen=True)
class StateLimits:
    """What one state channel may be, in its unit."""

    name: str
    unit: str | None
    """Of a channel that only the envelope names; None: the policy's own channel, whose unit the spec says."""
    low: float
    """Below it the state is at fault; infinite: no limit."""
    high: float
    start_low: float
    """Below it the policy is not armed; infinite: wherever it is."""
    start_high: float
    noisy: bool
    """Whether its sensor's noise makes equal values in a row unlikely."""

    @property
    def limited(self) -> bool:
        """Whether any value is a fault."""
        return math.isfinite(self.low) or math.isfinite(self.high)

    @property
    def starts(self) -> bool:
        """Whether arming depends on it."""
        return math.isfinite(self.start_low) or math.isfinite(self.start_high)


@dataclass(frozen=True)
class StateSet:
    """The states that a policy may act from."""

    channels: tuple[StateLimits, ...]
    """Those of which something is said; channels that only the envelope names stand in the order of the layout."""
    max_tilt: float | None
    """Largest angle in [rad] between the robot's upright and the world's; beyond it the state is at fault."""
    max_start_tilt: float | None
    """The same, for arming."""


def all_state_channels(spec: PolicySpec, state: StateSet | None) -> tuple[Channel, ...]:
    """Return every channel of the robot's states: those that the policy observes, then those that only it limits."""
    own = tuple(Channel(one.name, one.unit) for one in state.channels if one.unit is not None) if state else ()
    return state_channels(spec) + own


def state_problems(state: StateSet | None) -> Iterator[str]:
    """Yield what is wrong with a set of states, whatever the policy."""
    if state is None:
        return
    names = [one.name for one in state.channels]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"state channel {name!r} is given twice"
    for one in state.channels:
        yield from _channel_problems(one)
    for name, tilt in (("max_tilt_rad", state.max_tilt), ("max_start_tilt_rad", state.max_start_tilt)):
        if tilt is not None and not 0.0 < tilt < math.pi:
            yield f"state.{name} is {tilt:g}, valid is more than 0 and less than pi, on its head; leave it out for any"
    if state.max_tilt is not None and state.max_start_tilt is not None and state.max_start_tilt > state.max_tilt:
        yield (
            f"state.max_start_tilt_rad is {state.max_start_tilt:g}, beyond max_tilt_rad = {state.max_tilt:g}: "
            "it would be armed at fault"
        )


def state_mismatches(state: StateSet | None, spec: PolicySpec) -> Iterator[str]:
    """Yield what in a set of states this policy's robot does not have."""
    if state is None:
        return
    own = [channel.name for channel in state_channels(spec)]
    for one in state.channels:
        if one.unit is None and one.name not in own:
            yield f"there is no state channel {one.name!r}; the policy's are {listed(own)}"
        elif one.unit is not None and one.name in own:
            yield f"state channel {one.name!r} has a unit in the envelope, and the policy's spec says which it has"
    tilts = [name for name in ("max_tilt", "max_start_tilt") if getattr(state, name) is not None]
    if tilts and attitude_of(spec)[0] is Attitude.NONE:
        yield (
            f"state.{tilts[0]}_rad is given, and the robot does not say how it stands: no term of the policy has the "
            "source imu.gravity"
        )


def listed(names: Sequence[str], most: int = 40) -> str:
    """Return names for a message; a large observation's are not all of use."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return (", ".join(names[:most]) or "none") + more


def _channel_problems(one: StateLimits) -> Iterator[str]:
    where = f"state channel {one.name!r}"
    ends = (one.low, one.high, one.start_low, one.start_high)
    low, high, start_low, start_high = (_float32(end) for end in ends)
    if unfit := [end for end in ends if math.isnan(end) or (math.isfinite(end) and math.isinf(_float32(end)))]:
        yield f"{where}: {unfit[0]:g} is no limit, valid are float32 and none at all"
    elif not low < high:
        yield f"{where}: low is {one.low:g}, which is not below high {one.high:g} as float32"
    elif not start_low < start_high:
        yield f"{where}: its start set begins at {one.start_low:g}, which is not below its end {one.start_high:g}"
    elif one.starts and not (low <= start_low and start_high <= high):
        yield (
            f"{where}: its start set from {one.start_low:g} to {one.start_high:g} reaches beyond its limits "
            f"[{one.low:g}, {one.high:g}]: it would be armed at fault"
        )
    if one.unit is not None and not one.unit.strip():
        yield f"{where} has an empty unit; a bare number has the unit '1'"


def _float32(value: float) -> float:
    """Return the number that the guardian compares with."""
    try:
        return float(struct.unpack("<f", struct.pack("<f", value))[0])
    except OverflowError:
        return math.copysign(math.inf, value)
