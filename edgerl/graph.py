"""What every ONNX graph satisfies before edgerl touches it: static, self-contained, plain operators.

Graphs may come from anybody, so they are data: checked for size, form and content before anything is done with them.
This module also holds the names of the boundary tensors between the regions ``pre``, ``core`` and ``post``.
It knows no spec; what a policy's graph must look like is :mod:`edgerl.model`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, numpy_helper

from edgerl.errors import DynamicShape, ModelError, UnsupportedModel

OPSET = 17
"""Highest opset of TensorRT 8.6, the oldest parser that edgerl builds for (onnx-tensorrt, docs/operators.md)."""
IR_VERSION = 8
"""The ONNX file format that belongs to opset 17 (onnx, docs/Versioning.md)."""
MAX_BYTES = 512 * 1024 * 1024
"""A control policy has megabytes; past half a gigabyte the file is something else. Protobuf itself ends at 2 GiB."""
MAX_NODES = 100_000

CORE_OUT_ACTION = "core.out.action"
CORE_OUT_LOGITS = "core.out.logits"
"""Where the core ends for the discrete kinds; the arg-max is in ``post``."""

DTYPES: Mapping[int, str] = {
    TensorProto.FLOAT: "float32",
    TensorProto.UINT8: "uint8",
    TensorProto.INT32: "int32",
    TensorProto.INT64: "int64",
    TensorProto.DOUBLE: "float64",
    TensorProto.FLOAT16: "float16",
    TensorProto.INT8: "int8",
    TensorProto.BOOL: "bool",
}
"""Names, as numpy has them, of the element types that a policy's graph can hold."""


def core_in(name: str) -> str:
    """Return the boundary tensor before ``core`` of a graph input."""
    return f"core.in.{name}"


def core_out(name: str) -> str:
    """Return the boundary tensor after ``core`` of a graph output."""
    return f"core.out.{name}"


