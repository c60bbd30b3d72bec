"""A foreign graph is brought into edgerl's form by names and shapes alone, memory and raw actions included."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgerl.errors import ModelError
from edgerl.lowering.adopt import Wiring, adopt_graph
from edgerl.model import seal_model
from edgerl.oracle import run_oracle
from edgerl.policy import ActionMap
from edgerl.spec import StateTensor
from tests.policies import box, box_head, choice_head, spec_of

STATE = StateTensor("state.filter.h", (1, 1, 2), (0.5, -0.5))
WIRING = Wiring({"observation": "obs", "state.filter.h": "h_in"}, "act", {"state.filter.h": "h_out"})


def low_pass(dtype=TensorProto.FLOAT):
    """``h' = h / 2 + obs``, answered twice, with its memory as a plain vector and the constant in a node."""
    half = numpy_helper.from_array(np.float32(0.5), "half_value")
    nodes = [
        helper.make_node("Constant", [], ["half"], value=half),
        helper.make_node("Mul", ["h_in", "half"], ["kept"]),
        helper.make_node("Add", ["kept", "obs"], ["h_out"], doc_string="somebody's remark"),
        helper.make_node("Identity", ["h_out"], ["act"]),
    ]
    inputs = [("obs", dtype, [1, 2]), ("h_in", dtype, [1, 2])]
    outputs = [("act", dtype, [1, 2]), ("h_out", dtype, [1, 2])]
    graph = helper.make_graph(
        nodes, "filter", [helper.make_tensor_value_info(*item) for item in inputs],
        [helper.make_tensor_value_info(*item) for item in outputs],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def spec(head=None, *, raw=False, state=STATE, shape=(2,), dtype="float32"):
    head = head or box_head(2, clip=False)
    return spec_of([box("observation", *shape, dtype=dtype)], head, [] if state is None else [state], raw=raw)


def test_memory_and_raw_action_reach_the_contracts_tensors():
    made = spec(raw=True)
    model = seal_model(made, adopt_graph(low_pass(), made, WIRING, "it"), "it")
    rows = np.array([[1, 1], [0, 0], [0, 0]], np.float32)
    run = run_oracle(model, {"observation": rows}, np.array([True, False, True]))
    assert run.action.tolist() == [[1.25, 0.75], [0.625, 0.375], [0.25, -0.25]]
    assert run.state["state.filter.h"][:, 0, 0].tolist() == run.action.tolist()
    graph = model.proto().graph
    assert [item.name for item in graph.output] == ["action", "action.raw", "state.filter.h.next"]
    assert "Constant" not in [node.op_type for node in graph.node] and not any(node.doc_string for node in graph.node)


@pytest.mark.parametrize(("made", "wiring", "message"), [
    (spec(), Wiring({**WIRING.inputs, "observation": "x"}, "act", WIRING.next_state), r"no input 'x'\. Its inputs"),
    (spec(state=None), Wiring({"observation": "obs"}, "act", {}), "nothing in the spec feeds its input 'h_in'"),
    (spec(), Wiring(WIRING.inputs, "mu", WIRING.next_state), r"no output 'mu'\. Its outputs: act, h_out"),
    (spec(), Wiring(WIRING.inputs, "act", {"state.filter.h": "h"}), "no output 'h'"),
    (spec(shape=(3,)), WIRING, r"'obs' has the shape \(1, 2\); the spec's observation has \(1, 3\)"),
    (spec(dtype="uint8"), WIRING, "'obs' is float32; the spec's observation is uint8"),
    (spec(box_head(3)), WIRING, "needs float32 in 3 elements"),
    (spec(choice_head(3)), WIRING, "needs float32 in 3 elements"),
    (spec(ActionMap("multi_binary", (0.0,) * 3, (1.0,) * 3)), WIRING, "needs float32 in 3 elements"),
    (spec(state=StateTensor("state.filter.h", (1, 1, 3), (0.0,) * 3)), WIRING, r"has \(1, 1, 3\)"),
])  # fmt: skip
def test_what_does_not_belong_together_is_named_from_both_sides(made, wiring, message):
    with pytest.raises(ModelError, match=message):
        adopt_graph(low_pass(), made, wiring, "it")


def test_an_output_of_another_precision_is_refused():
    graph = low_pass()
    graph.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    with pytest.raises(ModelError, match="'act' is float16"):
        adopt_graph(graph, spec(), WIRING, "it")
