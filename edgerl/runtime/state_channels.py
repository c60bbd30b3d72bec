"""The state channels of a robot, and how each value of an observation is made of them.

Terms that name what they measure share its channels: ``q[<joint>]`` and ``dq[<joint>]`` in the order of the robot's
joints, ``imu.gyro.x`` to ``z``, and the attitude as ``imu.quat.*`` in the spec's quaternion order, or as the vector
``imu.gravity.x`` to ``z`` where the spec names no order. Terms that only the robot knows (``phase``, ``external``) have
channels ``<term>[<element>]``, those of source ``opaque`` ``<input>[<element>]`` as the environment made them. What an
operator says and what the policy said last are no state. The unit of a channel is its term's: nothing is converted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from edgerl.errors import LoopError
from edgerl.frame_inputs import record_inputs
from edgerl.operator_values import operator_indices, value_names
from edgerl.runtime.channels import NO_UNIT, Channel
from edgerl.runtime.enums import Attitude, ElementSource
from edgerl.spec import Input, PolicySpec, Term

_AXES = ("x", "y", "z")
_JOINTS: Mapping[str, str] = {"joint_position": "q", "joint_velocity": "dq"}
_NOT_STATE = ("operator", "last_action_raw")


@dataclass(frozen=True)
class Value:
    """Where one element of one tick of a term comes from."""

    source: ElementSource
    index: int


def state_channels(spec: PolicySpec) -> tuple[Channel, ...]:
    """Return the state channels that a policy's robot must have, in the order of its STATE datagrams.

    Raises:
        LoopError: A term does not say what it needs, or two terms want one channel in two units.
    """
    found: dict[str, str] = {}
    for item, term in _terms(spec):
        for name in _measured(spec, item, term):
            unit = NO_UNIT if name.startswith(("imu.quat.", "imu.gravity.")) else term.unit or NO_UNIT
            if found.setdefault(name, unit) != unit:
                raise LoopError(
                    f"Channel '{name}' is wanted in '{found[name]}' and, by term '{term.name}' of {item.name}, in "
                    f"'{unit}'. A channel has one unit: give both terms the same, and scale in the term."
                )
    ordered = [f"{kind}[{joint}]" for kind in _JOINTS.values() for joint in spec.robot.joints]
    ordered += [f"imu.gyro.{axis}" for axis in _AXES] + _attitude_names(spec)
    names = [name for name in ordered if name in found]
    names += [name for name in found if name not in names]
    return tuple(Channel(name, found[name]) for name in names)


def attitude_of(spec: PolicySpec) -> tuple[Attitude, int]:
    """Return how the robot says where gravity points, and the first of its channels; NONE and 0 without."""
    if not any(term.source == "imu.gravity" for _, term in _terms(spec)):
        return Attitude.NONE, 0
    names = [channel.name for channel in state_channels(spec)]
    order = spec.robot.quaternion_order
    kind = Attitude.GRAVITY if order is None else Attitude[order.upper()]
    return kind, names.index(_attitude_names(spec)[0])


def values_of(spec: PolicySpec, item: Input, term: Term) -> tuple[Value, ...]:
    """Return where one tick's elements of a term come from, in order.

    Raises:
        LoopError: As :func:`state_channels`, or the term has more or fewer elements than its source.
    """
    if term.source == "imu.gravity":
        _width(item, term, len(_AXES))
        return tuple(Value(ElementSource.GRAVITY, axis) for axis in range(len(_AXES)))
    if term.source == "operator":
        indices = operator_indices(spec)
        return tuple(Value(ElementSource.OPERATOR, indices[name]) for name in value_names(term))
    if term.source == "last_action_raw":
        return tuple(Value(ElementSource.LAST_RAW, index) for index in _last_action(spec, item, term))
    found = {channel.name: index for index, channel in enumerate(state_channels(spec))}
    return tuple(Value(ElementSource.STATE, found[name]) for name in _measured(spec, item, term))


def width(term: Term) -> int:
    """Return how many elements of a term one tick has."""
    return term.size // (term.history.length if term.history else 1)


def _terms(spec: PolicySpec) -> Iterator[tuple[Input, Term]]:
    return ((item, term) for item in record_inputs(spec) for term in item.terms)


def _attitude_names(spec: PolicySpec) -> list[str]:
    if spec.robot.quaternion_order is None:
        return [f"imu.gravity.{axis}" for axis in _AXES]
    return [f"imu.quat.{part}" for part in spec.robot.quaternion_order]


def _measured(spec: PolicySpec, item: Input, term: Term) -> Iterable[str]:
    """Return the names of the state channels that a term reads, one tick's, in the order of its elements."""
    if term.source in _NOT_STATE:
        return ()
    if term.source in _JOINTS:
        if len(term.joints) != width(term):
            raise LoopError(
                f"Term '{term.name}' of {item.name} has {width(term)} elements and names {len(term.joints)} joints. "
                "Joints are matched by name: give one for each element with --spec."
            )
        return [f"{_JOINTS[term.source]}[{joint}]" for joint in term.joints]
    if term.source == "imu.gyro":
        _width(item, term, len(_AXES))
        return [f"imu.gyro.{axis}" for axis in _AXES]
    if term.source == "imu.gravity":
        _width(item, term, len(_AXES))
        return _attitude_names(spec)
    if term.source == "opaque":
        _refuse_transform(item, term)
        return [f"{item.name}[{index}]" for index in range(term.start, term.stop)]
    several = sum(other.name == term.name for _, other in _terms(spec)) > 1
    owner = f"{item.name}.{term.name}" if several else term.name
    return [f"{owner}[{index}]" for index in range(width(term))]


def _refuse_transform(item: Input, term: Term) -> None:
    if term.history or term.offset or term.scale or term.clip:
        raise LoopError(
            f"Term '{term.name}' of {item.name} has the source 'opaque' and a transform. An opaque term is sent as the "
            "environment made it; say what it measures, or make its source external, so that the guardian may work "
            "on it."
        )


def _width(item: Input, term: Term, expected: int) -> None:
    if width(term) != expected:
        raise LoopError(
            f"Term '{term.name}' of {item.name} has {width(term)} elements; its source '{term.source}' has {expected}."
        )


def _last_action(spec: PolicySpec, item: Input, term: Term) -> list[int]:
    """Return the indices in the raw action: by joint where the term names some, otherwise all of them."""
    names = spec.action.names or ()
    if not term.joints:
        _width(item, term, spec.action.size)
        return list(range(spec.action.size))
    for joint in term.joints:
        if joint not in names:
            raise LoopError(
                f"Term '{term.name}' of {item.name} observes the last action of joint '{joint}', which is not among "
                f"the action's: {', '.join(names) or 'none are named'}."
            )
    return [names.index(joint) for joint in term.joints]
