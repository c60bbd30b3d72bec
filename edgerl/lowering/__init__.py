"""Lowering: the blocks of a policy as one ONNX graph, built and not traced.

The graph has three regions, ``pre``, ``core`` and ``post``, with boundary tensors ``core.in.*`` and ``core.out.*``
between them; only ``core`` is ever quantized or put on an accelerator. Nothing is in it that the action does not need.
The same policy gives the same bytes. Lowering reads no file and checks no numbers; :mod:`edgerl.parity` does.
"""

from __future__ import annotations

from onnx import ModelProto

from edgerl.errors import ModelError
from edgerl.graph import CORE_OUT_ACTION, CORE_OUT_LOGITS, core_in, core_out, parse_onnx
from edgerl.lowering.blocks import lower_block
from edgerl.lowering.builder import GraphBuilder, Tensor
from edgerl.lowering.head import lower_head
from edgerl.lowering.recurrent import lower_recurrent
from edgerl.model import PolicyModel, find_spec, read_model, seal_model
from edgerl.policy import (
    ActionMap,
    Block,
    Concat,
    Flatten,
    Network,
    Normalize,
    OneHot,
    OpaqueGraph,
    Policy,
    Recurrent,
    Transpose,
)
from edgerl.spec import Input, PolicySpec

_PRE_BLOCKS = (Normalize, OneHot, Transpose, Flatten)


def lower(policy: Policy) -> PolicyModel:
    """Return the policy as an ONNX model with its spec inside.

    Raises:
        ModelError: Blocks, spec and head do not fit together.
    """
    network = policy.network
    if isinstance(network, OpaqueGraph):
        return _seal_opaque(policy.spec, network)
    _check_head(policy.spec, network.head)
    return seal_model(policy.spec, _Lowering(policy.spec).run(network), "the lowered policy")


def _seal_opaque(spec: PolicySpec, graph: OpaqueGraph) -> PolicyModel:
    """Return the model of a graph that has edgerl's form; the very same bytes where its spec is this one."""
    proto = parse_onnx(graph.onnx, "the adopted graph")
    if find_spec(proto, "the adopted graph") == spec:
        return read_model(graph.onnx, "the adopted graph")
    return seal_model(spec, proto, "the adopted graph")


class _Lowering:
    """One pass over a network."""

    def __init__(self, spec: PolicySpec) -> None:
        self.spec = spec
        self.builder = GraphBuilder()
        self.state: dict[str, Tensor] = {}
        self.next_state: dict[str, Tensor] = {}

    def run(self, network: Network) -> ModelProto:
        builder = self.builder
        sources = {item.name: builder.input(item.name, (1, *item.shape), item.dtype) for item in self.spec.inputs}
        states = {item.name: builder.input(item.name, item.shape, "float32") for item in self.spec.state}
        unknown = sorted(set(network.encoders) - set(sources))
        if unknown:
            raise ModelError(f"An encoder is for '{unknown[0]}'; the spec's inputs are {', '.join(sources)}.")
        entries = {item.name: self.pre(item, network, sources[item.name]) for item in self.spec.inputs}
        for name, tensor in states.items():
            builder.enter("pre", name)
            self.state[name] = builder.end_region(tensor, core_in(name))
        features = self.core(network, entries)
        self.post(network.head, features)
        return builder.model()

    def pre(self, item: Input, network: Network, x: Tensor) -> Tensor:
        """Cast, then the leading blocks that belong to ``pre``."""
        self.builder.enter("pre", item.name)
        x = self.builder.cast(x, "float32")
        for index, block in enumerate(network.encoders.get(item.name, ())[: _pre_length(network, item.name)]):
            self.builder.enter("pre", _scope(item.name, index, block))
            x = lower_block(self.builder, block, x)
        self.builder.enter("pre", item.name)
        return self.builder.end_region(x, core_in(item.name))

    def core(self, network: Network, entries: dict[str, Tensor]) -> Tensor:
        """Rest of the encoders, then the trunk; also ends the region for the next state."""
        features = {}
        for name, x in entries.items():
            skip = _pre_length(network, name)
            features[name] = self.blocks(name, network.encoders.get(name, ())[skip:], x, first=skip)
        trunk = list(network.trunk)
        if trunk and isinstance(trunk[0], Concat):
            x = self.concat(trunk[0], features)
            trunk = trunk[1:]
        elif len(features) == 1:
            x = next(iter(features.values()))
        else:
            raise ModelError(f"A policy with {len(features)} inputs needs Concat as the first block of its trunk.")
        x = self.blocks("trunk", trunk, x, first=0)
        missing = sorted(set(self.state) - set(self.next_state))
        if missing:
            raise ModelError(f"No recurrent block uses the spec's {missing[0]}.")
        for name in self.state:
            self.builder.enter("core", name)
            self.next_state[name] = self.builder.end_region(self.next_state[name], core_out(f"{name}.next"))
        self.builder.enter("core", "action")
        boundary = CORE_OUT_ACTION if network.head.kind == "continuous" else CORE_OUT_LOGITS
        return self.builder.end_region(x, boundary)

    def blocks(self, owner: str, blocks: tuple[Block, ...] | list[Block], x: Tensor, *, first: int) -> Tensor:
        for index, block in enumerate(blocks, start=first):
            self.builder.enter("core", _scope(owner, index, block))
            if isinstance(block, Recurrent):
                x, after = lower_recurrent(self.builder, block, x, self.state)
                self.next_state |= after
            else:
                x = lower_block(self.builder, block, x)
        return x

    def concat(self, block: Concat, features: dict[str, Tensor]) -> Tensor:
        if sorted(block.inputs) != sorted(features):
            raise ModelError(f"Concat joins {', '.join(block.inputs)}; the spec's inputs are {', '.join(features)}.")
        parts = [features[name] for name in block.inputs]
        for name, part in zip(block.inputs, parts, strict=True):
            if len(part.shape) != 2:
                raise ModelError(f"Concat gets {name} with the shape {part.shape[1:]}; expected it flat.")
        self.builder.enter("core", "trunk.0_concat")
        if len(parts) == 1:
            return parts[0]
        return self.builder.emit("Concat", parts, (1, sum(part.shape[1] for part in parts)), axis=1)

    def post(self, head: ActionMap, features: Tensor) -> None:
        self.builder.enter("post", "action")
        self.builder.output(lower_head(self.builder, head, features), "action")
        if self.spec.action.raw:
            self.builder.enter("post", "action.raw")
            self.builder.output(features, "action.raw")
        for name in self.state:
            self.builder.enter("post", name)
            self.builder.output(self.next_state[name], f"{name}.next")


def _pre_length(network: Network, name: str) -> int:
    blocks = network.encoders.get(name, ())
    return next((index for index, block in enumerate(blocks) if not isinstance(block, _PRE_BLOCKS)), len(blocks))


def _scope(owner: str, index: int, block: Block) -> str:
    return f"{owner}.{index}_{type(block).__name__.lower()}"


def _check_head(spec: PolicySpec, head: ActionMap) -> None:
    action = spec.action
    if (head.kind, head.low, head.high) != (action.kind, action.low, action.high):
        raise ModelError(
            f"The head is {head.kind} from {head.low} to {head.high}; "
            f"the spec's action is {action.kind} from {action.low} to {action.high}."
        )
    if head.kind in ("discrete", "multi_discrete") and tuple(count - 1.0 for count in head.choices) != action.high:
        raise ModelError(f"The head chooses among {head.choices}; the spec's highest choices are {action.high}.")
    if action.raw and action.kind != "continuous":
        raise ModelError(f"action.raw belongs to the continuous kind; this action is {action.kind}.")
