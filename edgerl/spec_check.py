"""What contradicts itself in a :class:`edgerl.spec.PolicySpec`: shapes, slices, names and numbers that do not fit.

Called by the spec itself when it is made, so that nobody holds one that was not checked. It judges form only; what the
robot still needs is :meth:`edgerl.spec.PolicySpec.unknowns`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgerl.spec import Action, Input, PolicySpec, Robot, Term

ALIGNMENT = 64
"""Bytes: each input of the packed observation record starts on a cache line."""


def problems(spec: PolicySpec) -> Iterator[str]:
    """Yield what is wrong with a spec, one clause each; nothing where it holds together."""
    yield from _repeated("input", [item.name for item in spec.inputs])
    yield from _repeated("state tensor", [item.name for item in spec.state])
    yield from _repeated("joint", spec.robot.joints)
    if not spec.inputs:
        yield "it has no input"
    end = 0
    for item in spec.inputs:
        yield from _input_problems(item, end, spec.robot.joints)
        end = item.offset + item.nbytes
    yield from _action_problems(spec.action)
    yield from _robot_problems(spec.robot)
    for state in spec.state:
        if not state.name.startswith("state.") or len(state.initial) != math.prod(state.shape):
            yield f"{state.name}: {len(state.initial)} initial values for the shape {state.shape}"
    if spec.period_ns is not None and spec.period_ns <= 0:
        yield f"period_ns is {spec.period_ns}, valid is more than 0"
    known = {field.name for field in fields(spec)}
    for name in spec.sources:
        if name.split(".")[0] not in known:
            yield f"sources names {name!r}, which is no field of a spec"


def _input_problems(item: Input, end: int, joints: tuple[str, ...]) -> Iterator[str]:
    if item.name != "observation" and not item.name.startswith("observation."):
        yield f"input {item.name!r} is not called observation or observation.<key>"
    if not item.shape or min(item.shape) < 1:
        yield f"{item.name}: shape {item.shape} has an axis without elements"
    if item.offset % ALIGNMENT or item.offset < end:
        yield f"{item.name}: offset {item.offset} is not the next multiple of {ALIGNMENT} after byte {end}"
    yield from _repeated(f"term of {item.name}", [term.name for term in item.terms])
    position = 0
    for term in item.terms:
        where = f"{item.name}.{term.name}"
        if term.start != position or term.stop <= term.start:
            yield f"{where} covers {term.start}:{term.stop}, expected to start at {position}"
        position = term.stop
        yield from _term_problems(where, term, joints)
    if position != item.size:
        yield f"the terms of {item.name} cover {position} of its {item.size} elements"


def _term_problems(where: str, term: Term, joints: tuple[str, ...]) -> Iterator[str]:
    length = term.history.length if term.history else 1
    if length < 1 or term.size % length:
        yield f"{where}: {term.size} elements do not hold a history of {length}"
        return
    width = term.size // length
    for name, values in (("offset", term.offset), ("scale", term.scale)):
        if values is not None and len(values) != width:
            yield f"{where}: {len(values)} values of {name} for {width} elements"
    if term.joints and len(term.joints) != width:
        yield f"{where}: {len(term.joints)} joints for {width} elements"
    for joint in term.joints:
        if joint not in joints:
            yield f"{where}: joint {joint!r} is not a joint of the robot"
    if term.clip is not None and not term.clip[0] < term.clip[1]:
        yield f"{where}: clip {term.clip} is empty"


def _action_problems(action: Action) -> Iterator[str]:
    if not action.low or len(action.low) != len(action.high):
        yield f"action: {len(action.low)} values of low and {len(action.high)} of high"
        return
    for channel, (low, high) in enumerate(zip(action.low, action.high, strict=True)):
        if not low <= high:
            yield f"action channel {channel}: low {low} is not below high {high}"
    for name, values in (("names", action.names), ("offset", action.offset), ("scale", action.scale)):
        if values is not None and len(values) != action.size:
            yield f"action: {len(values)} {name} for {action.size} channels"
    yield from _repeated("action name", action.names or ())


def _robot_problems(robot: Robot) -> Iterator[str]:
    for name in ("default_pose", "kp", "kd"):
        values = getattr(robot, name)
        if values is not None and len(values) != len(robot.joints):
            yield f"robot.{name}: {len(values)} values for {len(robot.joints)} joints"
    if robot.policy_divider < 1:
        yield f"robot.policy_divider is {robot.policy_divider}, valid is 1 or more"


def _repeated(what: str, names: Iterable[str]) -> Iterator[str]:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            yield f"{what} {name!r} is given twice"
        seen.add(name)
