"""The channel layout: which float32 of a datagram is what, and where it goes in the packed observation record.

Robot and controller compare the SHA-256 of the layout (names, order, units) before the first command. What a robot
measures, and how observations are made of it, is in :mod:`edgerl.runtime.state_channels`. Images, and inputs that no
datagram can carry, are frames (:mod:`edgerl.frame_inputs`): they have no channels, and the layout names each as a
whole.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

from edgerl import canonical
from edgerl.envelope import Envelope
from edgerl.envelope.joints import channel_names, command_fields, law_problems
from edgerl.envelope.state import all_state_channels
from edgerl.errors import LoopError
from edgerl.frame_inputs import frame_inputs
from edgerl.operator_values import operator_values
from edgerl.runtime.channels import NO_UNIT as NO_UNIT  # noqa: PLC0414  (read from here)
from edgerl.runtime.channels import Channel as Channel  # noqa: PLC0414
from edgerl.runtime.enums import MAX_COMMANDS, MAX_FRAME_BYTES, MAX_STATES
from edgerl.spec import ITEM_BYTES, Dtype, PolicySpec


@dataclass(frozen=True)
class FrameChannel:
    """One image, or other large input: an array that travels through the frame port as a whole."""

    name: str
    """The policy's input."""
    shape: tuple[int, ...]
    """Without the batch axis."""
    dtype: Dtype

    @property
    def nbytes(self) -> int:
        """Bytes of one frame, in C order."""
        return math.prod(self.shape) * ITEM_BYTES[self.dtype]


@dataclass(frozen=True)
class Layout:
    """All channels of a robot, in the order of the datagrams, and its frames."""

    state: tuple[Channel, ...]
    command: tuple[Channel, ...]
    frames: tuple[FrameChannel, ...] = canonical.added(())

    def sha256(self) -> bytes:
        """Return the digest that HELLO and WELCOME carry, 32 bytes."""
        return hashlib.sha256(canonical.dumps(self).encode()).digest()


def layout_of(spec: PolicySpec, envelope: Envelope | None = None) -> Layout:
    """Return the layout that a policy's robot must have.

    State channels are those of :func:`edgerl.runtime.state_channels.state_channels`, then those that only the envelope
    names; commands are those of :func:`edgerl.envelope.joints.command_fields`.

    Raises:
        LoopError: A term does not say what it measures, an inner law lacks its gains, or the channels do not fit one
            datagram, or a frame the frame port.
    """
    state = all_state_channels(spec, envelope.state if envelope else None)
    for problem in law_problems(spec):
        raise LoopError(f"The policy cannot be run: {problem}.")
    command = tuple(Channel(field.name, field.unit or NO_UNIT) for field in command_fields(spec))
    _check(state, command)
    return Layout(state, command, _frames(spec))


def action_channels(spec: PolicySpec) -> tuple[Channel, ...]:
    """Return the channels of the policy's action; a command may have more, or others."""
    return tuple(Channel(name, spec.action.unit or NO_UNIT) for name in channel_names(spec.action))


def operator_channels(spec: PolicySpec) -> tuple[Channel, ...]:
    """Return the channels of what an operator wants, as the policy observes it."""
    return tuple(Channel(value.name, value.unit or NO_UNIT) for value in operator_values(spec))


def _frames(spec: PolicySpec) -> tuple[FrameChannel, ...]:
    frames = tuple(FrameChannel(item.name, item.shape, item.dtype) for item in frame_inputs(spec))
    for frame in frames:
        if frame.nbytes > MAX_FRAME_BYTES:
            raise LoopError(
                f"{frame.name} of shape {frame.shape} has {frame.nbytes:,} bytes; the frame port carries "
                f"{MAX_FRAME_BYTES:,}. Train the policy on smaller images."
            )
    return frames


def _check(state: tuple[Channel, ...], command: tuple[Channel, ...]) -> None:
    for what, count, limit in (
        ("state", len(state), MAX_STATES),
        ("command", len(command), MAX_COMMANDS),
    ):
        if count > limit:
            raise LoopError(
                f"The policy has {count} {what} channels; the control loop carries {limit}. Only an input that has "
                "more by itself travels as a frame: train with fewer values, or with all of them in one input."
            )
