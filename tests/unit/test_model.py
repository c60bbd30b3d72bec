"""A model holds its spec, is written whole, and is refused where it is not what edgerl writes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from edgerl.errors import DynamicShape, EdgerlError, ModelError, OutputError, SchemaTooNew, UnsupportedModel
from edgerl.graph import MAX_BYTES, parse_onnx
from edgerl.lowering import lower
from edgerl.model import PolicyModel, load_model, read_model, save_model, seal_model
from edgerl.spec import METADATA_KEY, save_spec
from tests.policies import choice_head, memory_policy, mlp

MODEL = lower(mlp())


def changed(change) -> bytes:
    proto = MODEL.proto()
    change(proto)
    return proto.SerializeToString()


@pytest.mark.parametrize("policy", [mlp(), memory_policy(), mlp(head=choice_head(3, 2))])
def test_a_saved_model_reads_back_equal_with_its_spec(policy, tmp_path):
    model = lower(policy)
    save_model(model, tmp_path / "policy.onnx")
    loaded = load_model(tmp_path / "policy.onnx")
    assert loaded == model and loaded.spec == policy.spec and loaded.digest == model.digest
    assert [item.key for item in loaded.proto().metadata_props] == [METADATA_KEY]


def test_numbers_in_the_metadata_lose_no_bits(tmp_path):
    policy = mlp()
    awkward = tuple(float(np.nextafter(0.1, 1, dtype=np.float64)) for _ in policy.spec.action.low)
    spec = replace(policy.spec, action=replace(policy.spec.action, offset=awkward, scale=(1e-300, 1 / 3)))
    save_model(lower(replace(policy, spec=spec)), tmp_path / "policy.onnx")
    assert load_model(tmp_path / "policy.onnx").spec.action == spec.action


def test_the_file_is_self_contained_and_static_in_opset_17():
    proto = MODEL.proto()
    assert [(item.domain, item.version) for item in proto.opset_import] == [("", 17)]
    assert proto.ir_version == 8 and not proto.doc_string and not proto.producer_version
    for item in (*proto.graph.input, *proto.graph.output):
        assert all(axis.dim_value > 0 for axis in item.type.tensor_type.shape.dim)


def test_a_failing_write_leaves_the_old_model(tmp_path):
    path = tmp_path / "policy.onnx"
    save_model(MODEL, path)
    with pytest.raises(OutputError):
        save_model(MODEL, tmp_path / "nowhere" / "policy.onnx")
    assert load_model(path) == MODEL
    assert [item.name for item in tmp_path.iterdir()] == ["policy.onnx"]


@pytest.mark.parametrize("data", [b"", b"not onnx", b"\x08\x08", MODEL.onnx[: len(MODEL.onnx) // 2]])
def test_what_is_no_onnx_model_is_refused(data, tmp_path):
    path = tmp_path / "x.onnx"
    path.write_bytes(data)
    with pytest.raises(ModelError, match=r"x\.onnx"):
        load_model(path)


def test_a_missing_and_an_enormous_file_are_refused(tmp_path):
    with pytest.raises(ModelError, match="could not be read"):
        load_model(tmp_path / "none.onnx")
    with (tmp_path / "huge.onnx").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(ModelError, match="larger than"):
        load_model(tmp_path / "huge.onnx")


def test_a_model_without_a_spec_is_told_how_to_be_adopted():
    with pytest.raises(ModelError, match="--spec"):
        read_model(changed(lambda proto: proto.ClearField("metadata_props")), "x.onnx")


def test_two_specs_and_a_newer_spec_are_refused():
    def twice(proto):
        proto.metadata_props.add().CopyFrom(proto.metadata_props[0])

    with pytest.raises(ModelError, match="duplicate keys in metadata"):
        read_model(changed(twice), "x.onnx")

    def newer(proto):
        proto.metadata_props[0].value = proto.metadata_props[0].value.replace('"schema":1', '"schema":2')

    with pytest.raises(SchemaTooNew):
        read_model(changed(newer), "x.onnx")


def _external(proto):
    tensor = proto.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    tensor.ClearField("raw_data")


def _dynamic(proto):
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"


def _opset(proto):
    proto.opset_import[0].version = 18


def _domain(proto):
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def _custom_operator(proto):
    proto.graph.node[0].domain = "com.microsoft"


def _function(proto):
    proto.functions.append(onnx.FunctionProto(name="f"))


def _branch(proto):
    body = helper.make_graph([], "body", [], [])
    proto.graph.node.append(helper.make_node("If", ["c"], ["y"], then_branch=body, else_branch=body))


@pytest.mark.parametrize(("change", "error", "message"), [
    (_external, UnsupportedModel, "outside the file"),
    (_dynamic, DynamicShape, "batch"),
    (_opset, UnsupportedModel, "opset 18"),
    (_domain, UnsupportedModel, "com.microsoft"),
    (_custom_operator, UnsupportedModel, "com.microsoft"),
    (_function, UnsupportedModel, "functions"),
    (_branch, UnsupportedModel, "subgraph"),
])  # fmt: skip
def test_what_cannot_run_everywhere_is_refused(change, error, message):
    with pytest.raises(error, match=message):
        read_model(changed(change), "x.onnx")


def test_a_graph_that_contradicts_its_spec_is_refused():
    other = lower(mlp(size=7))
    with pytest.raises(ModelError, match="its spec says"):
        seal_model(other.spec, MODEL.proto(), "x.onnx")
    with pytest.raises(ModelError, match="the outputs are"):
        seal_model(lower(mlp(channels=3)).spec, MODEL.proto(), "x.onnx")


def test_a_missing_boundary_is_refused():
    def cut(proto):
        for node in proto.graph.node:
            for names in (node.input, node.output):
                for index, name in enumerate(names):
                    names[index] = name.replace("core.in.", "core.inn.")
        del proto.graph.value_info[:]

    with pytest.raises(ModelError, match=r"'core\.in\.observation' is missing"):
        read_model(changed(cut), "x.onnx")


def test_a_graph_with_a_wrong_shape_inside_is_refused():
    def wrong(proto):
        proto.graph.initializer[0].dims[0] = 4

    with pytest.raises(ModelError):
        read_model(changed(wrong), "x.onnx")


def test_a_constant_node_with_external_data_is_refused():
    def outside(proto):
        value = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
        proto.graph.node.insert(0, helper.make_node("Constant", [], ["w"], value=value))

    with pytest.raises(UnsupportedModel, match="outside the file"):
        parse_onnx(changed(outside), "x.onnx")


def test_equal_models_are_equal_and_others_are_not():
    assert PolicyModel(MODEL.spec, MODEL.onnx) == MODEL
    assert lower(mlp(seed=1)) != MODEL
    assert save_spec(MODEL.spec) in MODEL.onnx.decode("latin-1")


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(MODEL.onnx) - 1), st.integers(0, 255), st.integers(0, 3))
def test_a_changed_byte_gives_another_model_or_one_of_our_errors(position, value, cut):
    data = bytearray(MODEL.onnx)
    data[position] = value
    data = bytes(data[: len(data) - cut * 97])
    try:
        model = read_model(data, "x.onnx")
    except EdgerlError:
        return
    assert model.onnx == data
