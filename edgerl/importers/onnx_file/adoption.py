"""Adopts an ONNX graph that somebody else made as the core of a policy.

Shapes must be static; only a symbolic batch axis is fixed to 1, which the provenance says. Another opset than 17 is
converted where ONNX's own converter can and ONNX Runtime shows the same numbers before and after; otherwise the graph
is refused. Graphs with a memory of their own (more inputs than observations) need a Python module around them.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import ModelProto, ValueInfoProto

from edgerl.completion import GraphFacts, read_graph_facts
from edgerl.errors import MissingFacts, ModelError, UnsupportedModel
from edgerl.graph import OPSET, element_type, graph_inputs, opset_of, parse_onnx, static_shape
from edgerl.lowering.adopt import Wiring, adopt_graph
from edgerl.parity import RELATIVE
from edgerl.policy import OpaqueGraph, Policy
from edgerl.spec import SCHEMA, Action, Dtype, Input, PolicySpec, Provenance, Robot, opaque_term, packed

MIN_OPSET = 7
"""Oldest opset whose operators broadcast as numpy does; the converter is not trusted below it."""
_INPUTS: Mapping[str, Dtype] = {"float32": "float32", "uint8": "uint8", "int32": "int32", "int64": "int32"}
"""Dtype of an observation by the element type of the graph's input."""
_PROBES = 8


def adopt(proto: ModelProto, data: bytes, path: Path, facts_file: Path | None) -> Policy:
    """Return the policy of a foreign graph.

    Args:
        proto: Parsed and checked.
        data: The file that it was parsed from.
        path: Names it in errors.
        facts_file: TOML with what the graph does not say.

    Raises:
        ModelError: The graph is of a kind that is refused.
        MissingFacts: The kind or the range of its action is not known.
    """
    facts = read_graph_facts(facts_file)
    notes: dict[str, str] = {"graph": f"adopted from {path.name}, written by {proto.producer_name or 'somebody'}"}
    proto = _fix_batch(proto, path, notes)
    output = _action_output(proto, facts, path)
    proto = _to_opset(proto, output.name, path, notes)
    values = graph_inputs(proto.graph)
    names = _input_names(values)
    spec = PolicySpec(
        schema=SCHEMA,
        inputs=packed(_input(value, name, path) for name, value in names.items()),
        action=_action(output, facts, path),
        robot=Robot((), None, None, None, "none", None, 1),
        period_ns=None,
        state=(),
        provenance=Provenance("onnx", None, None, digest_of(data, path), notes, None, ()),
        sources={
            "inputs": "checkpoint",
            "action": "user",
            "action.meaning": "default",
            "robot": "default",
            "provenance": "checkpoint",
        },
    )
    wiring = Wiring({name: value.name for name, value in names.items()}, output.name, {})
    return Policy(spec, OpaqueGraph(adopt_graph(proto, spec, wiring, path).SerializeToString(deterministic=True)))


def digest_of(data: bytes, path: Path) -> dict[str, str]:
    """Return the SHA-256 of a file by its name."""
    return {path.name: hashlib.sha256(data).hexdigest()}


def _fix_batch(proto: ModelProto, path: Path, notes: dict[str, str]) -> ModelProto:
    """Return the graph with a symbolic first axis of its inputs set to 1, and all shapes inferred again.

    Raises:
        DynamicShape: An axis other than the first is not fixed.
        ModelError: The graph does not work with a batch of 1.
    """
    fixed = ModelProto()
    fixed.CopyFrom(proto)
    names = []
    for value in graph_inputs(fixed.graph):
        axes = value.type.tensor_type.shape.dim
        if len(axes) > 1 and axes[0].dim_value < 1:
            names.append(axes[0].dim_param or "?")
            axes[0].dim_value = 1
    if names:
        # Shapes of a symbolic batch are written everywhere behind the inputs; they are inferred anew.
        del fixed.graph.value_info[:]
        for value in fixed.graph.output:
            value.type.tensor_type.ClearField("shape")
        try:
            fixed = onnx.shape_inference.infer_shapes(fixed, strict_mode=True, data_prop=True)
        except onnx.shape_inference.InferenceError as error:
            raise ModelError(f"{path}: does not work with a batch of 1. Export it again with one.") from error
        notes["batch"] = f"the symbolic batch axis ({', '.join(sorted(set(names)))}) was fixed to 1"
    for value in (*graph_inputs(fixed.graph), *fixed.graph.output):
        static_shape(value, path)
    return fixed


