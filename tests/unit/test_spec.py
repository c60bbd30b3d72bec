"""A PolicySpec is checked once, keeps its numbers, and says what is missing."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgerl.errors import SchemaTooNew, SpecError
from edgerl.spec import (
    Action,
    History,
    Input,
    PolicySpec,
    Provenance,
    Robot,
    StateTensor,
    Term,
    load_spec,
    opaque_term,
    packed,
    save_spec,
)
from edgerl.spec_check import ALIGNMENT

JOINTS = ("hip", "knee")


def legged_spec() -> PolicySpec:
    """A two-joint robot with history, an operator term and a recurrent state."""
    history = History(3, "oldest_first", "term_major", "repeat")
    terms = (
        Term("q", 0, 6, "joint_position", "rad", None, JOINTS, (0.1, 0.2), (1.0, 1.0), (-3.0, 3.0), history),
        Term("command", 6, 9, "operator", "m/s", "base", (), None, (2.0, 2.0, 0.25), None, None),
    )
    return PolicySpec(
        schema=1,
        inputs=packed([Input("observation", (9,), "float32", 0, terms)]),
        action=Action(
            "continuous", JOINTS, "rad", "position", (-1.0, -1.0), (1.0, 1.0), False, True, (0.1, 0.2), (0.5, 0.5)
        ),
        robot=Robot(JOINTS, (0.1, 0.2), (20.0, 20.0), (0.5, 0.5), "drive", "wxyz", 4),
        period_ns=5_000_000,
        state=(StateTensor("state.lstm.h", (1, 1, 2), (0.0, 0.0)),),
        provenance=Provenance("rsl-rl", "5.5.1", "PPO", {"model.pt": "0" * 64}, {"activation": "elu"}, 7, ("a.b",)),
        sources={"inputs.observation": "config", "period_ns": "user"},
    )


def test_a_spec_reads_back_equal_and_its_text_is_stable():
    spec = legged_spec()
    text = save_spec(spec)
    assert load_spec(text, "it") == spec
    assert save_spec(load_spec(text, "it")) == text


@given(st.lists(st.tuples(st.floats(-1e30, 0), st.floats(0, 1e30)), min_size=1, max_size=5))
def test_action_limits_lose_no_bit(pairs):
    low, high = zip(*pairs, strict=True)
    action = Action("continuous", None, None, "opaque", low, high, True, False, None, None)
    spec = replace(legged_spec(), action=action)
    assert load_spec(save_spec(spec), "it").action == action


def test_a_complete_spec_has_no_unknowns():
    assert legged_spec().unknowns() == ()


def test_what_the_robot_needs_and_nobody_said_is_listed():
    spec = legged_spec()
    term = replace(spec.inputs[0].terms[0], joints=(), unit=None)
    unknown = replace(
        spec,
        period_ns=None,
        inputs=(replace(spec.inputs[0], terms=(term, spec.inputs[0].terms[1])),),
        action=replace(spec.action, unit=None, names=None),
    ).unknowns()
    assert [item.field for item in unknown] == [
        "period_s",
        "action.names",
        "action.unit",
        'terms."observation.q".joints',
        'terms."observation.q".unit',
    ]
    assert all(item.why and "=" in item.example for item in unknown)


def test_inputs_of_the_packed_record_start_on_cache_lines_and_do_not_overlap():
    inputs = packed(
        [
            Input("observation.image", (4, 5, 3), "uint8", 0, (opaque_term("image", 60),)),
            Input("observation.phase", (1,), "int32", 0, (opaque_term("phase", 1),)),
            Input("observation.q", (17,), "float32", 0, (opaque_term("q", 17),)),
        ]
    )
    assert [item.offset for item in inputs] == [0, 64, 128]
    spec = replace(legged_spec(), inputs=inputs, robot=replace(legged_spec().robot, joints=JOINTS))
    assert spec.record_size == 256
    assert spec.record_size % ALIGNMENT == 0
    assert spec.input("observation.phase").nbytes == 4


def test_an_unknown_input_name_lists_the_valid_ones():
    with pytest.raises(SpecError, match="Inputs: observation"):
        legged_spec().input("obs")


def _with_term(spec: PolicySpec, **changes) -> PolicySpec:
    term = replace(spec.inputs[0].terms[0], **changes)
    return replace(spec, inputs=(replace(spec.inputs[0], terms=(term, spec.inputs[0].terms[1])),))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: replace(s, inputs=()), "no input"),
        (lambda s: replace(s, inputs=s.inputs * 2), "given twice"),
        (lambda s: replace(s, inputs=(replace(s.inputs[0], name="obs"),)), "not called observation"),
        (lambda s: replace(s, inputs=(replace(s.inputs[0], offset=4),)), "multiple of 64"),
        (lambda s: replace(s, inputs=(replace(s.inputs[0], shape=(10,)),)), "cover 9 of its 10 elements"),
        (lambda s: replace(s, inputs=(replace(s.inputs[0], shape=(0,)),)), "axis without elements"),
        (lambda s: _with_term(s, start=1), "expected to start at 0"),
        (lambda s: _with_term(s, offset=(0.1,)), "1 values of offset for 2 elements"),
        (lambda s: _with_term(s, scale=(0.1,) * 3), "3 values of scale for 2 elements"),
        (lambda s: _with_term(s, joints=("hip",)), "1 joints for 2 elements"),
        (lambda s: _with_term(s, joints=("hip", "toe")), "'toe' is not a joint"),
        (lambda s: _with_term(s, clip=(1.0, 1.0)), "is empty"),
        (lambda s: _with_term(s, history=History(4, "oldest_first", "term_major", "zeros")), "history of 4"),
        (lambda s: replace(s, action=replace(s.action, low=(2.0, -1.0))), "channel 0: low 2.0 is not below"),
        (lambda s: replace(s, action=replace(s.action, low=(-1.0,))), "1 values of low and 2 of high"),
        (lambda s: replace(s, action=replace(s.action, names=("hip",))), "1 names for 2 channels"),
        (lambda s: replace(s, action=replace(s.action, names=("hip", "hip"))), "'hip' is given twice"),
        (lambda s: replace(s, robot=replace(s.robot, kp=(1.0,))), "robot.kp: 1 values for 2 joints"),
        (lambda s: replace(s, robot=replace(s.robot, policy_divider=0)), "policy_divider is 0"),
        (lambda s: replace(s, robot=replace(s.robot, joints=("hip", "hip"))), "joint 'hip' is given twice"),
        (lambda s: replace(s, state=(StateTensor("state.h", (1, 1, 2), (0.0,)),)), "1 initial values"),
        (lambda s: replace(s, period_ns=0), "period_ns is 0"),
        (lambda s: replace(s, sources={"colour": "user"}), "'colour', which is no field"),
    ],
)
def test_parts_that_contradict_each_other_are_refused(change, message):
    with pytest.raises(SpecError, match=message):
        change(legged_spec())


def test_a_newer_schema_is_refused_before_anything_else_is_read():
    plain = json.loads(save_spec(legged_spec()))
    plain["schema"] = 2
    plain["a field of the future"] = 1
    with pytest.raises(SchemaTooNew, match="schema 2; this edgerl reads up to 1"):
        load_spec(json.dumps(plain), "policy.onnx")


@pytest.mark.parametrize("schema", [0, -1, True, "1", None])
def test_a_schema_that_never_was_is_refused(schema):
    plain = json.loads(save_spec(legged_spec())) | {"schema": schema}
    with pytest.raises(SpecError):
        load_spec(json.dumps(plain), "policy.onnx")


@given(st.integers(0, 4000), st.binary(min_size=1, max_size=3))
def test_a_damaged_text_gives_a_spec_or_a_spec_error_and_nothing_else(position, new):
    text = bytearray(save_spec(legged_spec()).encode())
    position %= len(text)
    text[position : position + len(new)] = new
    with contextlib.suppress(SpecError):
        load_spec(bytes(text), "policy.onnx")
