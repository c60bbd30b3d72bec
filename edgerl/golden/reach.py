"""Where the values of an observation lie, read from the graph that takes them.

The nodes behind an input are followed as long as there is one way to go: a Sub and a Div are a normalizer, a Clip is
its limit, an Equal is a one-hot encoding. What is not understood ends the way and is no error: a foreign graph may do
anything.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, numpy_helper

from edgerl.model import PolicyModel
from edgerl.spec import Input

AnyArray = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

_PASSED = frozenset({"Identity", "Cast", "Flatten", "Reshape", "Gather"})
"""Operators that change neither the values nor what they are compared with."""


@dataclass(frozen=True, eq=False)
class Reach:
    """Where the values of an input lie, as its graph tells."""

    centre: Floats
    """Shape of the input."""
    spread: Floats
    """Shape of the input, above zero."""
    clip: tuple[float, float] | None
    """Limits of ``(x - centre) / spread``; None where the graph has none that is finite."""
    choices: int | None
    """Smallest number of choices among the elements, where they are integers to be told apart."""


@dataclass(frozen=True)
class _Way:
    """How far the nodes have been followed."""

    reach: Reach
    axes: tuple[int, ...]
    """Axes of the input in the order in which they are here, without the batch."""
    done: bool = False


def reach_of(model: PolicyModel, item: Input) -> Reach:
    """Return where the values of an input lie, as far as its graph tells."""
    graph = model.proto().graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    start = Reach(np.zeros(item.shape), np.ones(item.shape), None, None)
    way, name = _Way(start, tuple(range(len(item.shape)))), item.name
    while not way.done:
        users = [node for node in graph.node if name in node.input]
        if len(users) != 1 or users[0].input[0] != name:
            break
        way = _follow(way, users[0], constants, item)
        name = users[0].output[0]
    return way.reach


def _follow(way: _Way, node: NodeProto, constants: Mapping[str, AnyArray], item: Input) -> _Way:
    """Return the way behind one more node; done where the node is not understood."""
    reach, ended = way.reach, replace(way, done=True)
    with np.errstate(invalid="ignore"):  # a foreign constant may be any kind of NaN
        values = [constants[one].astype(np.float64) for one in node.input if one in constants]
    if node.op_type in _PASSED:
        return way
    if node.op_type == "Transpose":
        order = [axis for attribute in node.attribute if attribute.name == "perm" for axis in attribute.ints]
        if len(order) != len(way.axes) + 1 or order[0] != 0:
            return ended
        return replace(way, axes=tuple(way.axes[axis - 1] for axis in order[1:]))
    if node.op_type == "Clip" and len(values) == 2 and values[0].size == values[1].size == 1:
        low, high = values[0].item(), values[1].item()
        known = math.isfinite(low) and math.isfinite(high) and low < high
        return replace(ended, reach=replace(reach, clip=(low, high) if known else None))
    if node.op_type == "Equal" and len(values) == 1:
        return replace(ended, reach=replace(reach, choices=_choices(values[0].reshape(-1))))
    if node.op_type in ("Sub", "Div") and len(values) == 1:
        constant = _as_input(values[0], way.axes, item)
        if constant is None or not np.all(np.isfinite(constant)):
            return ended
        if node.op_type == "Sub":
            return replace(way, reach=replace(reach, centre=reach.centre + constant * reach.spread))
        if np.all(constant > 0):
            return replace(way, reach=replace(reach, spread=reach.spread * constant))
    return ended


def _as_input(values: Floats, axes: tuple[int, ...], item: Input) -> Floats | None:
    """Return constants in the shape of the input, which reaches them with its axes in another order, or None."""
    shape = tuple(item.shape[axis] for axis in axes)
    if values.size == 1:
        return np.full(item.shape, values.item())
    if values.size == item.size:
        values = values.reshape(shape)
    values = values.reshape(values.shape[-len(shape) :]) if values.shape[: -len(shape)] in ((), (1,)) else values
    try:
        wide = np.broadcast_to(values, shape)
    except ValueError:
        return None
    return np.array(np.transpose(wide, np.argsort(axes)))


def _choices(compared: Floats) -> int | None:
    """Return the smallest number of choices in ``0, 1, ..., 0, 1, ...``, or None where that is no such list."""
    if not compared.size or not np.all(np.isfinite(compared)):
        return None
    last = np.append(compared[:-1][np.diff(compared) <= 0], compared[-1])
    return int(last.min()) + 1 if last.min() >= 0 else None
