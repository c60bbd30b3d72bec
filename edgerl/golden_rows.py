"""Makes golden sets: the trainer's own rows where there are some, then generated ones that reach the limits.

What the limits are is read from the graph: a leading Sub, Div and Clip is a normalizer, an Equal is a one-hot encoding.
Every channel of a float input is put below, at, between, at and above its limits in each ten rows; images are black,
white and noise; choices take turns. The same model, truth and seed give the same set.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, numpy_helper

from edgerl.golden import GoldenSet
from edgerl.model import PolicyModel
from edgerl.oracle import run_oracle
from edgerl.parity import choice_margins, tolerances
from edgerl.spec import Input
from edgerl.truth import Truth

MAX_INPUT_BYTES = 8 * 1024 * 1024
"""Rows are left out above this size, so that a set of images stays small enough to travel."""
MIN_ROWS = 16
SEQUENCE = 32
"""Generated rows between two resets of a policy with memory."""
DECIDED = 1e-4
"""A discrete choice is demanded of other engines where its logit leads by this part of the largest."""
UNCLIPPED = (-5.0, 5.0)
"""Deviations from the mean that are tried where no clip says how far an observation reaches."""
_BEYOND = 1.2

AnyArray = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Reach:
    """Where the values of an input lie, as its graph tells."""

    centre: Floats
    """Shape of the input."""
    spread: Floats
    clip: tuple[float, float] | None
    """Limits of ``(x - centre) / spread``; None where the graph has none."""
    choices: int | None
    """Smallest number of choices among the elements, where they are integers to be told apart."""


def make_golden(model: PolicyModel, truth: Truth | None = None, *, rows: int = 256, seed: int = 0) -> GoldenSet:
    """Return a golden set of a model.

    Args:
        model: The float32 model.
        truth: Recorded rows; up to half of the set, in the order in which they were recorded.
        rows: Rows of the set; fewer where inputs are large.
        seed: Of the generated rows.

    Raises:
        EngineError: ONNX Runtime cannot run the model.
    """
    rows = min(rows, max(MIN_ROWS, MAX_INPUT_BYTES // model.spec.record_size))
    first, count = _recorded(truth, rows // 2)
    inputs, starts = _generate(model, truth, rows - count, seed)
    trainer_rows = np.arange(rows) < count
    if truth is not None and count:
        part = slice(first, first + count)
        inputs = {name: np.concatenate([truth.inputs[name][part], array]) for name, array in inputs.items()}
        starts = np.concatenate([truth.episode_start[part], starts])
    starts[0] = True
    run = run_oracle(model, inputs, starts)
    expected_trainer = None
    if truth is not None and count:
        expected_trainer = np.zeros_like(run.action)
        expected_trainer[:count] = truth.action[first : first + count]
    decided = np.ones(run.action.shape, bool)
    if run.logits is not None:
        decided = choice_margins(model.spec, run.logits).decided(DECIDED)
    limits = tolerances(model.spec, run.action)
    return GoldenSet(
        model.digest, inputs, starts, run.action, limits, decided, expected_trainer, trainer_rows, run.state
    )


def reach_of(model: PolicyModel, item: Input) -> Reach:
    """Return where the values of an input lie, read from the nodes that follow it without a branch."""
    proto = model.proto()
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    centre, spread = np.zeros(item.shape), np.ones(item.shape)
    axes = list(range(len(item.shape)))
    clip: tuple[float, float] | None = None
    choices: int | None = None
    name = item.name
    while True:
        users = [node for node in proto.graph.node if name in node.input]
        if len(users) != 1 or users[0].op_type not in _FOLLOWED or (users[0].op_type == "Sub" and clip):
            return Reach(centre, spread, clip, choices)
        node = users[0]
        values = [numpy_helper.to_array(constants[one]) for one in node.input if one in constants]
        if node.op_type in ("Sub", "Div") and not _fits(values, axes, item):
            return Reach(centre, spread, clip, choices)
        if node.op_type == "Transpose":
            axes = [axes[axis - 1] for axis in _attribute(node, "perm")[1:]]
        elif node.op_type == "Sub":
            centre = centre + _as_input(values[0], axes, item) * spread
        elif node.op_type == "Div":
            spread = spread * _as_input(values[0], axes, item)
        elif node.op_type == "Clip" and len(values) == 2:
            clip = (float(values[0]), float(values[1]))
        elif node.op_type == "Equal" and values:
            counts = values[0].reshape(-1)
            choices = int(np.min(np.append(counts[:-1][np.diff(counts) <= 0], counts[-1]))) + 1
            return Reach(centre, spread, clip, choices)
        name = node.output[0]


def _recorded(truth: Truth | None, most: int) -> tuple[int, int]:
    """Return the first row to take from a truth and how many: from a start, so that a memory can be rebuilt."""
    if truth is None or not np.any(truth.episode_start):
        return 0, 0
    first = int(np.argmax(truth.episode_start))
    return first, min(most, truth.rows - first)


def _generate(
    model: PolicyModel, truth: Truth | None, rows: int, seed: int
) -> tuple[dict[str, AnyArray], npt.NDArray[np.bool_]]:
    inputs = {}
    for index, item in enumerate(model.spec.inputs):
        rng = np.random.default_rng([seed, index])
        seen = None if truth is None else truth.inputs[item.name]
        if item.dtype == "float32":
            inputs[item.name] = _floats(reach_of(model, item), item, rows, rng, seen)
        else:
            inputs[item.name] = _integers(reach_of(model, item), item, rows, rng)
    return inputs, np.arange(rows) % SEQUENCE == 0


def _floats(
    reach: Reach, item: Input, rows: int, rng: np.random.Generator, seen: AnyArray | None
) -> npt.NDArray[np.float32]:
    """Return half the rows around the mean, the other half with every channel at and beyond its limits."""
    low, high = reach.clip or UNCLIPPED
    centre, spread = reach.centre, reach.spread
    untouched = not np.any(centre) and np.all(spread == 1.0)
    if untouched and seen is not None:  # no normalizer: the recorded rows say where observations lie
        centre = seen.astype(np.float64).mean(axis=0)
        spread = np.maximum(seen.astype(np.float64).std(axis=0), 1e-3)
    typical = rng.standard_normal((rows, item.size))
    between = rng.uniform(low, high, (rows, item.size))
    cases = np.stack([np.full_like(between, low * _BEYOND), np.full_like(between, low), between,
                      np.full_like(between, high), np.full_like(between, high * _BEYOND)])  # fmt: skip
    # Each channel goes through the five cases in an order of its own, so that any ten rows hold all of them.
    turn = (np.arange(rows)[:, None] // 2 + rng.integers(0, 5, item.size)) % 5
    extreme = np.take_along_axis(cases, turn[None], axis=0)[0]
    units = np.where(np.arange(rows)[:, None] % 2 == 0, extreme, typical)
    values = centre.reshape(-1) + units * spread.reshape(-1)
    for term in item.terms:
        if term.clip is not None:
            values[:, term.start : term.stop] = np.clip(values[:, term.start : term.stop], *term.clip)
    return values.reshape(rows, *item.shape).astype(np.float32)


def _integers(reach: Reach, item: Input, rows: int, rng: np.random.Generator) -> AnyArray:
    """Return choices in turn, or images: the first black, the second white, the rest noise."""
    if reach.choices is not None:
        turn = np.arange(rows)[:, None] + rng.integers(0, reach.choices, item.size)
        return (turn % reach.choices).reshape(rows, *item.shape).astype(item.dtype)
    most = 255 if item.dtype == "uint8" else 3
    values = rng.integers(0, most + 1, (rows, *item.shape))
    values[:1], values[1:2] = 0, most
    return values.astype(item.dtype)


_FOLLOWED = frozenset({"Identity", "Cast", "Transpose", "Sub", "Div", "Clip", "Flatten", "Reshape", "Gather", "Equal"})


def _fits(values: list[AnyArray], axes: list[int], item: Input) -> bool:
    """Tell whether a node has one constant, and one that acts on the input element by element."""
    if len(values) != 1 or values[0].size in (1, item.size):
        return len(values) == 1
    shape = [item.shape[axis] for axis in axes]
    try:
        return np.broadcast_shapes(values[0].shape[-len(shape) :], shape) == tuple(shape)
    except ValueError:
        return False


def _as_input(values: AnyArray, axes: list[int], item: Input) -> Floats:
    """Return constants of a node in the shape of the input that reaches it with its axes in another order."""
    wide = values.astype(np.float64)
    wide = wide.reshape(wide.shape[-len(axes) :])  # without the batch axis
    if wide.size == 1:
        return np.full(item.shape, wide.reshape(()))
    shape = [item.shape[axis] for axis in axes]
    if wide.size == item.size:
        wide = wide.reshape(shape)
    return np.array(np.transpose(np.broadcast_to(wide, shape), np.argsort(axes)))


def _attribute(node: NodeProto, name: str) -> list[int]:
    return next(list(item.ints) for item in node.attribute if item.name == name)
