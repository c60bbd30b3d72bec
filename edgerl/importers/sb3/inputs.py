"""What a Stable-Baselines3 policy does to an observation before its actor: statistics, images, one-hot, extractor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgerl.errors import DamagedCheckpoint, StatisticsMismatch, UnsupportedPolicy
from edgerl.importers.layers import Weights, conv, dense
from edgerl.importers.sb3.checkpoint import Checkpoint
from edgerl.importers.sb3.file import Sb3File
from edgerl.importers.shapes import shape_after
from edgerl.importers.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, PlainSpace
from edgerl.policy import Activation, Block, Flatten, Normalize, OneHot, Transpose
from edgerl.spec import Dtype, Input, opaque_term
from edgerl.untrusted.foreign import Malformed

_NATURE_CNN = ((0, 8, 4), (2, 4, 2), (4, 3, 1))
"""Index, kernel and stride of the convolutions of NatureCNN."""


@dataclass(frozen=True, eq=False)
class Encoder:
    """One input: its form for the spec, and its blocks."""

    input: Input
    blocks: tuple[Block, ...]
    features: tuple[int, ...]
    """Shape of what the blocks answer."""


def read_encoders(checkpoint: Checkpoint, extractor: str, *, normalize_images: bool) -> list[Encoder]:
    """Return one encoder per input, in the order in which the policy concatenates them.

    Args:
        checkpoint: Spaces, tensors and statistics.
        extractor: Prefix of the features extractor's tensors.
        normalize_images: Whether bytes of images are divided by 255.

    Raises:
        StatisticsMismatch: The statistics are for other keys or shapes.
        UnsupportedPolicy: A space that the trainer itself does not act in, or an extractor of somebody's own.
        DamagedCheckpoint: The extractor does not fit the space.
    """
    space = checkpoint.observation
    plain: dict[str | None, PlainSpace] = {}
    if isinstance(space, Dict):
        plain.update((key, inner) for key, inner in space.spaces.items())
    else:
        plain[None] = space
    normalizers = checkpoint.statistics.normalizers if checkpoint.statistics else {}
    strange = [str(key or "an observation without keys") for key in normalizers if key not in plain]
    if strange and checkpoint.statistics:
        known = ", ".join(key or "an observation without keys" for key in plain)
        raise StatisticsMismatch(checkpoint.statistics.path, f"the statistics are for {', '.join(strange)}", known)
    result = []
    for key, inner in plain.items():
        prefix = extractor if key is None else f"{extractor}extractors.{key}."
        before = _before_extractor(checkpoint, key, inner, normalize_images=normalize_images)
        result.append(_encoder(checkpoint.file, key, inner, before, prefix))
    return result


@dataclass(frozen=True, eq=False)
class _Before:
    """What happens before the features extractor, and the shape of the environment's own observation."""

    shape: tuple[int, ...]
    blocks: tuple[Block, ...]


def _input_name(key: str | None) -> str:
    return "observation" if key is None else f"observation.{key}"


def _before_extractor(checkpoint: Checkpoint, key: str | None, space: PlainSpace, *, normalize_images: bool) -> _Before:
    image = isinstance(space, Box) and space.is_image
    transposed = image and checkpoint.options.image_layout != "chw"
    shape = _raw_shape(checkpoint.file, _input_name(key), space, transposed=transposed)
    blocks: list[Block] = []
    statistics = checkpoint.statistics
    normalizer = statistics.normalizers.get(key) if statistics else None
    if normalizer is not None and statistics is not None:
        if normalizer.mean.shape != shape:
            what = f"the statistics of {_input_name(key)} have the shape {normalizer.mean.shape}"
            raise StatisticsMismatch(statistics.path, what, f"the shape {shape}")
        blocks.append(normalizer)
    if transposed:
        blocks.append(Transpose((2, 0, 1)))
    if image and normalize_images:
        blocks.append(_by_255())
    if isinstance(space, Discrete):
        blocks.append(OneHot((space.n,)))
    elif isinstance(space, MultiDiscrete):
        blocks.append(OneHot(space.choices))
    return _Before(shape, tuple(blocks))


def _encoder(file: Sb3File, key: str | None, space: PlainSpace, before: _Before, prefix: str) -> Encoder:
    name = _input_name(key)
    blocks = (*before.blocks, *_extractor(file.weights, prefix, len(before.shape)))
    term = opaque_term(key or "observation", int(np.prod(before.shape)))
    given = Input(name, before.shape, _dtype(space), 0, (term,))
    return Encoder(given, blocks, features_after(file, name, blocks, before.shape))


def _raw_shape(file: Sb3File, name: str, space: PlainSpace, *, transposed: bool) -> tuple[int, ...]:
    """Return the shape of the environment's own observation; the stored one has its channels first."""
    if isinstance(space, Discrete):
        if space.start:
            raise UnsupportedPolicy(
                file.path, f"{name} starts at {space.start}", "Discrete spaces from 0, as the trainer"
            )
        return (1,)
    if isinstance(space, MultiDiscrete) and (len(space.shape) != 1 or any(space.starts)):
        raise UnsupportedPolicy(file.path, f"{name} is a MultiDiscrete of several axes or starts", "one axis from 0")
    if transposed:
        channels, height, width = space.shape
        return (height, width, channels)
    return space.shape or (1,)


def _by_255() -> Normalize:
    """``x / 255``, exactly: the root of 255 squared is 255."""
    return Normalize(np.zeros(()), np.full((), 255.0**2), 0.0, eps_inside=True, clip=None)


def _dtype(space: PlainSpace) -> Dtype:
    if isinstance(space, (Discrete, MultiDiscrete)):
        return "int32"
    if isinstance(space, MultiBinary) or space.dtype in ("uint8", "bool"):
        return "uint8"
    return "int32" if np.dtype(space.dtype).kind in "iu" else "float32"


def _extractor(weights: Weights, prefix: str, axes: int) -> list[Block]:
    """Return the features extractor of one input: NatureCNN where it has tensors, otherwise flattening."""
    if not weights.has(f"{prefix}cnn."):
        return [Flatten()] if axes > 1 else []
    blocks: list[Block] = []
    for index, kernel, stride in _NATURE_CNN:
        block = conv(weights, f"{prefix}cnn.{index}", stride)
        if block.weight.shape[2:] != (kernel, kernel):
            what = f"{prefix}cnn.{index} has a kernel of {block.weight.shape[2:]}"
            raise UnsupportedPolicy(weights.where, what, f"NatureCNN with ({kernel}, {kernel}) there")
        blocks += [block, Activation("relu")]
    return [*blocks, Flatten(), dense(weights, f"{prefix}linear.0"), Activation("relu")]


def features_after(file: Sb3File, where: str, blocks: tuple[Block, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of what a sequence of blocks answers.

    Raises:
        DamagedCheckpoint: They do not fit each other.
    """
    try:
        for block in blocks:
            shape = shape_after(block, shape)
    except Malformed as error:
        raise DamagedCheckpoint(file.path, f"{where}: {error}") from error
    return shape
