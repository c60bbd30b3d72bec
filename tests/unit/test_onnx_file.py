"""ONNX files: edgerl's own are taken as they are, others are adopted when their facts are known, or refused."""

from __future__ import annotations

import re

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgerl.errors import DynamicShape, EdgerlError, MissingFacts, ModelError, UnsupportedModel
from edgerl.export import checkpoint_template, export_checkpoint, export_policy
from edgerl.importers import describe_checkpoint, detect_trainer, read_checkpoint
from edgerl.lowering import lower
from edgerl.model import save_model
from edgerl.oracle import run_oracle
from tests.policies import memory_policy, mlp, rng, weights

CONTINUOUS = '[action]\nkind = "continuous"\nlow = [-1, -1]\nhigh = [1, 1]\n'
W, B = weights(rng(), 2, 5), weights(rng(1), 2)


def graph(nodes, inputs, outputs, constants=(), opset=17, **options):
    made = helper.make_graph(
        nodes,
        "somebody",
        [helper.make_tensor_value_info(*item) for item in inputs],
        [helper.make_tensor_value_info(*item) for item in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants],
    )
    imports = [helper.make_opsetid("", opset)]
    return helper.make_model(made, opset_imports=imports, ir_version=8, producer_name="somebody", **options)


def linear(batch=1, opset=17, **options):
    """``tanh(W x + b)`` under names of its own, with an output that nobody asked for."""
    nodes = [
        helper.make_node("Gemm", ["obs", "w", "b"], ["pre"], transB=1, name="layer"),
        helper.make_node("Tanh", ["pre"], ["actions"], name="squash"),
        helper.make_node("Exp", ["pre"], ["value"], name="critic"),
    ]
    outputs = [("actions", TensorProto.FLOAT, [batch, 2])]
    if options.pop("critic", False):
        outputs.append(("value", TensorProto.FLOAT, [batch, 2]))
    return graph(nodes, [("obs", TensorProto.FLOAT, [batch, 5])], outputs, [("w", W), ("b", B)], opset, **options)


@pytest.fixture
def adopt(tmp_path):
    def read(model, facts=CONTINUOUS):
        path, toml = tmp_path / "theirs.onnx", tmp_path / "extra.toml"
        path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
        toml.write_text(facts)
        return read_checkpoint(path, spec=toml)

    return read


def act(policy, **inputs):
    model = lower(policy)
    rows = {name.replace("_", ".", 1): array for name, array in inputs.items()}
    return run_oracle(model, rows, np.ones(len(next(iter(rows.values()))), bool)).action


X = rng(2).standard_normal((6, 5)).astype(np.float32)


@pytest.mark.parametrize("policy", [mlp(), memory_policy()])
def test_our_own_export_is_taken_byte_for_byte(policy, tmp_path):
    model = lower(policy)
    save_model(model, tmp_path / "policy.onnx")
    assert detect_trainer(tmp_path / "policy.onnx") == "onnx"
    assert export_policy(read_checkpoint(tmp_path / "policy.onnx")).model == model


def test_a_foreign_graph_becomes_the_core_and_keeps_its_numbers(adopt):
    policy = adopt(linear())
    np.testing.assert_array_equal(act(policy, observation=X).shape, (6, 2))
    np.testing.assert_allclose(act(policy, observation=X), np.tanh(X @ W.T + B), atol=1e-6)
    nodes = lower(policy).proto().graph.node
    assert [(node.op_type, node.name.split("/")[0]) for node in nodes] == [
        ("Identity", "pre"), ("Gemm", "core"), ("Tanh", "core"), ("Identity", "post"),
    ]  # fmt: skip
    assert policy.spec.provenance.digests.keys() == {"theirs.onnx"}
    assert policy.spec.sources["action"] == "user"


def test_what_the_graph_does_not_say_is_asked_for_by_name(adopt):
    with pytest.raises(MissingFacts, match=r"action\.kind(.|\n)*action\.low(.|\n)*action\.high"):
        adopt(linear(), "")
    with pytest.raises(MissingFacts, match=r"graph\.action: it has 2 outputs \(actions, value\)"):
        adopt(linear(critic=True))


def test_one_of_several_outputs_is_named_and_the_others_are_left_out(adopt):
    policy = adopt(linear(critic=True), '[graph]\naction = "actions"\n' + CONTINUOUS)
    assert "Exp" not in [node.op_type for node in lower(policy).proto().graph.node]
    with pytest.raises(ModelError, match=r"no output 'mu'\. Its outputs: actions, value"):
        adopt(linear(critic=True), '[graph]\naction = "mu"\n' + CONTINUOUS)


def test_a_symbolic_batch_is_fixed_to_one_and_noted(adopt):
    policy = adopt(linear("batch"))
    assert "(batch) was fixed to 1" in policy.spec.provenance.configuration["batch"]
    np.testing.assert_allclose(act(policy, observation=X), np.tanh(X @ W.T + B), atol=1e-6)


