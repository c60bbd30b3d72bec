"""Builds an ONNX graph node by node, with names that say where each one belongs.

Nodes and constants are called ``<region>/<scope>/<what>``; the regions are ``pre``, ``core`` and ``post``. Shapes and
dtypes are tracked while building, so that a wrong shape is an error here and not in somebody's runtime. The same calls
give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from edgerl.graph import IR_VERSION, OPSET

Region = Literal["pre", "core", "post"]

_CODES = {
    "float32": TensorProto.FLOAT,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "uint8": TensorProto.UINT8,
    "bool": TensorProto.BOOL,
}


@dataclass(frozen=True)
class Tensor:
    """A value in the graph."""

    name: str
    shape: tuple[int, ...]
    """Batch axis included."""
    dtype: str


class GraphBuilder:
    """An ONNX graph that grows."""

    def __init__(self) -> None:
        self._region: Region = "pre"
        self._scope = ""
        self._nodes: list[tuple[Region, NodeProto]] = []
        self._constants: dict[str, TensorProto] = {}
        self._names: set[str] = set()
        self._aliases: dict[str, str] = {}
        self._inputs: list[ValueInfoProto] = []
        self._outputs: list[ValueInfoProto] = []
        self._boundaries: list[ValueInfoProto] = []

    def enter(self, region: Region, scope: str) -> None:
        """Name what follows ``<region>/<scope>/...``."""
        self._region, self._scope = region, scope

    def input(self, name: str, shape: tuple[int, ...], dtype: str) -> Tensor:
        """Return a new input of the graph."""
        self._inputs.append(helper.make_tensor_value_info(name, _CODES[dtype], shape))
        return Tensor(name, shape, dtype)

    def constant(self, name: str, values: npt.ArrayLike, dtype: str = "float32") -> Tensor:
        """Return a constant of the graph, rounded once to its dtype, stored as raw bytes in C order."""
        array = np.ascontiguousarray(values, dtype=np.dtype(dtype).newbyteorder("<"))
        array = array.reshape(np.shape(values))  # ascontiguousarray makes a vector of a scalar
        full = self._unique(name)
        self._constants[full] = helper.make_tensor(full, _CODES[dtype], array.shape, array.tobytes(), raw=True)
        return Tensor(full, array.shape, dtype)

    def emit(
        self,
        op: str,
        inputs: Sequence[Tensor],
        shape: tuple[int, ...],
        dtype: str = "float32",
        **attributes: Any,  # noqa: ANN401  integers, floats and lists of them, as ONNX has them
    ) -> Tensor:
        """Return the output of a new node."""
        return self.emit_many(op, inputs, [shape], dtype, **attributes)[0]

    def emit_many(
        self,
        op: str,
        inputs: Sequence[Tensor],
        shapes: Sequence[tuple[int, ...]],
        dtype: str = "float32",
        **attributes: Any,  # noqa: ANN401
    ) -> list[Tensor]:
        """Return the outputs of a new node that has one for each of ``shapes``."""
        name = self._unique(op)
        outputs = [name] if len(shapes) == 1 else [f"{name}.{index}" for index in range(len(shapes))]
        node = helper.make_node(op, [self._current(item) for item in inputs], outputs, name=name, **attributes)
        self._nodes.append((self._region, node))
        return [Tensor(output, shape, dtype) for output, shape in zip(outputs, shapes, strict=True)]

    def cast(self, tensor: Tensor, dtype: str) -> Tensor:
        """Return the tensor with another element type; the tensor itself where it has that already."""
        if tensor.dtype == dtype:
            return tensor
        return self.emit("Cast", [tensor], tensor.shape, dtype, to=_CODES[dtype])

    def reshape(self, tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Return the tensor's elements in another shape; the tensor itself where it has that already."""
        if tensor.shape == shape:
            return tensor
        return self.emit("Reshape", [tensor, self.constant("shape", shape, "int64")], shape, tensor.dtype)

    def graft(self, graph: GraphProto, inputs: Mapping[str, Tensor], outputs: Sequence[str]) -> None:
        """Put the nodes of another graph into the present region, without those that ``outputs`` do not need.

        Its tensors are called ``<region>/<their name>`` from then on.

        Args:
            graph: Valid, with standard operators only.
            inputs: What its inputs are here, by their name there.
            outputs: Names there of the tensors that are wanted.
        """
        names = {name: self._current(tensor) for name, tensor in inputs.items()}
        nodes, used = _needed(graph, outputs)
        constants = {item.name: item for item in graph.initializer}
        constants |= {node.output[0]: value for node in nodes if (value := _constant_value(node)) is not None}
        for name, constant in constants.items():
            if name in used and name not in names:
                names[name] = self._store(name, numpy_helper.to_array(constant))
        for index, node in enumerate(node for node in nodes if node.output[0] not in constants):
            copy = NodeProto()
            copy.CopyFrom(node)
            copy.ClearField("doc_string")
            copy.name = f"{self._region}/{node.name or f'{node.op_type}_{index}'}"
            for field in (copy.input, copy.output):
                for position, name in enumerate(field):
                    if name:  # an omitted optional input has an empty name
                        field[position] = names.setdefault(name, f"{self._region}/{name}")
            self._nodes.append((self._region, copy))

    def grafted(self, name: str, shape: tuple[int, ...], dtype: str) -> Tensor:
        """Return a tensor of a grafted graph by its name there."""
        return Tensor(f"{self._region}/{name}", shape, dtype)

    def end_region(self, tensor: Tensor, name: str) -> Tensor:
        """Return the tensor under the name of a boundary of the present region.

        The node that made it in this region gets the name; where none did, an Identity is put in, so that the
        boundary exists in every graph.
        """
        current = self._current(tensor)
        maker = next((node for region, node in self._nodes if region == self._region and current in node.output), None)
        if maker is None or self._is_boundary(current):
            tensor = self.emit("Identity", [tensor], tensor.shape, tensor.dtype)
            current, maker = tensor.name, self._nodes[-1][1]
        self._rename(current, name)
        self._boundaries.append(helper.make_tensor_value_info(name, _CODES[tensor.dtype], tensor.shape))
        return Tensor(name, tensor.shape, tensor.dtype)

    def output(self, tensor: Tensor, name: str) -> None:
        """Make the tensor an output of the graph, as the end of the present region."""
        self.end_region(tensor, name)
        self._outputs.append(self._boundaries.pop())

    def model(self) -> ModelProto:
        """Return the finished model, without metadata."""
        graph = helper.make_graph(
            [node for _, node in self._nodes],
            "policy",
            self._inputs,
            self._outputs,
            initializer=list(self._constants.values()),
            value_info=self._boundaries,
        )
        return helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="edgerl",
        )

    def _store(self, name: str, values: npt.NDArray[Any]) -> str:
        full = f"{self._region}/{name}"
        self._constants[full] = numpy_helper.from_array(values, full)
        return full

    def _unique(self, what: str) -> str:
        base = f"{self._region}/{self._scope}/{what}"
        name, count = base, 1
        while name in self._names:
            count += 1
            name = f"{base}_{count}"
        self._names.add(name)
        return name

    def _current(self, tensor: Tensor) -> str:
        return self._aliases.get(tensor.name, tensor.name)

    def _is_boundary(self, name: str) -> bool:
        return any(item.name == name for item in (*self._boundaries, *self._outputs))

    def _rename(self, old: str, new: str) -> None:
        for _, node in self._nodes:
            for names in (node.input, node.output):
                for index, name in enumerate(names):
                    if name == old:
                        names[index] = new
        self._aliases[old] = new


def _needed(graph: GraphProto, outputs: Sequence[str]) -> tuple[list[NodeProto], set[str]]:
    """Return the nodes that the outputs depend on, in order, and the names of all tensors that are used."""
    used = set(outputs)
    nodes = []
    for node in reversed(graph.node):
        if used.intersection(node.output):
            used.update(node.input)
            nodes.append(node)
    return nodes[::-1], used


def _constant_value(node: NodeProto) -> TensorProto | None:
    if node.op_type != "Constant" or [item.name for item in node.attribute] != ["value"]:
        return None
    value: TensorProto = node.attribute[0].t
    return value
