"""PolicyModel: an ONNX graph with the spec of its policy in the metadata.

The bytes are the artifact: their SHA-256 is what engines and bundles name as their parent. Whoever holds a
``PolicyModel`` holds a checked one: static shapes with batch 1, opset 17, no external data, no foreign operators,
inputs and outputs as the spec says, and the boundary tensors between ``pre``, ``core`` and ``post``. What the graph
computes is not looked at here; that is :mod:`edgerl.parity`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

from onnx import ModelProto, ValueInfoProto

from edgerl.errors import ModelError, UnsupportedModel
from edgerl.files import write_file
from edgerl.graph import (
    CORE_OUT_ACTION,
    CORE_OUT_LOGITS,
    OPSET,
    core_in,
    core_out,
    element_type,
    graph_inputs,
    opset_of,
    parse_onnx,
    read_bytes,
    static_shape,
)
from edgerl.spec import METADATA_KEY, PolicySpec, load_spec, save_spec

Forms: TypeAlias = dict[str, tuple[tuple[int, ...], str]]
"""Shape and dtype by tensor name, in the graph's order."""


@dataclass(frozen=True)
class PolicyModel:
    """A policy as a graph. Made by :func:`seal_model` or read by :func:`load_model`, which check it."""

    spec: PolicySpec
    onnx: bytes
    """The file, spec included."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the bytes, 64 hexadecimal digits."""
        return hashlib.sha256(self.onnx).hexdigest()

    def proto(self) -> ModelProto:
        """Return the parsed graph, a new object each time."""
        proto = ModelProto()
        proto.ParseFromString(self.onnx)
        return proto


def seal_model(spec: PolicySpec, proto: ModelProto, where: Path | str) -> PolicyModel:
    """Return a model of a graph with its spec put into the metadata, where it replaces everything else.

    The bytes depend on graph and spec only. ``proto`` is changed.

    Args:
        spec: What goes into the metadata.
        proto: The graph.
        where: Names it in errors.

    Raises:
        ModelError: The graph is not valid or does not fit the spec.
    """
    del proto.metadata_props[:]
    entry = proto.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, save_spec(spec)
    return read_model(proto.SerializeToString(deterministic=True), where)


def read_model(data: bytes, where: Path | str) -> PolicyModel:
    """Return the model in the bytes of a file that :func:`save_model` wrote.

    Args:
        data: An ONNX file with a spec in its metadata.
        where: Names it in errors.

    Raises:
        ModelError: Not an ONNX model of edgerl, or its graph contradicts its spec.
        SpecError: The spec in it is not valid.
    """
    proto = parse_onnx(data, where)
    spec = find_spec(proto, where)
    if spec is None:
        raise ModelError(
            f"{where}: has no '{METADATA_KEY}' in its metadata, so edgerl did not write it. "
            "Adopt it with: edgerl export FILE.onnx --spec extra.toml"
        )
    if opset_of(proto) != OPSET:
        raise UnsupportedModel(where, f"opset {opset_of(proto)}", f"opset {OPSET}, as edgerl export writes it")
    _check_interface(proto, spec, where)
    _check_boundaries(proto, spec, where)
    return PolicyModel(spec, data)


def load_model(path: Path | str) -> PolicyModel:
    """Return the model in a file.

    Raises:
        ModelError: Not readable, or not a model of edgerl.
        SpecError: The spec in it is not valid.
    """
    return read_model(read_bytes(Path(path)), path)


def save_model(model: PolicyModel, path: Path | str) -> None:
    """Write the model's bytes, replacing what was there, whole or not at all.

    Raises:
        OutputError: The file could not be written.
    """
    write_file(path, model.onnx)


def find_spec(proto: ModelProto, where: Path | str) -> PolicySpec | None:
    """Return the spec in a graph's metadata, or None where edgerl did not write it.

    Raises:
        SpecError: There is one, and it is not valid.
    """
    for item in proto.metadata_props:  # a key that is there twice did not pass parse_onnx
        if item.key == METADATA_KEY:
            return load_spec(item.value, f"spec of {where}")
    return None


def interface(spec: PolicySpec) -> tuple[Forms, Forms]:
    """Return what a spec's graph takes and answers: shape and dtype by name, in the graph's order."""
    action_dtype = "float32" if spec.action.kind == "continuous" else "int32"
    inputs: Forms = {item.name: ((1, *item.shape), item.dtype) for item in spec.inputs}
    inputs |= {item.name: (item.shape, "float32") for item in spec.state}
    outputs: Forms = {"action": ((1, spec.action.size), action_dtype)}
    if spec.action.raw:
        outputs["action.raw"] = ((1, spec.action.size), "float32")
    outputs |= {f"{item.name}.next": (item.shape, "float32") for item in spec.state}
    return inputs, outputs


def _check_interface(proto: ModelProto, spec: PolicySpec, where: Path | str) -> None:
    inputs, outputs = interface(spec)
    pairs = (("inputs", inputs, graph_inputs(proto.graph)), ("outputs", outputs, proto.graph.output))
    for what, expected, values in pairs:
        found = _forms(values, where)
        if list(found.items()) != list(expected.items()):
            raise ModelError(
                f"{where}: the {what} are {_text(found)}; its spec says {_text(expected)}. Export it again."
            )


def _check_boundaries(proto: ModelProto, spec: PolicySpec, where: Path | str) -> None:
    made = {name for node in proto.graph.node for name in node.output}
    inputs, _ = interface(spec)
    expected = [core_in(name) for name in inputs] + [core_out(f"{item.name}.next") for item in spec.state]
    missing = [name for name in expected if name not in made]
    if not {CORE_OUT_ACTION, CORE_OUT_LOGITS} & made:
        missing.append(CORE_OUT_ACTION)
    if missing:
        raise ModelError(f"{where}: the boundary tensor '{missing[0]}' is missing. Export the policy again.")


def _forms(values: Iterable[ValueInfoProto], where: Path | str) -> Forms:
    return {value.name: (static_shape(value, where), element_type(value)) for value in values}


def _text(forms: Forms) -> str:
    return ", ".join(f"{name} {dtype}{list(shape)}" for name, (shape, dtype) in forms.items()) or "none"
