"""Blocks of a policy as ONNX operators, one function each."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from edgerl.errors import ModelError
from edgerl.lowering.activations import lower_activation
from edgerl.lowering.builder import GraphBuilder, Tensor
from edgerl.policy import (
    Activation,
    BatchNorm,
    Block,
    Conv,
    Dense,
    Flatten,
    LayerNorm,
    Normalize,
    OneHot,
    Transpose,
)

MEAN_ERROR = 2.0**-20
"""Largest error of the rounded mean, in units of the divisor, that is left alone (1e-6)."""


def lower_block(builder: GraphBuilder, block: Block, x: Tensor) -> Tensor:
    """Return what a block without state makes of a float32 tensor.

    Raises:
        ModelError: The tensor's shape does not fit the block.
    """
    for kind, lower in _LOWERINGS.items():
        if isinstance(block, kind):
            return lower(builder, block, x)
    raise ModelError(
        f"Block {type(block).__name__} cannot stand here. Valid: {', '.join(k.__name__ for k in _LOWERINGS)}."
    )


def _normalize(builder: GraphBuilder, block: Normalize, x: Tensor) -> Tensor:
    """Subtract, divide, clip, in the trainer's order; folding it into the next weights would lose the clip.

    Constants are rounded once from float64. Where the mean is large beside the divisor, its rounding alone would be
    seen in the result, so the rest that float32 cannot hold is subtracted as well.
    """
    mean, divisor = np.asarray(block.mean, np.float64), block.divisor
    single = np.abs([np.float32(np.max(mean)), np.float32(np.min(mean)), np.float32(np.max(divisor))])
    if not (np.all(np.isfinite(single)) and np.min(divisor) >= np.finfo(np.float32).tiny):
        raise ModelError("The normalizer has statistics that are not finite or a divisor that is not above zero.")
    for name, values in (("mean", mean), ("variance", divisor)):
        if values.shape not in ((), x.shape[1:]):
            raise ModelError(f"The normalizer's {name} has the shape {values.shape}; its input has {x.shape[1:]}.")
    rest = mean - mean.astype(np.float32).astype(np.float64)
    if np.any(mean):
        x = builder.emit("Sub", [x, builder.constant("mean", mean)], x.shape)
    if np.any(np.abs(rest) > MEAN_ERROR * divisor):
        x = builder.emit("Sub", [x, builder.constant("mean_rest", rest)], x.shape)
    x = builder.emit("Div", [x, builder.constant("divisor", divisor)], x.shape)
    if block.clip is None or not np.any(np.isfinite(block.clip)):
        return x
    low, high = (builder.constant(name, value) for name, value in zip(("low", "high"), block.clip, strict=True))
    return builder.emit("Clip", [x, low, high], x.shape)


def _one_hot(builder: GraphBuilder, block: OneHot, x: Tensor) -> Tensor:
    """Compare with every choice: unlike OneHot, a negative value does not count from the end."""
    size = math.prod(x.shape)
    if size != len(block.choices):
        raise ModelError(f"One-hot of {len(block.choices)} elements gets {size}.")
    x = builder.reshape(x, (1, size))
    total = sum(block.choices)
    if size > 1:
        element = np.repeat(np.arange(size), block.choices)
        x = builder.emit("Gather", [x, builder.constant("element", element, "int64")], (1, total), axis=1)
    choices = builder.constant("choices", np.concatenate([np.arange(count) for count in block.choices])[None, :])
    return builder.cast(builder.emit("Equal", [x, choices], (1, total), "bool"), "float32")


def _transpose(builder: GraphBuilder, block: Transpose, x: Tensor) -> Tensor:
    if sorted(block.axes) != list(range(len(x.shape) - 1)):
        raise ModelError(f"Transpose of the axes {block.axes} gets an input with {len(x.shape) - 1} axes.")
    order = [0, *(axis + 1 for axis in block.axes)]
    return builder.emit("Transpose", [x], tuple(x.shape[axis] for axis in order), perm=order)


def _dense(builder: GraphBuilder, block: Dense, x: Tensor) -> Tensor:
    rows, columns = block.weight.shape
    if x.shape != (1, columns):
        raise ModelError(f"A dense block expects {columns} features and gets the shape {x.shape[1:]}.")
    inputs = [x, builder.constant("weight", block.weight)]
    if block.bias is not None:
        inputs.append(builder.constant("bias", block.bias))
    return builder.emit("Gemm", inputs, (1, rows), transB=1)


def _conv(builder: GraphBuilder, block: Conv, x: Tensor) -> Tensor:
    if len(x.shape) != 4 or x.shape[1] != block.weight.shape[1] * block.groups:
        raise ModelError(f"A convolution with weights {block.weight.shape} gets the shape {x.shape[1:]}.")
    kernel = block.weight.shape[2:]
    size = []
    for axis in (0, 1):
        reach = block.dilation[axis] * (kernel[axis] - 1) + 1
        size.append((x.shape[2 + axis] + 2 * block.padding[axis] - reach) // block.stride[axis] + 1)
    if min(size) < 1:
        raise ModelError(f"A convolution with kernel {kernel} does not fit into an image of {x.shape[2:]}.")
    inputs = [x, builder.constant("weight", block.weight)]
    if block.bias is not None:
        inputs.append(builder.constant("bias", block.bias))
    return builder.emit(
        "Conv",
        inputs,
        (1, block.weight.shape[0], *size),
        kernel_shape=list(kernel),
        strides=list(block.stride),
        pads=[*block.padding, *block.padding],
        dilations=list(block.dilation),
        group=block.groups,
    )


def _layer_norm(builder: GraphBuilder, block: LayerNorm, x: Tensor) -> Tensor:
    """In primitives: LayerNormalization is an operator only since opset 17, and TensorRT 8.5 does not know it."""
    if x.shape[-1] != block.size:
        raise ModelError(f"A layer norm over {block.size} features gets the shape {x.shape[1:]}.")
    reduced = (*x.shape[:-1], 1)
    mean = builder.emit("ReduceMean", [x], reduced, axes=[-1], keepdims=1)
    centred = builder.emit("Sub", [x, mean], x.shape)
    square = builder.emit("Mul", [centred, centred], x.shape)
    variance = builder.emit("ReduceMean", [square], reduced, axes=[-1], keepdims=1)
    shifted = builder.emit("Add", [variance, builder.constant("eps", block.eps)], reduced)
    x = builder.emit("Div", [centred, builder.emit("Sqrt", [shifted], reduced)], x.shape)
    if block.scale is not None:
        x = builder.emit("Mul", [x, builder.constant("scale", block.scale)], x.shape)
    if block.bias is not None:
        x = builder.emit("Add", [x, builder.constant("bias", block.bias)], x.shape)
    return x


def _batch_norm(builder: GraphBuilder, block: BatchNorm, x: Tensor) -> Tensor:
    """Centre first, then scale: one multiply-add would cancel where the mean is large beside the deviation."""
    if len(x.shape) < 2 or x.shape[1] != block.mean.shape[0]:
        raise ModelError(f"A batch norm over {block.mean.shape[0]} features gets the shape {x.shape[1:]}.")
    form = (-1, *([1] * (len(x.shape) - 2)))
    factor = 1.0 / np.sqrt(np.asarray(block.variance, np.float64) + block.eps)
    if block.scale is not None:
        factor = factor * np.asarray(block.scale, np.float64)
    x = builder.emit("Sub", [x, builder.constant("mean", block.mean.reshape(form))], x.shape)
    x = builder.emit("Mul", [x, builder.constant("factor", factor.reshape(form))], x.shape)
    if block.bias is not None:
        x = builder.emit("Add", [x, builder.constant("bias", block.bias.reshape(form))], x.shape)
    return x


def _flatten(builder: GraphBuilder, _: Flatten, x: Tensor) -> Tensor:
    return x if len(x.shape) == 2 else builder.emit("Flatten", [x], (1, math.prod(x.shape)), axis=1)


_LOWERINGS: dict[type, Callable[..., Tensor]] = {
    Normalize: _normalize,
    OneHot: _one_hot,
    Transpose: _transpose,
    Dense: _dense,
    Conv: _conv,
    LayerNorm: _layer_norm,
    BatchNorm: _batch_norm,
    Activation: lower_activation,
    Flatten: _flatten,
}
