"""Compares two models: what their specs say, what their graphs hold, and how their actions differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, numpy_helper

from edgerl import canonical
from edgerl.golden.rows import make_golden
from edgerl.model import PolicyModel, interface, load_model
from edgerl.oracle import run_oracle
from edgerl.parity import tolerances


@dataclass(frozen=True)
class FieldDifference:
    """A field of the spec with two values."""

    field: str
    first: str
    """As canonical JSON; ``"(none)"`` where there is no such field."""
    second: str


@dataclass(frozen=True)
class CountDifference:
    """An operator that one graph has more often than the other."""

    operator: str
    first: int
    second: int


@dataclass(frozen=True)
class ConstantDifference:
    """A constant of the graphs that is not the same in both."""

    name: str
    max_difference: float | None
    """Largest difference of its elements; None where one graph lacks it or has it in another shape."""


@dataclass(frozen=True)
class ActionDifference:
    """How far one channel of the action is apart on the same observations."""

    channel: int
    max_difference: float
    """In the action's unit; number of rows with another choice for the discrete kinds."""
    tolerance: float
    """What parity would allow."""


@dataclass(frozen=True)
class Diff:
    """Two models, compared."""

    identical: bool
    """The same bytes."""
    fields: tuple[FieldDifference, ...]
    operators: tuple[CountDifference, ...]
    constants: tuple[ConstantDifference, ...]
    actions: tuple[ActionDifference, ...]
    """Empty where the two take or answer different tensors, so that they cannot be run side by side."""
    rows: int
    """Observations that both were run on."""


def diff_artifacts(first: PolicyModel | Path | str, second: PolicyModel | Path | str, *, rows: int = 128) -> Diff:
    """Return how two models differ.

    Args:
        first: A model, or the path of one.
        second: What it is compared with.
        rows: Observations that both are run on, chosen to reach the first model's limits.

    Raises:
        ModelError: A file is not a model of edgerl.
        EngineError: A model cannot be run.
    """
    one, other = (item if isinstance(item, PolicyModel) else load_model(item) for item in (first, second))
    graphs = one.proto(), other.proto()
    actions = tuple(_actions(one, other, rows)) if interface(one.spec) == interface(other.spec) else ()
    return Diff(
        one.onnx == other.onnx,
        tuple(_fields(canonical.to_plain(one.spec), canonical.to_plain(other.spec), "")),
        tuple(_operators(*graphs)),
        tuple(_constants(*graphs)),
        actions,
        rows if actions else 0,
    )


def _fields(first: Any, second: Any, where: str) -> Iterator[FieldDifference]:  # noqa: ANN401  plain JSON values
    if first == second:
        return
    if isinstance(first, dict) and isinstance(second, dict):
        for key in sorted({*first, *second}):
            yield from _fields(first.get(key, _Missing), second.get(key, _Missing), f"{where}.{key}" if where else key)
    elif isinstance(first, list) and isinstance(second, list) and _named(first) and _named(second):
        yield from _fields(_named(first), _named(second), where)
    else:
        yield FieldDifference(where, _text(first), _text(second))


class _Missing:
    """Stands for a key that only the other side has."""


def _named(items: list[Any]) -> dict[str, Any] | None:
    """Return the inputs, terms or state tensors of a list by their names."""
    if not items or not all(isinstance(item, dict) and "name" in item for item in items):
        return None
    return {item["name"]: item for item in items}


def _text(value: object) -> str:
    return "(none)" if value is _Missing else canonical.dumps(value)


def _operators(first: ModelProto, second: ModelProto) -> Iterator[CountDifference]:
    one, other = (Counter(node.op_type for node in proto.graph.node) for proto in (first, second))
    for name in sorted({*one, *other}):
        if one[name] != other[name]:
            yield CountDifference(name, one[name], other[name])


def _constants(first: ModelProto, second: ModelProto) -> Iterator[ConstantDifference]:
    one, other = (
        {item.name: numpy_helper.to_array(item) for item in proto.graph.initializer} for proto in (first, second)
    )
    for name in sorted({*one, *other}):
        if name not in one or name not in other or one[name].shape != other[name].shape:
            yield ConstantDifference(name, None)
        elif not np.array_equal(one[name], other[name]):
            yield ConstantDifference(name, float(_largest(one[name], other[name])))


def _actions(one: PolicyModel, other: PolicyModel, rows: int) -> Iterator[ActionDifference]:
    golden = make_golden(one, rows=rows)
    answers = [run_oracle(model, golden.inputs, golden.episode_start).action for model in (one, other)]
    limits = tolerances(one.spec, answers[0])
    for channel in range(one.spec.action.size):
        first, second = (answer[:, channel] for answer in answers)
        discrete = one.spec.action.kind != "continuous"
        apart = np.count_nonzero(first != second) if discrete else _largest(first, second)
        yield ActionDifference(channel, float(apart), float(limits[channel]))


def _largest(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> float:
    difference = np.abs(first.astype(np.float64) - second.astype(np.float64))
    return float(np.max(np.where(np.isnan(difference), np.inf, difference), initial=0.0))
