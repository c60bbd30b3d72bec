"""What a checkpoint holds, for people to read before anything is exported (``edgerl inspect CKPT``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields

import numpy as np

from edgerl.importers.shapes import Shape, shape_after
from edgerl.policy import Activation, Block, Conv, Network, Normalize, OneHot, Policy, Recurrent
from edgerl.spec import Unknown


@dataclass(frozen=True)
class BlockDescription:
    """One block of the network."""

    where: str
    """``observation...`` for an encoder, ``trunk`` or ``head``."""
    kind: str
    detail: str
    """What distinguishes it: the activation's name, the kernel, the clip."""
    shape: Shape
    """Of its output, without the batch."""
    parameters: int


@dataclass(frozen=True)
class CheckpointDescription:
    """Everything that is known about a checkpoint without running it."""

    path: str
    trainer: str
    trainer_version: str | None
    algorithm: str | None
    policy_class: str | None
    spaces: Mapping[str, str]
    """``observation`` and ``action``, as people write them; images as the policy sees them."""
    normalizer: str
    """Which statistics are applied, or that none were found."""
    blocks: tuple[BlockDescription, ...]
    digests: Mapping[str, str]
    """SHA-256 of each file that was read, by file name."""
    foreign_globals: tuple[str, ...]
    """What the files asked to import, and did not get."""
    unknowns: tuple[Unknown, ...]
    """What the robot needs and the checkpoint does not say."""
    notes: tuple[str, ...]
    """What was assumed, and what to look at."""
    refused: str | None
    """Why it cannot be exported; ``None``: it can."""

    @property
    def parameters(self) -> int:
        """Numbers that the policy was trained to, all blocks together."""
        return sum(block.parameters for block in self.blocks)


def describe_blocks(policy: Policy) -> tuple[BlockDescription, ...]:
    """Return the blocks of a policy's network in the order in which they act; none for an opaque graph."""
    if not isinstance(policy.network, Network):
        return ()
    network, found, width = policy.network, [], 0
    for item in policy.spec.inputs:
        described = list(_walk(item.name, network.encoders[item.name], item.shape))
        found += described
        width += int(np.prod(described[-1].shape if described else item.shape))
    found += _walk("trunk", network.trunk, (width,))
    head = network.head
    parts = [
        head.squash if head.squash != "none" else "",
        "unscale" if head.unscale else "",
        "clip" if head.clip else "",
    ]
    detail = " ".join([head.kind, *filter(None, parts)])
    return (*found, BlockDescription("head", "ActionMap", detail, (len(head.low),), 0))


def _walk(where: str, blocks: tuple[Block, ...], shape: Shape) -> Iterator[BlockDescription]:
    for block in blocks:
        shape = shape_after(block, shape)
        yield BlockDescription(where, type(block).__name__, _detail(block), shape, _parameters(block))


def _detail(block: Block) -> str:
    if isinstance(block, Activation):
        return block.kind + (f" {block.alpha:g}" if block.alpha is not None else "")
    if isinstance(block, Normalize):
        clip = f" clip {block.clip[0]:g}..{block.clip[1]:g}" if block.clip else ""
        return f"eps {block.eps:g}{clip}"
    if isinstance(block, OneHot):
        return " ".join(map(str, block.choices))
    if isinstance(block, Conv):
        return f"kernel {block.weight.shape[2]}x{block.weight.shape[3]} stride {block.stride[0]}x{block.stride[1]}"
    if isinstance(block, Recurrent):
        return f"{block.cell} {len(block.layers)} x {block.hidden}"
    return ""


def _parameters(block: Block) -> int:
    if isinstance(block, Recurrent):
        return sum(_arrays(layer) for layer in block.layers)
    return 0 if isinstance(block, Normalize) else _arrays(block)


def _arrays(part: object) -> int:
    values = (getattr(part, field.name) for field in fields(part))  # type: ignore[arg-type]
    return sum(value.size for value in values if isinstance(value, np.ndarray))
