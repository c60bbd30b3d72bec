"""Puts a graph that somebody else made into edgerl's form: the whole of it becomes ``core``.

Inputs and outputs get the contract's names, shapes and dtypes; ``pre`` and ``post`` hold a cast, a reshape or an
arg-max where the graph and the spec differ in nothing else, an Identity otherwise. Outputs that are not asked for, and
nodes that only they need, are left out. The numbers are not touched.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from onnx import ModelProto

from edgerl.errors import ModelError
from edgerl.graph import (
    CORE_OUT_ACTION,
    CORE_OUT_LOGITS,
    core_in,
    core_out,
    element_type,
    graph_inputs,
    static_shape,
)
from edgerl.lowering.builder import GraphBuilder, Tensor
from edgerl.lowering.head import lower_choices
from edgerl.spec import PolicySpec


@dataclass(frozen=True)
class Wiring:
    """Which tensor of a foreign graph is which part of the contract."""

    inputs: Mapping[str, str]
    """Foreign input by the spec's name of an input or state tensor."""
    action: str
    """Foreign output that is the action, or the logits that it is chosen from."""
    next_state: Mapping[str, str]
    """Foreign output by the spec's name of a state tensor."""


def adopt_graph(proto: ModelProto, spec: PolicySpec, wiring: Wiring, where: Path | str) -> ModelProto:
    """Return a foreign graph in edgerl's form, without metadata.

    Args:
        proto: Valid, static, with standard operators of opset 17.
        spec: What the policy takes and answers.
        wiring: How the two belong together.
        where: Names the graph in errors.

    Raises:
        ModelError: A tensor is missing, or its shape or dtype cannot be the spec's.
        DynamicShape: A tensor has no static shape.
    """
    return _Adoption(proto, spec, where).run(wiring)


class _Adoption:
    def __init__(self, proto: ModelProto, spec: PolicySpec, where: Path | str) -> None:
        self.proto, self.spec, self.where = proto, spec, where
        self.builder = GraphBuilder()
        self.found_inputs = {item.name: item for item in graph_inputs(proto.graph)}
        self.found_outputs = {item.name: item for item in proto.graph.output}

    def run(self, wiring: Wiring) -> ModelProto:
        self.check_names(wiring)
        builder = self.builder
        forms = {item.name: ((1, *item.shape), str(item.dtype)) for item in self.spec.inputs}
        forms |= {item.name: (item.shape, "float32") for item in self.spec.state}
        sources = {name: builder.input(name, shape, dtype) for name, (shape, dtype) in forms.items()}
        entries = {wiring.inputs[name]: self.entry(wiring.inputs[name], source) for name, source in sources.items()}
        builder.enter("core", "adopted")
        builder.graft(self.proto.graph, entries, [wiring.action, *wiring.next_state.values()])
        features = self.features(wiring.action)
        after = {name: self.next_state(name, output) for name, output in wiring.next_state.items()}
        builder.enter("post", "action")
        builder.output(self.action(features), "action")
        if self.spec.action.raw:
            builder.enter("post", "action.raw")
            builder.output(features, "action.raw")
        for name, tensor in after.items():
            builder.enter("post", name)
            builder.output(tensor, f"{name}.next")
        return builder.model()

    def check_names(self, wiring: Wiring) -> None:
        for name in wiring.inputs.values():
            if name not in self.found_inputs:
                raise ModelError(f"{self.where}: has no input '{name}'. Its inputs: {', '.join(self.found_inputs)}.")
        unfed = sorted(set(self.found_inputs) - set(wiring.inputs.values()))
        if unfed:
            raise ModelError(f"{self.where}: nothing in the spec feeds its input '{unfed[0]}'.")
        for name in (wiring.action, *wiring.next_state.values()):
            if name not in self.found_outputs:
                raise ModelError(f"{self.where}: has no output '{name}'. Its outputs: {', '.join(self.found_outputs)}.")

    def entry(self, name: str, source: Tensor) -> Tensor:
        """Bring an input of the contract into the form of a foreign one."""
        value = self.found_inputs[name]
        shape, dtype = static_shape(value, self.where), element_type(value)
        if math.prod(shape) != math.prod(source.shape):
            raise ModelError(
                f"{self.where}: its input '{name}' has the shape {shape}; the spec's {source.name} has {source.shape}."
            )
        if dtype != source.dtype and (source.dtype, dtype) != ("int32", "int64"):
            raise ModelError(
                f"{self.where}: its input '{name}' is {dtype}; the spec's {source.name} is {source.dtype}."
            )
        self.builder.enter("pre", source.name)
        x = self.builder.reshape(self.builder.cast(source, dtype), shape)
        return self.builder.end_region(x, core_in(source.name))

    def features(self, name: str) -> Tensor:
        """End the core with the action or the logits that it is chosen from."""
        x = self.result(name)
        action = self.spec.action
        continuous = action.kind == "continuous"
        logits = not continuous and x.dtype == "float32"
        expected = sum(int(high) + 1 for high in action.high) if logits else action.size
        if action.kind == "multi_binary":
            expected = action.size
        if math.prod(x.shape) != expected or (continuous and x.dtype != "float32"):
            raise ModelError(
                f"{self.where}: its output '{name}' is {x.dtype} {x.shape}; a {action.kind} action of {action.size} "
                f"channels needs {'float32' if continuous or logits else 'integers'} in {expected} elements."
            )
        self.builder.enter("core", "action")
        return self.builder.end_region(
            self.builder.reshape(x, (1, expected)), CORE_OUT_LOGITS if logits else CORE_OUT_ACTION
        )

    def action(self, features: Tensor) -> Tensor:
        action = self.spec.action
        if action.kind == "continuous":
            return features
        if features.dtype != "float32":
            return self.builder.cast(features, "int32")
        if action.kind == "multi_binary":
            zero = self.builder.constant("zero", 0.0)
            return self.builder.cast(self.builder.emit("Greater", [features, zero], features.shape, "bool"), "int32")
        return lower_choices(self.builder, [int(high) + 1 for high in action.high], features)

    def next_state(self, name: str, output: str) -> Tensor:
        form = next(item.shape for item in self.spec.state if item.name == name)
        x = self.result(output)
        if math.prod(x.shape) != math.prod(form) or x.dtype != "float32":
            raise ModelError(f"{self.where}: its output '{output}' is {x.dtype} {x.shape}; {name} is float32 {form}.")
        self.builder.enter("core", name)
        return self.builder.end_region(self.builder.reshape(x, form), core_out(f"{name}.next"))

    def result(self, name: str) -> Tensor:
        value = self.found_outputs[name]
        dtype = element_type(value)
        if dtype not in ("float32", "int32", "int64", "bool"):
            raise ModelError(f"{self.where}: its output '{name}' is {dtype}; expected float32 or integers.")
        return self.builder.grafted(name, static_shape(value, self.where), dtype)