def _to_opset(proto: ModelProto, output: str, path: Path, notes: dict[str, str]) -> ModelProto:
    """Return the graph in opset 17, converted where it was written in another one.

    Args:
        proto: With static shapes.
        output: What is compared before and after; other outputs may be random, as ML-Agents' own are.
        path: Names the graph in errors.
        notes: What was done is added.

    Raises:
        UnsupportedModel: It cannot be converted, or acts differently afterwards.
    """
    found = opset_of(proto)
    if found == OPSET:
        return proto
    what, valid = f"opset {found}", f"opset {OPSET}; export the graph again with opset_version={OPSET}"
    if found < MIN_OPSET:
        raise UnsupportedModel(path, what, valid)
    try:
        converted = onnx.version_converter.convert_version(proto, OPSET)
        converted = parse_onnx(converted.SerializeToString(), path)
        same = _agree(proto, converted, output)
    except Exception as error:  # the converter raises whatever an adapter raises
        raise UnsupportedModel(path, f"{what}, which could not be converted", valid) from error
    if not same:
        raise UnsupportedModel(path, f"{what}, which acts differently after conversion", valid)
    notes["opset"] = f"converted from {found}; {_PROBES} random observations gave the same action before and after"
    return converted


def _agree(first: ModelProto, second: ModelProto, output: str) -> bool:
    """Tell whether one output of two graphs is the same for random inputs, within the tolerance of parity."""
    rng = np.random.default_rng(0)
    sessions = [_session(proto) for proto in (first, second)]
    for _ in range(_PROBES):
        feed = {item.name: _probe(item, rng) for item in graph_inputs(first.graph)}
        one, other = (session.run([output], feed)[0].astype(np.float64) for session in sessions)
        scale = max(1.0, float(np.max(np.abs(one), initial=0.0)))
        if one.shape != other.shape or not np.all(np.abs(one - other) <= RELATIVE * scale):
            return False
    return True


def _session(proto: ModelProto) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _probe(value: ValueInfoProto, rng: np.random.Generator) -> npt.NDArray[Any]:
    shape = tuple(axis.dim_value for axis in value.type.tensor_type.shape.dim)
    dtype = element_type(value)
    if dtype.startswith("float"):
        return (2 * rng.standard_normal(shape)).astype(dtype)
    return rng.integers(0, 2, shape).astype(dtype)


def _input_names(values: list[ValueInfoProto]) -> dict[str, ValueInfoProto]:
    """Return the graph's inputs by the names that the spec gives them."""
    if len(values) == 1:
        return {"observation": values[0]}
    keys = [value.name.removeprefix("observation.").removeprefix("obs.").replace("/", "_") for value in values]
    if len(set(keys)) < len(keys):  # obs.arm beside observation.arm
        keys = [value.name for value in values]
    return {f"observation.{key}": value for key, value in zip(keys, values, strict=True)}


def _input(value: ValueInfoProto, name: str, path: Path) -> Input:
    shape, dtype = static_shape(value, path), element_type(value)
    if dtype not in _INPUTS:
        raise UnsupportedModel(path, f"input '{value.name}' is {dtype}", f"inputs of {', '.join(_INPUTS)}")
    if len(shape) < 2 or shape[0] != 1:
        raise UnsupportedModel(path, f"input '{value.name}' has the shape {shape}", "a first axis of 1, the batch")
    form = shape[1:]
    return Input(name, form, _INPUTS[dtype], 0, (opaque_term(name.rpartition(".")[2], math.prod(form)),))


def _action_output(proto: ModelProto, facts: GraphFacts, path: Path) -> ValueInfoProto:
    outputs: dict[str, ValueInfoProto] = {value.name: value for value in proto.graph.output}
    if facts.action_output is not None:
        if facts.action_output not in outputs:
            raise ModelError(f"{path}: has no output '{facts.action_output}'. Its outputs: {', '.join(outputs)}.")
        return outputs[facts.action_output]
    if len(outputs) > 1:
        why = f'it has {len(outputs)} outputs ({", ".join(outputs)}); write [graph] action = "NAME"'
        raise MissingFacts(str(path), [("graph.action", why)])
    return next(iter(outputs.values()))


def _action(output: ValueInfoProto, facts: GraphFacts, path: Path) -> Action:
    missing = []
    if facts.kind is None:
        missing.append(("action.kind", 'continuous, discrete, multi_discrete or multi_binary: kind = "continuous"'))
    if facts.low is None:
        missing.append(("action.low", "the least value of each channel (0 for choices, -inf for none): low = [-1.0]"))
    if facts.high is None:
        missing.append(("action.high", "the largest value (number of choices minus one, inf for none): high = [1.0]"))
    if missing:
        form = f"output '{output.name}' is {element_type(output)} {static_shape(output, path)}"
        raise MissingFacts(f"{path} ({form})", missing)
    assert facts.kind is not None  # noqa: S101  else it is missing, above
    low, high = facts.low or (), facts.high or ()
    if facts.kind != "continuous" and not all(value >= 0 and math.isfinite(value) and value % 1 == 0 for value in high):
        raise ModelError(f"{path}: high is {high}; a {facts.kind} action has the number of choices minus one.")
    return Action(
        facts.kind, None, None, "opaque", low, high, clipped_in_graph=False, raw=False, offset=None, scale=None
    )
