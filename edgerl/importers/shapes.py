"""The shape of the features after each block of a network; a network whose parts do not fit is found here."""

from __future__ import annotations

import math

from edgerl.policy import (
    Activation,
    BatchNorm,
    Block,
    Concat,
    Conv,
    Dense,
    Flatten,
    LayerNorm,
    Normalize,
    OneHot,
    Recurrent,
    Transpose,
)
from edgerl.untrusted.foreign import Malformed

Shape = tuple[int, ...]


def shape_after(block: Block, shape: Shape) -> Shape:
    """Return the shape of a block's output, without the batch.

    Raises:
        Malformed: The block does not take an input of ``shape``.
    """
    if isinstance(block, (Activation, Concat)):
        return shape
    if isinstance(block, Normalize):
        _expect(block.mean.shape in ((), shape), block, shape)
        return shape
    if isinstance(block, OneHot):
        _expect(len(block.choices) == math.prod(shape), block, shape)
        return (sum(block.choices),)
    if isinstance(block, Transpose):
        _expect(len(shape) == len(block.axes), block, shape)
        return tuple(shape[axis] for axis in block.axes)
    if isinstance(block, Flatten):
        return (math.prod(shape),)
    if isinstance(block, Conv):
        return _after_conv(block, shape)
    if isinstance(block, Dense):
        _expect(shape == (block.weight.shape[1],), block, shape)
        _expect(block.bias is None or block.bias.shape == block.weight.shape[:1], block, shape)
        return (block.weight.shape[0],)
    if isinstance(block, LayerNorm):
        _expect(shape[-1:] == (block.size,), block, shape)
        return shape
    if isinstance(block, BatchNorm):
        parts = (block.mean, block.variance, block.scale, block.bias)
        _expect(all(part is None or part.shape == shape for part in parts), block, shape)
        return shape
    return _after_recurrent(block, shape)


def _after_conv(block: Conv, shape: Shape) -> Shape:
    out, per_group, height, width = block.weight.shape
    _expect(len(shape) == 3 and shape[0] == per_group * block.groups, block, shape)
    _expect(block.bias is None or block.bias.shape == (out,), block, shape)
    sizes = [
        (size + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1
        for size, kernel, stride, pad, dilation in zip(
            shape[1:], (height, width), block.stride, block.padding, block.dilation, strict=True
        )
    ]
    _expect(min(sizes) >= 1, block, shape)
    return (out, *sizes)


def _after_recurrent(block: Recurrent, shape: Shape) -> Shape:
    gates = len(block.gates) * block.hidden
    for layer in block.layers:
        _expect(layer.weight_hidden.shape == (gates, block.hidden), block, shape)
        _expect(layer.weight_input.shape == (gates, *shape), block, shape)
        for bias in (layer.bias_input, layer.bias_hidden):
            _expect(bias is None or bias.shape == (gates,), block, shape)
        shape = (block.hidden,)
    return shape


def _expect(fits: bool, block: Block, shape: Shape) -> None:  # noqa: FBT001 - the condition is the argument
    if not fits:
        raise Malformed(f"a {type(block).__name__} layer does not take features of shape {shape}")
