"""The oracle: a model run by ONNX Runtime over many observations, one at a time, as on the robot.

Parity, golden sets and differences between models all ask it. Beside the action it gives what the core says before the
arg-max and the state after every row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper

from edgerl.backends.onnxruntime import OnnxRuntimeRunner
from edgerl.graph import CORE_OUT_LOGITS
from edgerl.model import PolicyModel

AnyArray = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class OracleRun:
    """What a model answered, row by row."""

    action: AnyArray
    """Shape (rows, channels), float32 or int32."""
    logits: npt.NDArray[np.float32] | None
    """Shape (rows, logits): what a discrete choice was made from; None where the model does not say."""
    state: Mapping[str, AnyArray]
    """State after each row by name, shape (rows, *state shape)."""


def run_oracle(
    model: PolicyModel,
    inputs: Mapping[str, AnyArray],
    episode_start: npt.NDArray[np.bool_],
    state_in: Mapping[str, AnyArray] | None = None,
    first_state: Mapping[str, AnyArray] | None = None,
) -> OracleRun:
    """Return the model's answers to rows of observations.

    Args:
        model: What to run.
        inputs: By name, shape (rows, *input shape), in the spec's dtypes.
        episode_start: Where the state is reset before the row is run.
        state_in: State before every row by name; without it the model's own state is carried on.
        first_state: State before the first row, where that is no start.

    Raises:
        EngineError: ONNX Runtime cannot run the model.
    """
    runner = OnnxRuntimeRunner(_with_logits(model), model.spec)
    rows = len(episode_start)
    action = np.empty((rows, model.spec.action.size), runner.outputs["action"].dtype)
    shown = runner.outputs.get(CORE_OUT_LOGITS)
    logits = None if shown is None else np.empty((rows, shown.shape[1]), np.float32)
    states = {item.name: np.empty((rows, *item.shape), np.float32) for item in model.spec.state}
    for name, array in (first_state or {}).items():
        np.copyto(runner.state[name], array)
    for row in range(rows):
        if episode_start[row]:
            runner.reset()
        elif state_in:
            for name, array in state_in.items():
                np.copyto(runner.state[name], array[row])
        for name, array in inputs.items():
            runner.inputs[name][0] = array[row]
        runner.infer()
        action[row] = runner.outputs["action"][0]
        if logits is not None and shown is not None:
            logits[row] = shown[0]
        for name, array in states.items():
            array[row] = runner.state[name]
    return OracleRun(action, logits, states)


def _with_logits(model: PolicyModel) -> bytes:
    """Return the model's file with the logits as one more output, where the core ends in some."""
    proto = model.proto()
    shapes = {item.name: item for item in proto.graph.value_info}
    if CORE_OUT_LOGITS not in shapes:
        return model.onnx
    axes = [axis.dim_value for axis in shapes[CORE_OUT_LOGITS].type.tensor_type.shape.dim]
    proto.graph.output.append(helper.make_tensor_value_info(CORE_OUT_LOGITS, TensorProto.FLOAT, axes))
    return bytes(proto.SerializeToString())
