"""ONNX Runtime on the CPU: the backend that runs anywhere, and the oracle that the others are compared with.

The engine is the model's own file. Needs onnxruntime and numpy, not onnx.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from edgerl.backends import Engine, Finding
from edgerl.errors import EngineError
from edgerl.spec import PolicySpec

if TYPE_CHECKING:
    from edgerl.model import PolicyModel
    from edgerl.target import Target

FILE_NAME = "policy.onnx"
_DTYPES = {
    "tensor(float)": np.float32,
    "tensor(uint8)": np.uint8,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
}


class OnnxRuntimeRunner:
    """An inference session whose inputs, outputs and state are bound to arrays once.

    Args:
        onnx: The model's file.
        spec: Names inputs and state and gives the state's initial value.
        where: Names the model in errors.

    Raises:
        EngineError: ONNX Runtime refuses the model, or its inputs are not the spec's.
    """

    def __init__(self, onnx: bytes, spec: PolicySpec, where: str = "the model") -> None:
        self._session = _session(onnx, where)
        arrays = {item.name: _array(item, where) for item in self._session.get_inputs()}
        answers = {item.name: _array(item, where) for item in self._session.get_outputs()}
        names = {item.name for item in spec.state}
        expected = {item.name for item in spec.inputs} | names
        if set(arrays) != expected:
            raise EngineError(f"{where} takes {sorted(arrays)}; its spec says {sorted(expected)}.")
        self._inputs = {name: array for name, array in arrays.items() if name not in names}
        self._state = {name: array for name, array in arrays.items() if name in names}
        self._outputs = {name: array for name, array in answers.items() if name.removesuffix(".next") not in names}
        self._carry = [(self._state[name], answers[f"{name}.next"]) for name in self._state]
        self._initial = {
            item.name: np.asarray(item.initial, np.float32).reshape(item.shape) for item in spec.state
        }  # fmt: skip
        self._binding = _bind(self._session, arrays, answers)
        self._options = ort.RunOptions()
        self.reset()

    @property
    def inputs(self) -> Mapping[str, npt.NDArray[Any]]:
        """Bound memory by input name, shape (1, *input shape)."""
        return MappingProxyType(self._inputs)

    @property
    def outputs(self) -> Mapping[str, npt.NDArray[Any]]:
        """Bound memory by output name, the next state left out."""
        return MappingProxyType(self._outputs)

    @property
    def state(self) -> Mapping[str, npt.NDArray[Any]]:
        """Bound memory by state name."""
        return MappingProxyType(self._state)

    def infer(self) -> None:
        """Read inputs and state, write outputs and state in place."""
        self._session.run_with_iobinding(self._binding, self._options)
        for present, after in self._carry:
            np.copyto(present, after)

    def reset(self) -> None:
        """Set the state to its initial value."""
        for name, array in self._state.items():
            np.copyto(array, self._initial[name])


class OnnxRuntimeBackend:
    """The model's own file as an engine."""

    name = "onnxruntime"
    compile_on: Literal["host", "target"] = "host"

    def preflight(self, model: PolicyModel, target: Target) -> list[Finding]:  # noqa: ARG002  the protocol's form
        """Return a refusal where ONNX Runtime cannot load the model."""
        try:
            OnnxRuntimeRunner(model.onnx, model.spec)
        except EngineError as error:
            return [Finding("refusal", str(error), "use another backend, or an older opset")]
        return []

    def compile(self, model: PolicyModel, target: Target) -> Engine:
        """Return the model's bytes as an engine."""
        return Engine(self.name, target.name, "float32", model.digest, model.spec, {FILE_NAME: model.onnx})

    def load(self, engine: Engine) -> OnnxRuntimeRunner:
        """Return a runner of the engine.

        Raises:
            EngineError: It is another backend's, or ONNX Runtime refuses it.
        """
        if engine.backend != self.name or set(engine.files) != {FILE_NAME}:
            raise EngineError(
                f"This is an engine of backend '{engine.backend}' with the files {sorted(engine.files)}; "
                f"'{self.name}' loads its own, which have {FILE_NAME}."
            )
        return OnnxRuntimeRunner(engine.files[FILE_NAME], engine.spec, f"engine of model {engine.parent[:12]}")


def _session(onnx: bytes, where: str) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 4
    # A spinning worker would take a core from the control loop.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        reason = str(error).strip().splitlines()[0]
        raise EngineError(f"ONNX Runtime {ort.__version__} cannot load {where} ({reason}).") from error


def _array(item: ort.NodeArg, where: str) -> npt.NDArray[Any]:
    if item.type not in _DTYPES or not all(isinstance(axis, int) and axis > 0 for axis in item.shape):
        raise EngineError(f"{where}: '{item.name}' is {item.type} {item.shape}; expected a static shape and dtype.")
    return np.zeros(item.shape, _DTYPES[item.type])


def _bind(
    session: ort.InferenceSession,
    inputs: Mapping[str, npt.NDArray[Any]],
    outputs: Mapping[str, npt.NDArray[Any]],
) -> ort.IOBinding:
    """Bind arrays by address; whoever holds the binding must keep them alive."""
    binding = session.io_binding()
    for name, array in inputs.items():
        binding.bind_input(name, "cpu", 0, array.dtype, _shape(array), array.ctypes.data)
    for name, array in outputs.items():
        binding.bind_output(name, "cpu", 0, array.dtype, _shape(array), array.ctypes.data)
    return binding


def _shape(array: npt.NDArray[Any]) -> Sequence[int]:
    return list(array.shape)
