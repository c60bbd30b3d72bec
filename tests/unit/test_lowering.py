"""The graph that lowering builds: its regions, its operators, its bytes, and its numbers against the reference."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from onnx import numpy_helper

from edgerl.backends.onnxruntime import OnnxRuntimeRunner
from edgerl.errors import ModelError
from edgerl.golden.rows import make_golden
from edgerl.lowering import lower
from edgerl.oracle import run_oracle
from edgerl.policy import (
    ActionMap,
    Activation,
    BatchNorm,
    Concat,
    Conv,
    Dense,
    Flatten,
    LayerNorm,
    Network,
    Normalize,
    OneHot,
    OpaqueGraph,
    Policy,
    Transpose,
)
from tests.policies import (
    box,
    box_head,
    choice_head,
    dense,
    memory_policy,
    mlp,
    normalize,
    recurrent,
    rng,
    spec_of,
    states_of,
    vector_policy,
    weights,
)
from tests.reference import ACTIVATIONS, Reference


def operators(policy: Policy) -> list[str]:
    return [node.op_type for node in lower(policy).proto().graph.node]


def run(policy: Policy, **inputs: np.ndarray) -> np.ndarray:
    """Run rows through ONNX Runtime as one sequence; ``observation_x`` stands for ``observation.x``."""
    rows = {name.replace("_", ".", 1): array for name, array in inputs.items()}
    count = len(next(iter(rows.values())))
    return run_oracle(lower(policy), rows, np.arange(count) == 0).action


def reference(policy: Policy, **inputs: np.ndarray) -> np.ndarray:
    rows = {name.replace("_", ".", 1): array for name, array in inputs.items()}
    interpreter = Reference(policy)
    count = len(next(iter(rows.values())))
    return np.stack([interpreter.act({name: array[row] for name, array in rows.items()}) for row in range(count)])


def observations(size: int, rows: int = 12, spread: float = 1.0) -> np.ndarray:
    return (spread * rng(3).standard_normal((rows, size))).astype(np.float32)


def test_the_graph_of_a_normalized_mlp_holds_exactly_these_operators():
    assert operators(mlp()) == ["Sub", "Div", "Clip", "Gemm", "Relu", "Gemm", "Clip"]


def test_the_graph_of_a_squashed_policy_holds_exactly_these_operators():
    policy = vector_policy([dense(rng(), 1, 3)], box_head(1, -2.0, 2.0, clip=False, squash="tanh", unscale=True), 3)
    assert operators(policy) == ["Identity", "Gemm", "Tanh", "Add", "Mul", "Add"]


@pytest.mark.parametrize("policy", [mlp(), memory_policy(), memory_policy("gru", 2), mlp(head=choice_head(3, 4))])
def test_nodes_lie_in_their_regions_and_meet_only_at_the_boundaries(policy):
    graph = lower(policy).proto().graph
    regions = {output: node.name.split("/")[0] for node in graph.node for output in node.output}
    assert set(regions.values()) == {"pre", "core", "post"}
    outputs = {item.name for item in graph.output}
    for node in graph.node:
        region = node.name.split("/")[0]
        for name in node.input:
            if regions.get(name, region) != region:
                assert name.startswith("core.in." if region == "core" else "core.out."), (node.name, name)
    made_by_post = {name for name, region in regions.items() if region == "post"}
    assert outputs <= made_by_post


@pytest.mark.parametrize("policy", [mlp(), memory_policy(layers=2), memory_policy("gru"), mlp(head=choice_head(3))])
def test_every_node_and_constant_is_needed_for_an_output(policy):
    graph = lower(policy).proto().graph
    needed = {item.name for item in graph.output}
    for node in reversed(graph.node):
        assert needed & set(node.output), node.name
        needed |= set(node.input)
    assert {item.name for item in graph.initializer} <= needed


def test_there_is_no_loop_lstm_or_later_operator_in_a_recurrent_graph():
    for policy in (memory_policy(), memory_policy("gru", 2)):
        assert not {"LSTM", "GRU", "RNN", "Loop", "Scan", "If"} & set(operators(policy))


def test_weights_are_raw_float32_and_keep_their_bits():
    policy = mlp()
    constants = {item.name: item for item in lower(policy).proto().graph.initializer}
    weight = constants["core/trunk.0_dense/weight"]
    assert weight.raw_data and not weight.float_data
    assert np.array_equal(numpy_helper.to_array(weight), policy.network.trunk[0].weight)


def test_equal_policies_give_equal_bytes_in_processes_with_other_hash_seeds():
    code = (
        "from tests.policies import *; from edgerl.lowering import lower; import hashlib\n"
        "for p in (mlp(), memory_policy(layers=2), memory_policy('gru'), mlp(head=choice_head(2, 3))):\n"
        "    print(lower(p).digest)"
    )
    answers = set()
    for seed in ("0", "12345"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", code]
        answers.add(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    assert len(answers) == 1
    model = lower(mlp())
    assert answers.pop().splitlines()[0] == model.digest == hashlib.sha256(model.onnx).hexdigest()


@pytest.mark.parametrize("kind", sorted(ACTIVATIONS))
def test_activation_agrees_with_its_definition(kind):
    alpha = {"elu": 1.0, "celu": 1.7, "leaky_relu": 0.01}.get(kind)
    x = np.concatenate([np.linspace(-30, 30, 241), [0.0, 1e-3, -1e-3]]).astype(np.float32)
    policy = vector_policy([Activation(kind, alpha)], box_head(x.size, clip=False), x.size)
    found, expected = run(policy, observation=x[None]), reference(policy, observation=x[None])
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("alpha", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("kind", ["elu", "celu", "leaky_relu"])
def test_alpha_of_an_activation_is_kept(kind, alpha):
    x = np.linspace(-4, 4, 33, dtype=np.float32)[None]
    policy = vector_policy([Activation(kind, alpha)], box_head(33, clip=False), 33)
    np.testing.assert_allclose(run(policy, observation=x), reference(policy, observation=x), rtol=2e-6, atol=1e-6)


def test_an_activation_without_its_alpha_is_refused():
    with pytest.raises(ModelError, match="has no alpha"):
        lower(vector_policy([Activation("elu")], box_head(3), 3))


def test_the_normalizer_divides_as_the_trainer_does():
    mean, variance = np.array([0.1, -3.0, 50.0]), np.array([1e-6, 4.0, 900.0])
    for inside in (True, False):
        block = Normalize(mean, variance, 1e-2, inside, (-5.0, 5.0))
        policy = vector_policy([], box_head(3, clip=False), 3, [block])
        x = (mean + np.sqrt(variance) * rng().standard_normal((50, 3)) * 4).astype(np.float32)
        np.testing.assert_allclose(run(policy, observation=x), reference(policy, observation=x), rtol=1e-5, atol=1e-5)


def test_a_mean_that_float32_cannot_hold_costs_no_precision():
    # A counter or a position in millimetres: the mean is a million deviations away from zero.
    mean, deviation = np.array([123456.7891, -98765.4321]), np.array([0.05, 0.2])
    block = Normalize(mean, deviation**2, 0.0, True, (-10.0, 10.0))
    policy = vector_policy([], box_head(2, clip=False), 2, [block])
    x = (mean + deviation * rng().standard_normal((200, 2))).astype(np.float32)
    error = np.abs(run(policy, observation=x) - reference(policy, observation=x))
    assert operators(policy)[:3] == ["Sub", "Sub", "Div"]
    assert error.max() < 1e-5
    naive = np.clip((x - mean.astype(np.float32)) / deviation.astype(np.float32), -10, 10)
    assert np.abs(naive - reference(policy, observation=x)).max() > 1e-3


def test_float64_observations_lose_only_what_float32_cannot_hold():
    mean, deviation = np.array([1000.0]), np.array([0.5])
    policy = vector_policy([], box_head(1, clip=False), 1, [Normalize(mean, deviation**2, 0.0, True, None)])
    wide = mean + deviation * rng().standard_normal((100, 1))
    expected = (wide - mean) / deviation
    found = run(policy, observation=wide.astype(np.float32))
    assert np.abs(found - expected).max() <= np.spacing(np.float32(1002.0)) / 2 / 0.5 * 1.001


def test_a_clip_at_infinity_is_no_clip():
    block = Normalize(np.ones(2), np.ones(2), 0.0, True, (-np.inf, np.inf))
    policy = vector_policy([], box_head(2, clip=False), 2, [block])
    assert operators(policy) == ["Sub", "Div", "Identity", "Identity"]
    assert make_golden(lower(policy), rows=16).rows == 16


def test_statistics_that_cannot_be_divided_by_are_refused():
    for variance in (np.zeros(2), np.array([1.0, np.nan]), np.array([1e-90, 1.0])):
        with pytest.raises(ModelError, match="normalizer"):
            lower(vector_policy([], box_head(2), 2, [Normalize(np.zeros(2), variance, 0.0, True, None)]))


def test_one_hot_of_a_value_outside_is_all_zeros():
    head = box_head(7, clip=False)
    spec = spec_of([box("observation", 2, dtype="int32")], head)
    policy = Policy(spec, Network({"observation": (OneHot((3, 4)),)}, (), head))
    x = np.array([[0, 3], [2, 0], [3, -1], [-1, 4]], np.int32)
    expected = [[1, 0, 0, 0, 0, 0, 1], [0, 0, 1, 1, 0, 0, 0], [0] * 7, [0] * 7]
    assert run(policy, observation=x).tolist() == expected


def test_images_are_cast_transposed_and_scaled_before_the_core():
    random = rng()
    conv = Conv(weights(random, 4, 3, 3, 3), weights(random, 4), (2, 2), (1, 1), (1, 1), 1)
    head = box_head(2, clip=False)
    encoder = (Transpose((2, 0, 1)), Normalize(np.zeros(()), np.array(255.0**2), 0.0, True, None), conv, Flatten())
    spec = spec_of([box("observation", 9, 7, 3, dtype="uint8")], head)
    policy = Policy(spec, Network({"observation": encoder}, (dense(random, 2, 4 * 5 * 4),), head))
    assert operators(policy) == ["Cast", "Transpose", "Div", "Conv", "Flatten", "Gemm", "Identity"]
    x = random.integers(0, 256, (4, 9, 7, 3)).astype(np.uint8)
    np.testing.assert_allclose(run(policy, observation=x), reference(policy, observation=x), atol=2e-6)


def test_grouped_and_dilated_convolutions_agree_with_their_definition():
    random = rng()
    conv = Conv(weights(random, 4, 2, 3, 2), None, (1, 2), (2, 1), (2, 1), 2)
    head = box_head(4 * 6 * 4, clip=False)
    spec = spec_of([box("observation", 4, 6, 6)], head)
    policy = Policy(spec, Network({"observation": ()}, (conv, Flatten()), head))
    x = random.standard_normal((1, 4, 6, 6)).astype(np.float32)
    padded = np.pad(x[0], ((0, 0), (2, 2), (1, 1))).astype(float)
    expected = np.zeros((4, 6, 4))
    for out, row, column in np.ndindex(4, 6, 4):
        for inner, i, j in np.ndindex(2, 3, 2):
            value = padded[out // 2 * 2 + inner, row + 2 * i, 2 * column + j]
            expected[out, row, column] += conv.weight[out, inner, i, j] * value
    np.testing.assert_allclose(run(policy, observation=x)[0], expected.ravel(), atol=1e-5)


def test_layer_norm_and_batch_norm_with_and_without_their_affine_maps():
    random = rng()
    for affine in (True, False):
        scale, bias = (weights(random, 6), weights(random, 6)) if affine else (None, None)
        blocks = [
            LayerNorm(6, 1e-5, scale, bias),
            BatchNorm(weights(random, 6), np.abs(weights(random, 6)), 1e-3, scale, bias),
        ]
        policy = vector_policy(blocks, box_head(6, clip=False), 6)
        x = observations(6)
        np.testing.assert_allclose(run(policy, observation=x), reference(policy, observation=x), rtol=1e-5, atol=1e-5)


def test_batch_norm_does_not_cancel_where_the_mean_is_large():
    block = BatchNorm(np.array([4096.0], np.float32), np.array([1e-4], np.float32), 1e-5, None, None)
    policy = vector_policy([block], box_head(1, clip=False), 1)
    x = np.array([[4096.0078125]], np.float32)
    np.testing.assert_allclose(run(policy, observation=x), reference(policy, observation=x), rtol=1e-5)


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_recurrent_cells_agree_with_their_definition_over_a_sequence(cell, layers):
    policy = memory_policy(cell, layers)
    x = observations(3, 30)
    np.testing.assert_allclose(run(policy, observation=x), reference(policy, observation=x), atol=2e-6)


def test_a_gru_that_resets_before_its_matrix_product_is_another_cell():
    policy = memory_policy("gru", linear_before_reset=False)
    block = policy.network.trunk[2]
    x = observations(3, 20)
    layer, h = block.layers[0], np.array(policy.spec.state[0].initial)
    first, head = policy.network.trunk[0], policy.network.trunk[3]
    expected = []
    for row in x:
        given = layer.weight_input @ np.tanh(first.weight @ row + first.bias) + layer.bias_input
        (r_x, z_x, n_x), (w_r, w_z, w_n) = np.split(given, 3), np.split(layer.weight_hidden, 3)
        b_r, b_z, b_n = np.split(layer.bias_hidden, 3)
        r, z = (1 / (1 + np.exp(-v)) for v in (r_x + w_r @ h + b_r, z_x + w_z @ h + b_z))
        h = (1 - z) * np.tanh(n_x + w_n @ (r * h) + b_n) + z * h
        expected.append(np.clip(head.weight @ h + head.bias, -1, 1))
    found = run(policy, observation=x)
    np.testing.assert_allclose(found, expected, atol=2e-6)
    assert np.abs(found - run(memory_policy("gru"), observation=x)).max() > 1e-3


def test_recurrent_cells_without_biases_are_lowered():
    block = recurrent(rng(), "lstm", 3, 4)
    bare = replace(block, layers=tuple(replace(layer, bias_input=None, bias_hidden=None) for layer in block.layers))
    policy = vector_policy([bare], box_head(4, clip=False), 3)
    x = observations(3)
    np.testing.assert_allclose(run(policy, observation=x), reference(policy, observation=x), atol=1e-6)


def test_two_inputs_are_joined_in_the_order_that_concat_says():
    random = rng()
    head = box_head(5, clip=False)
    spec = spec_of([box("observation.b", 3), box("observation.a", 2)], head)
    encoding = {"observation.a": (normalize(random, 2),), "observation.b": ()}
    policy = Policy(spec, Network(encoding, (Concat(("observation.a", "observation.b")),), head))
    a, b = observations(2), observations(3)
    found = run(policy, observation_a=a, observation_b=b)
    assert np.array_equal(found[:, 2:], b)
    assert [item.name for item in lower(policy).proto().graph.input] == ["observation.b", "observation.a"]


def test_different_bounds_per_channel_and_missing_ones_are_kept():
    inf = float("inf")
    head = ActionMap("continuous", (-2.0, -inf, 0.0), (2.0, 1.0, inf), clip=True)
    policy = vector_policy([], head, 3)
    x = np.array([[-5, -5, -5], [5, 5, 5]], np.float32)
    assert run(policy, observation=x).tolist() == [[-2, -5, 0], [2, 1, 5]]


@pytest.mark.parametrize("bounds", [((-1.0,), (1.0,)), ((-1.0, -2.0), (1.0, 2.0))])
def test_nan_is_never_clipped_into_a_valid_action(bounds):
    head = ActionMap("continuous", *bounds, clip=True)
    size = len(bounds[0])
    policy = vector_policy([], head, size)
    assert np.isnan(run(policy, observation=np.full((1, size), np.nan, np.float32))).all()


def test_unscaling_rounds_as_the_trainer_does():
    low, high = np.float32(-0.4), np.float32(1.7)
    policy = vector_policy([], box_head(1, float(low), float(high), clip=False, squash="tanh", unscale=True), 1)
    x = observations(1, 200, 2.0)
    half = np.float32(0.5)
    expected = low + (half * (np.tanh(x) + np.float32(1.0))) * (high - low)
    np.testing.assert_allclose(run(policy, observation=x), expected, atol=2.4e-7)


def test_unscaling_to_an_infinite_range_is_refused():
    with pytest.raises(ModelError, match="not finite"):
        lower(vector_policy([], box_head(1, high=float("inf"), clip=False, squash="tanh", unscale=True), 1))


@pytest.mark.parametrize(("head", "logits", "choice"), [
    (choice_head(3), [1.0, 2.0, 2.0], [1]),
    (choice_head(2, 3), [5.0, 5.0, 0.0, 7.0, 7.0], [0, 1]),
    (ActionMap("multi_binary", (0.0,) * 3, (1.0,) * 3), [0.0, 1e-3, -1.0], [0, 1, 0]),
])  # fmt: skip
def test_the_lowest_index_wins_ties_and_choices_are_int32(head, logits, choice):
    policy = vector_policy([], head, len(logits))
    found = run(policy, observation=np.array([logits], np.float32))
    assert found.dtype == np.int32
    assert found.tolist() == [choice]


def test_action_raw_is_what_the_network_says_before_the_head():
    policy = vector_policy([Dense(np.eye(2, dtype=np.float32) * 3, None)], box_head(2), 2, raw=True)
    model = lower(policy)
    assert [item.name for item in model.proto().graph.output] == ["action", "action.raw"]
    runner = OnnxRuntimeRunner(model.onnx, model.spec)
    runner.inputs["observation"][0] = [1.0, -0.1]
    runner.infer()
    np.testing.assert_allclose(runner.outputs["action.raw"], [[3.0, -0.3]])
    np.testing.assert_allclose(runner.outputs["action"], [[1.0, -0.3]])


def test_blocks_that_do_not_fit_each_other_are_refused_with_both_sizes():
    random = rng()
    head = box_head(2)
    cases = [
        (vector_policy([dense(random, 2, 4)], head, 3), "expects 4 features"),
        (vector_policy([dense(random, 3, 3)], head, 3), "head expects 2 features"),
        (vector_policy([LayerNorm(5, 1e-5, None, None)], head, 2), "over 5 features"),
        (vector_policy([], head, 2, [Normalize(np.zeros(3), np.ones(3), 0.0, True, None)]), "has the shape"),
        (vector_policy([recurrent(random, "gru", 4, 2)], head, 3), "expects 4 features"),
    ]
    for policy, message in cases:
        with pytest.raises(ModelError, match=message):
            lower(policy)


def test_a_spec_that_contradicts_its_network_is_refused():
    policy = mlp()
    with pytest.raises(ModelError, match="The head is continuous"):
        lower(Policy(spec_of([box("observation", 5)], box_head(2, -3.0)), policy.network))
    block = recurrent(rng(), "gru", 3, 2)
    with pytest.raises(ModelError, match=r"needs state\.memory\.h"):
        lower(Policy(spec_of([box("observation", 3)], box_head(2)), Network({}, (block,), box_head(2))))
    with pytest.raises(ModelError, match="No recurrent block uses"):
        lower(Policy(spec_of([box("observation", 2)], box_head(2), states_of(block)), Network({}, (), box_head(2))))
    with pytest.raises(ModelError, match=r"An encoder is for 'observation\.x'"):
        lower(Policy(policy.spec, Network({"observation.x": ()}, policy.network.trunk, policy.network.head)))
    with pytest.raises(ModelError, match="The head chooses among"):
        wrong = replace(choice_head(3), choices=(4,))
        lower(Policy(spec_of([box("observation", 4)], wrong), Network({}, (), wrong)))
    with pytest.raises(ModelError, match=r"action\.raw belongs to the continuous kind"):
        lower(vector_policy([], choice_head(3), 3, raw=True))


def test_inputs_that_nobody_joins_or_that_cannot_be_joined_are_refused():
    head = box_head(2)
    two = spec_of([box("observation.a", 1), box("observation.b", 1)], head)
    names = ("observation.a", "observation.b")
    with pytest.raises(ModelError, match="needs Concat"):
        lower(Policy(two, Network({}, (), head)))
    with pytest.raises(ModelError, match=r"Concat joins observation\.a; the spec's inputs are"):
        lower(Policy(two, Network({}, (Concat(names[:1]),), head)))
    image = spec_of([box("observation.a", 1, 1, 1), box("observation.b", 1)], head)
    with pytest.raises(ModelError, match="expected it flat"):
        lower(Policy(image, Network({}, (Concat(names),), head)))
    with pytest.raises(ModelError, match="Concat cannot stand here"):
        lower(vector_policy([Activation("relu"), Concat(("observation",))], box_head(2), 2))


def test_blocks_of_images_that_do_not_fit_are_refused():
    random, head = rng(), box_head(2)
    conv = Conv(weights(random, 4, 3, 9, 9), None, (1, 1), (0, 0), (1, 1), 1)
    cases = [
        (conv, "does not fit into an image"),
        (replace(conv, weight=weights(random, 4, 2, 3, 3)), "gets the shape"),
        (Transpose((0, 1)), "Transpose of the axes"),
        (OneHot((3,)), "One-hot of 1 elements gets 75"),
        (BatchNorm(weights(random, 4), np.ones(4, np.float32), 1e-3, None, None), "batch norm over 4"),
        (Activation("sine"), "Activation 'sine' is not known. Known: celu"),
    ]
    for block, message in cases:
        with pytest.raises(ModelError, match=message):
            lower(Policy(spec_of([box("observation", 3, 5, 5)], head), Network({"observation": (block,)}, (), head)))


def test_our_own_export_can_be_completed_later():
    model = lower(mlp())
    later = replace(model.spec, period_ns=20_000_000)
    completed = lower(Policy(later, OpaqueGraph(model.onnx)))
    assert completed.spec == later and completed.digest != model.digest
    assert completed.proto().graph == model.proto().graph
