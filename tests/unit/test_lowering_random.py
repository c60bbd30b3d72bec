"""Random networks: the graph in ONNX Runtime against the reference, which shares no code with lowering."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edgerl.backends.onnxruntime import OnnxRuntimeRunner
from edgerl.golden import verify_golden
from edgerl.golden.rows import make_golden
from edgerl.lowering import lower
from edgerl.oracle import run_oracle
from edgerl.parity import choice_margins
from edgerl.policy import (
    ActionMap,
    Activation,
    BatchNorm,
    Concat,
    Conv,
    Flatten,
    LayerNorm,
    Network,
    Normalize,
    OneHot,
    Policy,
    Recurrent,
    Transpose,
)
from tests.policies import box, dense, normalize, recurrent, rng, spec_of, states_of, weights
from tests.reference import ACTIVATIONS, Reference

ALPHAS = {"elu": 1.0, "celu": 0.7, "leaky_relu": 0.2}


@st.composite
def encoders(draw, random, name):
    """Return an input, its blocks and the number of its features."""
    kind = draw(st.sampled_from(["vector", "normalized", "image", "choices"]))
    size = draw(st.integers(1, 6))
    if kind == "vector":
        return box(name, size), (), size
    if kind == "normalized":
        return box(name, size), (normalize(random, size, draw(st.sampled_from([None, 5.0]))),), size
    if kind == "choices":
        choices = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=3)))
        return box(name, len(choices), dtype="int32"), (OneHot(choices),), sum(choices)
    conv = Conv(weights(random, 3, 2, 2, 3), weights(random, 3), (1, 2), (1, 0), (1, 1), 1)
    scale = Normalize(np.zeros(()), np.array(255.0**2), 0.0, True, None)
    blocks = (Transpose((2, 0, 1)), scale, conv, Activation("relu"), Flatten())
    return box(name, 5, 7, 2, dtype="uint8"), blocks, 3 * 6 * 3


@st.composite
def heads(draw):
    kind = draw(st.sampled_from(["clip", "squash", "plain", "choices", "binary"]))
    count = draw(st.integers(1, 4))
    low = tuple(draw(st.lists(st.floats(-5, -0.5, width=32), min_size=count, max_size=count)))
    high = tuple(draw(st.lists(st.floats(0.5, 5, width=32), min_size=count, max_size=count)))
    if kind == "choices":
        choices = tuple(draw(st.lists(st.integers(1, 5), min_size=count, max_size=count)))
        name = "discrete" if count == 1 else "multi_discrete"
        return ActionMap(name, (0.0,) * count, tuple(one - 1.0 for one in choices), choices=choices)
    if kind == "binary":
        return ActionMap("multi_binary", (0.0,) * count, (1.0,) * count)
    squash = kind == "squash"
    return ActionMap("continuous", low, high, "tanh" if squash else "none", squash, kind == "clip")


@st.composite
def policies(draw):
    random = rng(draw(st.integers(0, 2**32)))
    names = ["observation"] if draw(st.booleans()) else ["observation.a", "observation.b"]
    parts = [draw(encoders(random, name)) for name in names]
    width = sum(part[2] for part in parts)
    trunk = [Concat(tuple(names))] if len(names) > 1 else []
    state = []
    for kind in draw(st.lists(st.sampled_from(["dense", "act", "layer", "batch", "lstm", "gru"]), max_size=5)):
        if kind == "dense":
            size = draw(st.integers(1, 8))
            trunk.append(dense(random, size, width))
            width = size
        elif kind == "act":
            name = draw(st.sampled_from(sorted(ACTIVATIONS)))
            trunk.append(Activation(name, ALPHAS.get(name)))
        elif kind == "layer":
            trunk.append(LayerNorm(width, 1e-3, weights(random, width), weights(random, width)))
        elif kind == "batch":
            trunk.append(
                BatchNorm(weights(random, width), random.uniform(0.5, 2, width).astype(np.float32), 1e-3, None, None)
            )
        elif not state:
            block = recurrent(random, kind, width, draw(st.integers(1, 5)), draw(st.integers(1, 2)))
            trunk.append(block)
            state, width = states_of(block), block.hidden
    head = draw(heads())
    trunk.append(dense(random, sum(head.choices) or len(head.low), width))
    spec = spec_of([part[0] for part in parts], head, state)
    encoding = {name: part[1] for name, part in zip(names, parts, strict=True)}
    return Policy(spec, Network(encoding, tuple(trunk), head))


@settings(max_examples=120, deadline=None)
@given(policies())
def test_a_random_network_acts_as_the_reference_says(policy):
    model = lower(policy)
    golden = make_golden(model, rows=16)
    found = run_oracle(model, golden.inputs, golden.episode_start)
    interpreter = Reference(policy)
    decided = np.ones(found.action.shape, bool)
    if found.logits is not None:
        decided = choice_margins(policy.spec, found.logits).decided(1e-3)
    tolerance = 2e-5 * (1 + 10 * any(isinstance(block, LayerNorm) for block in policy.network.trunk))
    for row in range(golden.rows):
        if golden.episode_start[row]:
            interpreter.reset()
        expected = interpreter.act({name: array[row] for name, array in golden.inputs.items()})
        scale = np.maximum(1.0, np.abs(expected))
        error = np.abs(found.action[row] - expected) / scale
        assert np.all(error[decided[row]] < tolerance), (row, found.action[row], expected)
        for name, state in interpreter.state.items():
            np.testing.assert_allclose(found.state[name][row, :, 0], state, atol=tolerance)
    assert verify_golden(OnnxRuntimeRunner(model.onnx, model.spec), golden).status == "passed"
    assert any(isinstance(block, Recurrent) for block in policy.network.trunk) == bool(golden.state)
