"""Reading the ``[state]`` table of the envelope file.

A channel is named as the robot's STATE has it (``"q[knee]"``, ``"imu.gyro.z"``, ``"observation[3]"``), or together with
all of its kind by what stands before the brackets or the axis (``dq``, ``"imu.gyro"``, ``observation``). A channel's
own table goes before that of its kind, key by key. A name that the policy does not observe is a channel of its own, if
the file gives its unit; ``"temperature[*]"`` is one for each joint.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from edgerl.envelope import Prepare
from edgerl.envelope.joints import channel_names
from edgerl.envelope.state import StateLimits, StateSet, listed
from edgerl.errors import EnvelopeError
from edgerl.runtime.state_channels import state_channels
from edgerl.spec import PolicySpec
from edgerl.toml import Table

_KEYS: Final = ("max_tilt_rad", "max_start_tilt_rad", "channels")
_CHANNEL: Final = ("low", "high", "start", "noisy", "unit")
_START: Final = ("value", "tolerance", "low", "high")
_OF_JOINTS: Final = ("q", "dq")
_EACH: Final = "[*]"


def read_state(table: Table, spec: PolicySpec, prepare: Prepare | None) -> StateSet | None:
    """Return the states that a file describes; None where it has no ``[state]``.

    Args:
        table: The whole file.
        spec: Of the policy.
        prepare: The way to the start pose, around which positions start where the file gives no value.

    Raises:
        EnvelopeError: A channel that is not there, a start set that has no middle, or a key that is unknown, missing or
            of another type.
        LoopError: The policy's terms do not say what they measure.
    """
    if "state" not in table:
        return None
    said = table.table("state", _KEYS)
    return StateSet(
        channels=tuple(_channels(said, spec, prepare)),
        max_tilt=said.number("max_tilt_rad") if "max_tilt_rad" in said else None,
        max_start_tilt=said.number("max_start_tilt_rad") if "max_start_tilt_rad" in said else None,
    )


def _channels(said: Table, spec: PolicySpec, prepare: Prepare | None) -> Iterator[StateLimits]:
    units = {channel.name: channel.unit for channel in state_channels(spec)}
    keys, poses = said.keys("channels"), _Poses(spec, prepare)
    found: dict[str, dict[bool, Table]] = {name: {} for name in units}
    for key in sorted(keys, key=lambda one: not one.endswith(_EACH)):  # what one of them leaves out, its kind may say
        own = said.table("channels", keys).table(key, _CHANNEL)
        for name in _meant(own, key, tuple(units), tuple(found), spec):
            tables, single = found.setdefault(name, {}), key == name
            if single in tables:
                raise EnvelopeError(f"{own.where}: {name} is given twice, with and without {_EACH}. Remove one.")
            tables[single] = own
    for name, tables in found.items():
        if tables:
            yield _limits(
                name, units.get(name), [tables[single] for single in (True, False) if single in tables], poses
            )


def _meant(
    own: Table, key: str, observed: tuple[str, ...], found: tuple[str, ...], spec: PolicySpec
) -> tuple[str, ...]:
    """Return the channels that a key names.

    Args:
        own: What the file says of them.
        key: As in the file.
        observed: The policy's channels.
        found: These and what the file has named before.
        spec: Of the policy.
    """
    if key in found:
        return (key,)
    kind, joints = key.removesuffix(_EACH), spec.robot.joints
    if members := tuple(name for name in observed if _kind(name) == kind):
        return members
    if "unit" not in own:
        raise EnvelopeError(
            f"{own.where}: the policy observes no channel {key!r}. Its channels: {listed(observed)}. One that the "
            "robot measures and the policy does not observe needs its unit."
        )
    if key.endswith(_EACH) and not joints:
        raise EnvelopeError(f"{own.where}: {key!r} is a channel for each joint, and the policy's spec names no joints.")
    if key.endswith(_EACH):
        return tuple(f"{kind}[{joint}]" for joint in joints)
    if _kind(key) in _OF_JOINTS and key not in {f"{_kind(key)}[{joint}]" for joint in joints}:
        raise EnvelopeError(f"{own.where}: {key!r} is of no joint of the robot. Joints: {listed(joints)}.")
    return (key,)


def _kind(name: str) -> str:
    """Return what stands before the brackets, or before the axis: ``dq`` of ``dq[knee]``, ``imu.gyro`` of its z."""
    if name.endswith("]") and "[" in name:
        return name[: name.index("[")]
    return name.rpartition(".")[0] if name.startswith("imu.") else name


def _limits(name: str, unit: str | None, tables: list[Table], poses: _Poses) -> StateLimits:
    """Return what is said of one channel; ``unit`` is the policy's, None of a channel that it does not observe."""

    def said_in(key: str) -> Table | None:
        return next((one for one in tables if key in one), None)

    low = found.number("low") if (found := said_in("low")) else -math.inf
    high = found.number("high") if (found := said_in("high")) else math.inf
    if not low < high:
        raise EnvelopeError(f"{tables[0].where}: {name} has low {low:g}, which is not below high {high:g}.")
    own_unit = found.text("unit") if (found := said_in("unit")) else None
    if unit is not None and own_unit not in (None, unit):
        raise EnvelopeError(
            f"{tables[0].where}: the unit of {name} is {own_unit!r}; the policy observes it in {unit!r}."
        )
    start = said_in("start")
    start_low, start_high = _start(start, name, (low, high), poses) if start else (-math.inf, math.inf)
    return StateLimits(
        name=name,
        unit=own_unit if unit is None else None,
        low=low,
        high=high,
        start_low=start_low,
        start_high=start_high,
        noisy=found.boolean("noisy") if (found := said_in("noisy")) else False,
    )


def _start(own: Table, name: str, limits: tuple[float, float], poses: _Poses) -> tuple[float, float]:
    start = own.table("start", _START)
    if "tolerance" in start:
        if clash := next((key for key in ("low", "high") if key in start), None):
            raise EnvelopeError(
                f"{start.where}: it has a tolerance and {clash}. Give value and tolerance, or low and high."
            )
        tolerance = start.number("tolerance")
        if not tolerance > 0.0:
            raise EnvelopeError(f"{start.where}: tolerance is {tolerance:g}. Expected more than 0.")
        value = start.number("value") if "value" in start else poses.of(name)
        if value is None:
            raise EnvelopeError(
                f"{start.where}: value is missing, and there is no start pose of {name} to stand in for it."
            )
        return value - tolerance, value + tolerance
    if "value" in start or not ("low" in start or "high" in start):
        raise EnvelopeError(f"{start.where}: it says no set. Give value and tolerance, or low and high.")
    return (
        start.number("low") if "low" in start else limits[0],
        start.number("high") if "high" in start else limits[1],
    )


class _Poses:
    """Where the policy begins: at the end of the ramp where there is one, otherwise in its default pose."""

    def __init__(self, spec: PolicySpec, prepare: Prepare | None) -> None:
        robot = spec.robot
        self._positions = dict(zip(robot.joints, robot.default_pose or (), strict=False))
        if prepare is not None and prepare.pose is not None:
            self._positions.update(zip(channel_names(spec.action), prepare.pose, strict=True))

    def of(self, name: str) -> float | None:
        """Return the position of a channel ``q[joint]``; None of any other."""
        return self._positions.get(name[2:-1]) if _kind(name) == "q" else None