def read_bytes(path: Path) -> bytes:
    """Return the bytes of an ONNX file.

    Raises:
        ModelError: It cannot be read or is larger than :data:`MAX_BYTES`.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ModelError(f"{path}: could not be read ({error.strerror}). Expected an ONNX file.") from error
    if len(data) > MAX_BYTES:
        raise ModelError(f"{path}: larger than {MAX_BYTES:,} bytes. Expected the ONNX file of a control policy.")
    return data


def parse_onnx(data: bytes, where: Path | str) -> ModelProto:
    """Return the model in ``data``, checked to be static, self-contained and made of standard operators.

    Args:
        data: An ONNX file.
        where: Names it in errors.

    Raises:
        ModelError: Not an ONNX model, or not a valid one.
        UnsupportedModel: External data, operators of other domains, functions, subgraphs or too many nodes.
    """
    proto = ModelProto()
    try:
        proto.ParseFromString(data)
        readable = all(isinstance(text, str) for text in _texts(proto))
    except (DecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"{where}: not an ONNX model. Expected a complete .onnx file; export it again.") from error
    if not readable:
        raise ModelError(f"{where}: a name in it is no text. Expected a complete .onnx file; export it again.")
    if not proto.graph.output:
        raise ModelError(f"{where}: holds no graph with an output. Expected a complete .onnx file; export it again.")
    for what, valid in _refusals(proto):
        raise UnsupportedModel(where, what, valid)
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError, RuntimeError) as error:
        # A message that quotes a text of the file which is none arrives as a UnicodeDecodeError, a ValueError.
        reason = "a text in it is no UTF-8" if isinstance(error, UnicodeDecodeError) else str(error).strip()
        reason = reason.partition("\n")[0]
        raise ModelError(f"{where}: not a valid ONNX model ({reason}). Export it again.") from error
    for tensor in (*proto.graph.initializer, *_node_tensors(proto.graph)):
        _check_constant(tensor, where)
    return proto


def opset_of(proto: ModelProto) -> int:
    """Return the version of the standard operators that a model uses."""
    return max((item.version for item in proto.opset_import if item.domain in ("", "ai.onnx")), default=1)


def static_shape(value: ValueInfoProto, where: Path | str) -> tuple[int, ...]:
    """Return the shape of a graph input or output.

    Raises:
        DynamicShape: An axis has no fixed length.
    """
    axes = value.type.tensor_type.shape.dim
    if not value.type.tensor_type.HasField("shape") or any(axis.dim_value < 1 for axis in axes):
        shape = ", ".join(str(axis.dim_value) if axis.dim_value > 0 else axis.dim_param or "?" for axis in axes)
        raise DynamicShape(where, value.name, f"({shape})")
    return tuple(axis.dim_value for axis in axes)


def element_type(value: ValueInfoProto) -> str:
    """Return the dtype of a graph input or output as numpy names it, or ``"type N"`` for an unusual one."""
    code = value.type.tensor_type.elem_type
    return DTYPES.get(code, f"type {code}")


def graph_inputs(graph: GraphProto) -> list[ValueInfoProto]:
    """Return the inputs that have to be fed; old models list their initializers among the inputs, too."""
    constants = {item.name for item in graph.initializer}
    return [item for item in graph.input if item.name not in constants]


def _refusals(proto: ModelProto) -> Iterator[tuple[str, str]]:
    if len(proto.graph.node) > MAX_NODES:
        yield f"{len(proto.graph.node):,} nodes", f"at most {MAX_NODES:,}"
    if proto.functions:
        yield "model-local functions", "standard ONNX operators only; inline the functions before exporting"
    for item in proto.opset_import:
        if item.domain not in ("", "ai.onnx"):
            yield f"it imports the operator domain '{item.domain}'", "standard ONNX operators only"
    for tensor in (*proto.graph.initializer, *_node_tensors(proto.graph)):
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            yield (
                f"tensor '{tensor.name}' lies outside the file",
                "all data inside the .onnx file; export with external_data=False",
            )
    if proto.graph.sparse_initializer:
        yield "sparse initializers", "dense tensors"
    for node in proto.graph.node:
        if node.domain not in ("", "ai.onnx"):
            yield f"operator {node.domain}.{node.op_type}", "standard ONNX operators only"
        if any(attribute.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) for attribute in node.attribute):
            yield (
                f"operator {node.op_type} with a subgraph",
                "a graph without Loop, If or Scan; one inference is one step",
            )


def _check_constant(tensor: TensorProto, where: Path | str) -> None:
    """Refuse a constant whose data are more or less than its shape; the checker lets some of them pass."""
    try:
        numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError) as error:
        raise ModelError(
            f"{where}: constant '{tensor.name}' does not hold what its shape {tuple(tensor.dims)} needs. "
            "Expected a complete .onnx file; export it again."
        ) from error


def _texts(proto: ModelProto) -> Iterator[object]:
    """Yield every text of a model that anybody reads; protobuf gives bytes, or raises, for what is no UTF-8."""
    graph = proto.graph
    yield from (proto.producer_name, proto.domain, graph.name)
    yield from (named.name for named in (*graph.initializer, *graph.input, *graph.output, *graph.value_info))
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)
    for entry in (*proto.metadata_props, *graph.metadata_props):
        yield from (entry.key, entry.value)
    yield from (opset.domain for opset in proto.opset_import)
    for value in (*graph.input, *graph.output):
        yield from (axis.dim_param for axis in value.type.tensor_type.shape.dim)


def _node_tensors(graph: GraphProto) -> Iterator[TensorProto]:
    for node in graph.node:
        yield from _attribute_tensors(node)


def _attribute_tensors(node: NodeProto) -> Iterator[TensorProto]:
    for attribute in node.attribute:
        if attribute.type == AttributeProto.TENSOR:
            yield attribute.t
        yield from attribute.tensors