def test_any_other_symbolic_axis_is_refused(adopt):
    model = linear()
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "features"
    with pytest.raises(DynamicShape, match=r"\(1, features\)"):
        adopt(model)
    nodes = [helper.make_node("Relu", ["obs"], ["actions"])]
    free = graph(nodes, [("obs", TensorProto.FLOAT, [1, "n"])], [("actions", TensorProto.FLOAT, [1, "n"])])
    with pytest.raises(DynamicShape, match=r"'obs' has the shape \(1, n\)"):
        adopt(free)


@pytest.mark.parametrize("opset", [9, 13, 18, 19])
def test_other_opsets_are_converted_and_compared(adopt, opset):
    policy = adopt(linear(opset=opset))
    assert f"converted from {opset}" in policy.spec.provenance.configuration["opset"]
    np.testing.assert_allclose(act(policy, observation=X), np.tanh(X @ W.T + B), atol=1e-6)
    assert lower(policy).proto().opset_import[0].version == 17


def test_an_opset_that_cannot_be_converted_is_refused(adopt):
    with pytest.raises(UnsupportedModel, match="opset 6"):
        adopt(linear(opset=6))
    nodes = [helper.make_node("Gelu", ["obs"], ["actions"])]
    later = graph(nodes, [("obs", TensorProto.FLOAT, [1, 2])], [("actions", TensorProto.FLOAT, [1, 2])], opset=20)
    with pytest.raises(UnsupportedModel, match=r"opset 20, which .*opset_version=17"):
        adopt(later)


def test_external_data_custom_operators_and_control_flow_are_refused(adopt):
    outside = linear()
    tensor = outside.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="policy.onnx.data")
    tensor.ClearField("raw_data")
    with pytest.raises(UnsupportedModel, match=r"outside the file.*external_data=False"):
        adopt(outside)
    custom = linear()
    custom.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    with pytest.raises(UnsupportedModel, match=r"ai\.onnx\.ml"):
        adopt(custom)
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])
    body = helper.make_graph([helper.make_node("Identity", ["actions"], ["y"])], "body", [], [result])
    looped = linear()
    looped.graph.node.append(helper.make_node("If", ["c"], ["z"], then_branch=body, else_branch=body))
    with pytest.raises(UnsupportedModel, match="If with a subgraph"):
        adopt(looped)


def test_logits_are_chosen_from_and_indices_are_cast(adopt):
    nodes = [helper.make_node("Gemm", ["obs", "w"], ["logits"], transB=1)]
    weight = weights(rng(), 5, 5)
    ins = [("obs", TensorProto.FLOAT, [1, 5])]
    model = graph(nodes, ins, [("logits", TensorProto.FLOAT, [1, 5])], [("w", weight)])
    single = adopt(model, '[action]\nkind = "discrete"\nlow = [0]\nhigh = [4]\n')
    assert act(single, observation=X).ravel().tolist() == (X @ weight.T).argmax(axis=1).tolist()
    multi = adopt(model, '[action]\nkind = "multi_discrete"\nlow = [0, 0]\nhigh = [1, 2]\n')
    logits = X @ weight.T
    assert (
        act(multi, observation=X).tolist() == np.stack([logits[:, :2].argmax(1), logits[:, 2:].argmax(1)], 1).tolist()
    )
    binary = adopt(model, '[action]\nkind = "multi_binary"\nlow = [0, 0, 0, 0, 0]\nhigh = [1, 1, 1, 1, 1]\n')
    assert act(binary, observation=X).tolist() == (logits > 0).astype(int).tolist()
    picking = [*nodes, helper.make_node("ArgMax", ["logits"], ["choice"], axis=1, keepdims=0)]
    indices = graph(picking, ins, [("choice", TensorProto.INT64, [1])], [("w", weight)])
    chosen = adopt(indices, '[action]\nkind = "discrete"\nlow = [0]\nhigh = [4]\n')
    assert np.array_equal(act(chosen, observation=X), act(single, observation=X))


def test_several_inputs_become_named_observations_with_their_dtypes(adopt):
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["pixels"], ["flat"]),
        helper.make_node("Cast", ["phase"], ["number"], to=TensorProto.FLOAT),
        helper.make_node("Concat", ["flat", "number"], ["actions"], axis=1),
    ]
    inputs = [("image", TensorProto.UINT8, [1, 2, 2, 1]), ("phase", TensorProto.INT64, [1, 1])]
    model = graph(nodes, inputs, [("actions", TensorProto.FLOAT, [1, 5])])
    facts = '[action]\nkind = "continuous"\nlow = [0, 0, 0, 0, 0]\nhigh = [inf, inf, inf, inf, inf]\n'
    policy = adopt(model, facts)
    assert [(item.name, item.dtype, item.shape) for item in policy.spec.inputs] == [
        ("observation.image", "uint8", (2, 2, 1)), ("observation.phase", "int32", (1,)),
    ]  # fmt: skip
    image, phase = np.arange(4, dtype=np.uint8).reshape(1, 2, 2, 1), np.array([[7]], np.int32)
    assert act(policy, observation_image=image, observation_phase=phase).tolist() == [[0, 1, 2, 3, 7]]


