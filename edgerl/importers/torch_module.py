"""Traces a ``torch.nn.Module`` into a policy: for networks that no importer knows.

The module is called as on the robot: one float32 or integer tensor per input of the spec, with a batch axis of 1, then
one per state tensor; it answers the action (or the logits that a choice is made from), then the next state. Needs
torch, which is imported here only, and only when called.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgerl.errors import MissingExtra, UnsupportedModel
from edgerl.graph import OPSET, parse_onnx
from edgerl.lowering.adopt import Wiring, adopt_graph
from edgerl.policy import OpaqueGraph, Policy
from edgerl.spec import PolicySpec
from edgerl.truth import Truth

if TYPE_CHECKING:
    import torch

AnyArray = npt.NDArray[Any]
WHERE = "the traced module"


def read_module(module: torch.nn.Module, spec: PolicySpec) -> Policy:
    """Return the policy of a module, traced with zeros for observations.

    The TorchScript-based exporter is used: the other one writes later opsets and data outside the file.

    Raises:
        MissingExtra: torch is not installed.
        UnsupportedModel: The module cannot be traced, or branches on the values of tensors.
        ModelError: Its outputs do not fit the spec.
    """
    torch = _torch()
    names = [*(item.name for item in spec.inputs), *(item.name for item in spec.state)]
    after = {item.name: f"{item.name}.next" for item in spec.state}
    buffer = io.BytesIO()
    with _evaluating(module), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            torch.onnx.export(
                module,
                tuple(torch.zeros(shape, dtype=getattr(torch, dtype)) for shape, dtype in _forms(spec)),
                buffer,
                input_names=names,
                output_names=["action", *after.values()],
                opset_version=OPSET,
                dynamo=False,
            )
        except Exception as error:  # torch raises whatever the module raises
            reason = str(error).strip().partition("\n")[0]
            valid = "a module of torch operators that ONNX opset 17 has"
            raise UnsupportedModel(WHERE, f"it cannot be traced ({reason})", valid) from error
    _check_branches(caught, str(Path(torch.__file__).parent))
    proto = parse_onnx(buffer.getvalue(), WHERE)
    wiring = Wiring({name: name for name in names}, "action", after)
    return Policy(spec, OpaqueGraph(adopt_graph(proto, spec, wiring, WHERE).SerializeToString(deterministic=True)))


def module_truth(
    module: torch.nn.Module,
    spec: PolicySpec,
    inputs: Mapping[str, AnyArray],
    episode_start: npt.NDArray[np.bool_],
) -> Truth:
    """Return what the module itself answers to rows of observations, its state reset at each start.

    Args:
        module: As for :func:`read_module`.
        spec: Of the policy.
        inputs: By name, shape (rows, *input shape).
        episode_start: Shape (rows,), true in the first row.

    Raises:
        MissingExtra: torch is not installed.
    """
    torch = _torch()
    rows = len(episode_start)
    actions: list[AnyArray] = []
    initial = [torch.tensor(item.initial, dtype=torch.float32).reshape(item.shape) for item in spec.state]
    state = initial
    with _evaluating(module), torch.no_grad():
        for row in range(rows):
            state = initial if episode_start[row] else state
            observation = [torch.from_numpy(np.array(inputs[item.name][row : row + 1])) for item in spec.inputs]
            answer = module(*observation, *state)
            first, *state = answer if isinstance(answer, (tuple, list)) else (answer,)
            actions.append(_choose(np.asarray(first.numpy()), spec))
    starts = np.asarray(episode_start)
    return Truth("the module itself", "", "action", inputs, np.stack(actions), starts, {}, {})


def _check_branches(caught: list[warnings.WarningMessage], torch_folder: str) -> None:
    """Refuse a module that branches on a tensor: a trace keeps the branch that zeros take.

    torch's own modules compare shapes in the same way and warn as well; those comparisons are constant.
    """
    for item in caught:
        own = str(Path(item.filename)).startswith(torch_folder)
        if not own and "Converting a tensor to a Python boolean" in str(item.message):
            what = f"it branches on the value of a tensor in {Path(item.filename).name}, line {item.lineno}"
            raise UnsupportedModel(WHERE, what, "torch.where, or another form that computes both branches")


def _choose(answer: AnyArray, spec: PolicySpec) -> AnyArray:
    """Return the action, shape (channels,), from the action or the logits of one row."""
    flat, action = answer.reshape(-1), spec.action
    if action.kind == "continuous":
        return flat.astype(np.float64)
    if flat.dtype.kind != "f":
        return flat.astype(np.int64)
    if action.kind == "multi_binary":
        return (flat > 0).astype(np.int64)
    ends = np.cumsum([int(high) + 1 for high in action.high])
    return np.array([int(np.argmax(group)) for group in np.split(flat, ends[:-1])], np.int64)


def _forms(spec: PolicySpec) -> Iterator[tuple[tuple[int, ...], str]]:
    for item in spec.inputs:
        yield (1, *item.shape), item.dtype
    for state in spec.state:
        yield state.shape, "float32"


@contextmanager
def _evaluating(module: torch.nn.Module) -> Iterator[None]:
    """Put a module into evaluation mode and back: dropout and batch statistics belong to training."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training


def _torch() -> Any:  # noqa: ANN401  torch is no dependency of the type checker
    try:
        import torch  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtra("Exporting a torch.nn.Module", "torch") from error
    return torch
