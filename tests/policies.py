"""Policies made by hand for tests: random weights from a seed, specs with the least that a policy needs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgerl.policy import (
    ActionMap,
    Activation,
    Block,
    Dense,
    Network,
    Normalize,
    Policy,
    Recurrent,
    RecurrentLayer,
)
from edgerl.spec import Action, Input, PolicySpec, Provenance, Robot, StateTensor, opaque_term, packed

PROVENANCE = Provenance("by hand", None, None, {"weights": "0" * 64}, {}, 1, ())


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def weights(random: np.random.Generator, *shape: int) -> np.ndarray:
    """Float32 weights that keep activations near one."""
    return (random.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32)


def dense(random: np.random.Generator, out: int, size: int) -> Dense:
    return Dense(weights(random, out, size), weights(random, out))


def box(name: str, *shape: int, dtype: str = "float32") -> Input:
    return Input(name, shape, dtype, 0, (opaque_term(name.rpartition(".")[2], int(np.prod(shape))),))


def action_of(head: ActionMap, *, raw: bool = False) -> Action:
    return Action(head.kind, None, None, "opaque", head.low, head.high, head.clip, raw, None, None)


def spec_of(
    inputs: Sequence[Input], head: ActionMap, state: Sequence[StateTensor] = (), *, raw: bool = False
) -> PolicySpec:
    return PolicySpec(
        schema=1,
        inputs=packed(inputs),
        action=action_of(head, raw=raw),
        robot=Robot((), None, None, None, "none", None, 1),
        period_ns=None,
        state=tuple(state),
        provenance=PROVENANCE,
        sources={"inputs": "checkpoint", "action": "checkpoint", "robot": "default"},
    )


def box_head(channels: int, low: float = -1.0, high: float = 1.0, *, clip: bool = True, **options) -> ActionMap:
    return ActionMap("continuous", (low,) * channels, (high,) * channels, clip=clip, **options)


def choice_head(*choices: int) -> ActionMap:
    kind = "discrete" if len(choices) == 1 else "multi_discrete"
    high = tuple(float(count - 1) for count in choices)
    return ActionMap(kind, (0.0,) * len(choices), high, choices=choices)


def normalize(random: np.random.Generator, size: int, clip: float | None = 10.0) -> Normalize:
    mean, variance = random.standard_normal(size), random.uniform(0.1, 2.0, size)
    return Normalize(mean, variance, 1e-8, True, None if clip is None else (-clip, clip))


def vector_policy(
    blocks: Sequence[Block], head: ActionMap, size: int, encoder: Sequence[Block] = (), *, raw: bool = False
) -> Policy:
    """A policy of one float32 vector."""
    state = [tensor for block in blocks if isinstance(block, Recurrent) for tensor in states_of(block)]
    spec = spec_of([box("observation", size)], head, state, raw=raw)
    return Policy(spec, Network({"observation": tuple(encoder)}, tuple(blocks), head))


def mlp(channels: int = 2, size: int = 5, seed: int = 0, head: ActionMap | None = None) -> Policy:
    """Normalize, two dense layers with relu, clip: the shape of SB3's PPO with VecNormalize."""
    random = rng(seed)
    head = head or box_head(channels)
    outputs = sum(head.choices) or channels
    blocks = [dense(random, 16, size), Activation("relu"), dense(random, outputs, 16)]
    return vector_policy(blocks, head, size, [normalize(random, size)])


def recurrent(random: np.random.Generator, cell: str, size: int, hidden: int, layers: int = 1, **options) -> Recurrent:
    gates = 4 if cell == "lstm" else 3
    parts = []
    for index in range(layers):
        width = size if index == 0 else hidden
        parts.append(
            RecurrentLayer(
                weights(random, gates * hidden, width),
                weights(random, gates * hidden, hidden),
                weights(random, gates * hidden),
                weights(random, gates * hidden),
            )
        )
    order = "ifgo" if cell == "lstm" else "rzn"
    return Recurrent("memory", cell, order, tuple(parts), options.pop("linear_before_reset", True))


def states_of(block: Recurrent) -> list[StateTensor]:
    shape = (len(block.layers), 1, block.hidden)
    parts = ("h", "c") if block.cell == "lstm" else ("h",)
    initial = tuple(np.linspace(-0.5, 0.5, len(block.layers) * block.hidden).tolist())
    return [StateTensor(f"state.{block.name}.{part}", shape, initial) for part in parts]


def memory_policy(cell: str = "lstm", layers: int = 1, head: ActionMap | None = None, **options) -> Policy:
    """A dense layer, a recurrent block of 6, and a dense head."""
    random = rng(7)
    head = head or box_head(2)
    block = recurrent(random, cell, 8, 6, layers, **options)
    outputs = sum(head.choices) or len(head.low)
    blocks = [dense(random, 8, 3), Activation("tanh"), block, dense(random, outputs, 6)]
    return vector_policy(blocks, head, 3)