def test_inputs_whose_short_names_are_the_same_keep_their_own(adopt):
    nodes = [helper.make_node("Concat", ["obs.a", "observation.a"], ["actions"], axis=1)]
    inputs = [("obs.a", TensorProto.FLOAT, [1, 1]), ("observation.a", TensorProto.FLOAT, [1, 1])]
    policy = adopt(graph(nodes, inputs, [("actions", TensorProto.FLOAT, [1, 2])]))
    assert [item.name for item in policy.spec.inputs] == ["observation.obs.a", "observation.observation.a"]


def passing(op, dtype, shape, **attributes):
    """A graph of one operator, from ``obs`` to ``a``."""
    nodes = [helper.make_node(op, ["obs"], ["a"], **attributes)]
    return graph(nodes, [("obs", dtype, shape)], [("a", TensorProto.FLOAT, shape)])


@pytest.mark.parametrize(("model", "message"), [
    (passing("Cast", TensorProto.DOUBLE, [1, 2], to=TensorProto.FLOAT), "is float64"),
    (passing("Relu", TensorProto.FLOAT, [2]), "first axis of 1"),
    (passing("Relu", TensorProto.FLOAT, [1, 3]), "needs float32 in 2 elements"),
])  # fmt: skip
def test_inputs_and_outputs_of_another_form_are_refused(adopt, model, message):
    with pytest.raises(ModelError, match=message):
        adopt(model)


def test_a_normalizer_inside_a_foreign_graph_is_found_by_the_golden_set(adopt):
    nodes = [
        helper.make_node("Sub", ["obs", "mean"], ["c"]),
        helper.make_node("Div", ["c", "std"], ["n"]),
        helper.make_node("Clip", ["n", "low", "high"], ["actions"]),
    ]
    constants = [("mean", np.array([[100.0, -50.0]], np.float32)), ("std", np.array([10.0, 2.0], np.float32)),
                 ("low", np.float32(-3.0)), ("high", np.float32(3.0))]  # fmt: skip
    ins, outs = [("obs", TensorProto.FLOAT, [1, 2])], [("actions", TensorProto.FLOAT, [1, 2])]
    golden = export_policy(adopt(graph(nodes, ins, outs, constants))).golden
    seen = golden.inputs["observation"]
    assert (seen.max(axis=0) >= [135.9, -42.9]).all() and (seen.min(axis=0) <= [64.1, -57.1]).all()
    assert (np.abs(seen - [100, -50]).max(axis=0) < [60, 12]).all()


def test_a_graph_can_be_described_before_its_facts_are_known(tmp_path):
    (tmp_path / "theirs.onnx").write_bytes(linear("batch", critic=True).SerializeToString())
    description = describe_checkpoint(tmp_path / "theirs.onnx")
    assert "somebody" in description.trainer and "obs float32 (batch, 5)" in description.spaces["observation"]
    save_model(lower(mlp()), tmp_path / "ours.onnx")
    assert describe_checkpoint(tmp_path / "ours.onnx").trainer == "by hand"


def test_a_file_that_is_no_onnx_is_refused(tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"\x80\x04nothing")
    for read in (read_checkpoint, describe_checkpoint):
        with pytest.raises(ModelError, match=r"x\.onnx: not an ONNX model"):
            read(tmp_path / "x.onnx")


def test_onnx_itself_agrees_that_adopted_models_are_valid(adopt):
    onnx.checker.check_model(lower(adopt(linear())).proto(), full_check=True)


def test_the_template_of_a_graph_asks_for_its_facts_and_works_once_filled_in(tmp_path):
    path, toml = tmp_path / "theirs.onnx", tmp_path / "extra.toml"
    path.write_bytes(linear(critic=True).SerializeToString())
    text = checkpoint_template(path)
    assert "obs float32 (1, 5)" in text and "value float32 (1, 2)" in text
    toml.write_text(re.sub(r'# (kind|low|high|action) = ("\w+"|\[[^]]*\])', r"\1 = \2", text))
    export = export_checkpoint(path, spec=toml)
    assert export.model.spec.action.low == (-1.0, -1.0) and export.certificate.parity.status == "not_run"


SEEDS = (linear().SerializeToString(), linear("batch", opset=13).SerializeToString())


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(SEEDS), st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=3))
def test_a_damaged_foreign_graph_is_adopted_or_refused_with_one_of_our_errors(tmp_path, seed, changes):
    data = bytearray(seed)
    for position, value in changes:
        data[position % len(data)] = value
    (tmp_path / "theirs.onnx").write_bytes(data)
    (tmp_path / "extra.toml").write_text(CONTINUOUS)
    try:
        describe_checkpoint(tmp_path / "theirs.onnx")
        lower(read_checkpoint(tmp_path / "theirs.onnx", spec=tmp_path / "extra.toml"))
    except EdgerlError:
        assert bytes(data) != seed
