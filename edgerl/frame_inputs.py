"""Which inputs of a policy are frames: images, and whatever else is too large for the datagrams of a robot.

A frame input takes no state channels and has no place in the observation record that the guardian packs. A camera's
process, or the robot's driver, hands it to the policy process through shared memory (``docs/frame-port.md``).
"""

from __future__ import annotations

from edgerl.spec import Input, PolicySpec, Term, aligned, packed

MAX_CHANNELS = 357
"""State channels of one datagram of the robot port."""
IMAGE_RANK = 3
_PLAIN = ("opaque", "external")


def is_frame(item: Input) -> bool:
    """Return whether an input is a frame.

    It is one where it is an image (uint8, of rank 3 or more) or has more elements than a datagram carries, and the
    robot's side gives it as the policy takes it: its terms are opaque or external and nothing is done to them.
    """
    large = item.size > MAX_CHANNELS
    return all(map(_is_plain, item.terms)) and (large or (item.dtype == "uint8" and len(item.shape) >= IMAGE_RANK))


def frame_inputs(spec: PolicySpec) -> tuple[Input, ...]:
    """Return the frame inputs, in the policy's order."""
    return tuple(item for item in spec.inputs if is_frame(item))


def record_inputs(spec: PolicySpec) -> tuple[Input, ...]:
    """Return the other inputs, each with its place in the record that the guardian packs."""
    others = tuple(item for item in spec.inputs if not is_frame(item))
    return spec.inputs if len(others) == len(spec.inputs) else packed(others)


def record_size(spec: PolicySpec) -> int:
    """Return the bytes of that record, a multiple of 64; 0 for a policy that observes nothing but frames."""
    return max((aligned(item.offset + item.nbytes) for item in record_inputs(spec)), default=0)


def _is_plain(term: Term) -> bool:
    return term.source in _PLAIN and not (term.history or term.offset or term.scale or term.clip)
