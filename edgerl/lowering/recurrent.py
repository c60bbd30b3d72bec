"""Recurrent blocks as one unrolled step in plain operators: no LSTM, GRU or Loop.

One inference is one step, so nothing is left to loop over, and every backend can do matrix products and sigmoids. The
state comes in through ``state.<block>.<h|c>``, shape (layers, 1, hidden), and goes out through ``<name>.next``.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgerl.errors import ModelError
from edgerl.lowering.builder import GraphBuilder, Tensor
from edgerl.policy import Array, Recurrent, RecurrentLayer


def lower_recurrent(
    builder: GraphBuilder, block: Recurrent, x: Tensor, state: Mapping[str, Tensor]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the features of the last layer, shape (1, hidden), and the next state by name.

    Args:
        builder: The graph.
        block: Weights of the layers.
        x: Features, shape (1, in).
        state: Present state by name, shape (layers, 1, hidden).

    Raises:
        ModelError: The spec has no state of the block's name, or its shape is another.
    """
    parts = ("h", "c") if block.cell == "lstm" else ("h",)
    names = [f"state.{block.name}.{part}" for part in parts]
    form = (len(block.layers), 1, block.hidden)
    for name in names:
        if name not in state or state[name].shape != form:
            found = state[name].shape if name in state else "no such state"
            raise ModelError(f"Recurrent block '{block.name}' needs {name} of shape {form}; the spec has {found}.")
    layers = [_layers(builder, state[name]) for name in names]
    results: list[list[Tensor]] = [[] for _ in names]
    for index, layer in enumerate(block.layers):
        present = [part[index] for part in layers]
        if block.cell == "lstm":
            after: tuple[Tensor, ...] = _lstm(builder, layer, x, present[0], present[1])
        else:
            after = (_gru(builder, layer, x, present[0], linear_before_reset=block.linear_before_reset),)
        for result, value in zip(results, after, strict=True):
            result.append(value)
        x = after[0]
    return x, {name: _stack(builder, result) for name, result in zip(names, results, strict=True)}


def _lstm(builder: GraphBuilder, layer: RecurrentLayer, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Gates in the order input, forget, cell, output, as torch.nn.LSTM stacks them."""
    form = h.shape
    wide = (1, 4 * form[1])
    from_input = _affine(builder, x, layer.weight_input, layer.bias_input, "input")
    from_hidden = _affine(builder, h, layer.weight_hidden, layer.bias_hidden, "hidden")
    gates = builder.emit("Add", [from_input, from_hidden], wide)
    raw = builder.emit_many("Split", [gates, builder.constant("split", [form[1]] * 4, "int64")], [form] * 4, axis=1)
    keep_in, forget, output = (builder.emit("Sigmoid", [raw[index]], form) for index in (0, 1, 3))
    cell = builder.emit("Tanh", [raw[2]], form)
    kept = builder.emit("Mul", [forget, c], form)
    c_next = builder.emit("Add", [kept, builder.emit("Mul", [keep_in, cell], form)], form)
    h_next = builder.emit("Mul", [output, builder.emit("Tanh", [c_next], form)], form)
    return h_next, c_next


def _gru(builder: GraphBuilder, layer: RecurrentLayer, x: Tensor, h: Tensor, *, linear_before_reset: bool) -> Tensor:
    """Gates in the order reset, update, new, as torch.nn.GRU stacks them."""
    form = h.shape
    hidden = form[1]
    sizes = builder.constant("split", [hidden] * 3, "int64")
    from_input = _affine(builder, x, layer.weight_input, layer.bias_input, "input")
    in_r, in_z, in_n = builder.emit_many("Split", [from_input, sizes], [form] * 3, axis=1)
    weight, bias = layer.weight_hidden, layer.bias_hidden
    if linear_before_reset:
        from_hidden = _affine(builder, h, weight, bias, "hidden")
        hid_r, hid_z, hid_n = builder.emit_many("Split", [from_hidden, sizes], [form] * 3, axis=1)
    else:
        both = _affine(builder, h, weight[: 2 * hidden], None if bias is None else bias[: 2 * hidden], "hidden_rz")
        halves = builder.constant("split_rz", [hidden] * 2, "int64")
        hid_r, hid_z = builder.emit_many("Split", [both, halves], [form] * 2, axis=1)
    reset = builder.emit("Sigmoid", [builder.emit("Add", [in_r, hid_r], form)], form)
    update = builder.emit("Sigmoid", [builder.emit("Add", [in_z, hid_z], form)], form)
    if linear_before_reset:
        gated = builder.emit("Mul", [reset, hid_n], form)
    else:
        masked = builder.emit("Mul", [reset, h], form)
        gated = _affine(builder, masked, weight[2 * hidden :], None if bias is None else bias[2 * hidden :], "hidden_n")
    new = builder.emit("Tanh", [builder.emit("Add", [in_n, gated], form)], form)
    # (1 - z) * n + z * h, without a constant
    change = builder.emit("Mul", [update, builder.emit("Sub", [h, new], form)], form)
    return builder.emit("Add", [new, change], form)


def _affine(builder: GraphBuilder, x: Tensor, weight: Array, bias: Array | None, name: str) -> Tensor:
    inputs = [x, builder.constant(f"weight_{name}", np.asarray(weight))]
    if bias is not None:
        inputs.append(builder.constant(f"bias_{name}", bias))
    if x.shape != (1, weight.shape[1]):
        raise ModelError(f"A recurrent layer expects {weight.shape[1]} features and gets the shape {x.shape}.")
    return builder.emit("Gemm", inputs, (1, weight.shape[0]), transB=1)


def _layers(builder: GraphBuilder, state: Tensor) -> list[Tensor]:
    count, _, hidden = state.shape
    if count == 1:
        return [builder.reshape(state, (1, hidden))]
    sizes = builder.constant("layers", [1] * count, "int64")
    parts = builder.emit_many("Split", [state, sizes], [(1, 1, hidden)] * count, axis=0)
    return [builder.reshape(part, (1, hidden)) for part in parts]


def _stack(builder: GraphBuilder, layers: list[Tensor]) -> Tensor:
    parts = [builder.reshape(layer, (1, *layer.shape)) for layer in layers]
    if len(parts) == 1:
        return parts[0]
    return builder.emit("Concat", parts, (len(parts), *parts[0].shape[1:]), axis=0)
