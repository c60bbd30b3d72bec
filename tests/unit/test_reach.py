"""What a graph says about the values that it takes, and that a graph which says nothing is no error."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgerl.golden.reach import reach_of
from edgerl.lowering import lower
from edgerl.lowering.adopt import Wiring, adopt_graph
from edgerl.model import seal_model
from edgerl.policy import Network, Normalize, OneHot, Policy
from tests.policies import box, box_head, mlp, spec_of


def reach_of_nodes(nodes, constants, shape=(2,), size=2):
    """What is found behind an input of ``shape`` in a foreign graph that ends in ``y``, shape (1, size)."""
    graph = helper.make_graph(
        nodes,
        "foreign",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, *shape])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, size])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    spec = spec_of([box("observation", *shape)], box_head(size, clip=False))
    wrapped = adopt_graph(proto, spec, Wiring({"observation": "x"}, "y", {}), "it")
    model = seal_model(spec, wrapped, "it")
    return reach_of(model, spec.inputs[0])


def node(op, *names, **attributes):
    return helper.make_node(op, list(names[:-1]), [names[-1]], **attributes)


F = np.float32


def test_the_normalizer_of_a_policy_is_found_to_the_bit():
    policy = mlp()
    block = policy.network.encoders["observation"][0]
    reach = reach_of(lower(policy), policy.spec.inputs[0])
    np.testing.assert_array_equal(reach.centre, block.mean.astype(F))
    np.testing.assert_array_equal(reach.spread, block.divisor.astype(F))
    assert reach.clip == (-10.0, 10.0) and reach.choices is None


def test_a_mean_in_two_parts_is_added_up():
    mean = np.array([123456.7891])
    head = box_head(1, clip=False)
    encoder = (Normalize(mean, np.ones(1) * 0.01, 0.0, True, None),)
    policy = Policy(spec_of([box("observation", 1)], head), Network({"observation": encoder}, (), head))
    assert reach_of(lower(policy), policy.spec.inputs[0]).centre == pytest.approx(mean, abs=1e-9)


@pytest.mark.parametrize(("choices", "smallest"), [((4,), 4), ((3, 5), 3), ((5, 2, 4), 2), ((1, 4), 1)])
def test_one_hot_encodings_tell_their_choices(choices, smallest):
    head = box_head(sum(choices), clip=False)
    spec = spec_of([box("observation", len(choices), dtype="int32")], head)
    policy = Policy(spec, Network({"observation": (OneHot(choices),)}, (), head))
    assert reach_of(lower(policy), spec.inputs[0]).choices == smallest


def test_scale_before_shift_is_understood():
    nodes = [node("Div", "x", "s", "a"), node("Sub", "a", "m", "y")]
    reach = reach_of_nodes(nodes, {"s": F(4.0), "m": np.array([1.0, 2.0], F)})
    assert reach.centre.tolist() == [4.0, 8.0] and reach.spread.tolist() == [4.0, 4.0]


def test_statistics_per_channel_are_spread_over_a_transposed_image():
    nodes = [
        node("Transpose", "x", "t", perm=[0, 3, 1, 2]),
        node("Sub", "t", "m", "c"),
        node("Flatten", "c", "y"),
    ]
    reach = reach_of_nodes(nodes, {"m": np.array([1.0, 2.0], F).reshape(1, 2, 1, 1)}, (3, 4, 2), 24)
    assert (reach.centre == [1.0, 2.0]).all() and reach.centre.shape == (3, 4, 2)


NOTHING = ([0.0, 0.0], [1.0, 1.0])


@pytest.mark.parametrize(("nodes", "constants"), [
    ([node("Sub", "m", "x", "y")], {"m": np.array([5.0, 6.0], F)}),
    ([node("Div", "x", "s", "y")], {"s": np.array([0.0, 1.0], F)}),
    ([node("Div", "x", "s", "y")], {"s": np.array([-2.0, 1.0], F)}),
    ([node("Sub", "x", "m", "y")], {"m": np.array([np.inf, 0.0], F)}),
    ([node("Mul", "x", "m", "y")], {"m": F(3.0)}),
    ([node("Clip", "x", "l", "h", "y")], {"l": F(-np.inf), "h": F(np.inf)}),
    ([node("Clip", "x", "l", "h", "y")], {"l": F(2), "h": F(1)}),
    ([node("Sub", "x", "x", "y")], {}),
    ([node("Relu", "x", "a"), node("Tanh", "x", "b"), node("Add", "a", "b", "y")], {}),
    ([node("Reshape", "x", "shape", "r"), node("Transpose", "r", "t", perm=[2, 1, 0]),
      node("Reshape", "t", "back", "y")],
     {"shape": np.array([1, 1, 2]), "back": np.array([1, 2])}),
    ([node("Reshape", "x", "shape", "r"), node("Transpose", "r", "t"), node("Reshape", "t", "back", "y")],
     {"shape": np.array([1, 2]), "back": np.array([1, 2])}),
])  # fmt: skip
def test_what_is_not_understood_ends_the_way(nodes, constants):
    reach = reach_of_nodes(nodes, constants)
    assert (reach.centre.tolist(), reach.spread.tolist()) == NOTHING
    assert reach.clip is None and reach.choices is None


def test_nothing_behind_a_clip_is_taken_for_a_normalizer():
    nodes = [node("Clip", "x", "l", "h", "c"), node("Sub", "c", "m", "y")]
    reach = reach_of_nodes(nodes, {"l": F(-1), "h": F(2), "m": F(7)})
    assert reach.clip == (-1.0, 2.0) and (reach.centre.tolist(), reach.spread.tolist()) == NOTHING
