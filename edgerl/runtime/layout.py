"""The channel layout: which float32 of a datagram is what, and where it goes in the packed observation record.

Robot and controller compare the SHA-256 of the layout (names, order, units) before the first command. This version
carries ``opaque`` terms: the robot's side sends the elements of the policy's inputs as the environment made them, and
the guardian copies each to its place in the record, converting its type.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from edgerl import canonical
from edgerl.errors import LoopError
from edgerl.runtime.enums import MAX_COMMANDS, MAX_STATES
from edgerl.spec import PolicySpec

NO_UNIT = "1"
"""Unit of a channel of which nobody said more; SI's own name for a bare number."""


@dataclass(frozen=True)
class Channel:
    """One value of a STATE or COMMAND."""

    name: str
    unit: str


@dataclass(frozen=True)
class Layout:
    """All channels of a robot, in the order of the datagrams."""

    state: tuple[Channel, ...]
    command: tuple[Channel, ...]

    def sha256(self) -> bytes:
        """Return the digest that HELLO and WELCOME carry, 32 bytes."""
        return hashlib.sha256(canonical.dumps(self).encode()).digest()


def layout_of(spec: PolicySpec) -> Layout:
    """Return the layout that a policy's robot must have.

    State channels are the elements of the inputs in order, called ``<input>[<element>]``; commands have the names and
    the unit of the action.

    Raises:
        LoopError: A term is not ``opaque``, or the channels do not fit one datagram.
    """
    state = tuple(
        Channel(f"{item.name}[{index}]", term.unit or NO_UNIT)
        for item in spec.inputs
        for term in item.terms
        for index in range(term.start, term.stop)
    )
    names = spec.action.names or tuple(f"action[{index}]" for index in range(spec.action.size))
    command = tuple(Channel(name, spec.action.unit or NO_UNIT) for name in names)
    _check(spec, state, command)
    return Layout(state, command)


def _check(spec: PolicySpec, state: tuple[Channel, ...], command: tuple[Channel, ...]) -> None:
    for item in spec.inputs:
        for term in item.terms:
            if term.source != "opaque" or term.history or term.offset or term.scale or term.clip:
                raise LoopError(
                    f"Term '{term.name}' of {item.name} has the source '{term.source}' or a transform; the control "
                    "loop of this version carries opaque terms only, as the environment made them. "
                    "Export the policy with opaque terms and let the robot's side compute this one."
                )
    for what, count, limit in (
        ("state", len(state), MAX_STATES),
        ("command", len(command), MAX_COMMANDS),
    ):
        if count > limit:
            raise LoopError(
                f"The policy has {count} {what} channels; the control loop carries {limit}. "
                "Images and large observations do not travel over the robot port in this version."
            )
