"""Which channels a robot must have for a policy's terms, and what the guardian makes of their values."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from edgerl.errors import LoopError
from edgerl.runtime import core, structs
from edgerl.runtime.assembly import assemble
from edgerl.runtime.enums import Attitude
from edgerl.runtime.layout import layout_of
from edgerl.runtime.observation_config import apply_terms
from edgerl.spec import SCHEMA, Action, History, Input, PolicySpec, Provenance, Robot, Term, opaque_term, packed
from tests.core_world import small_config

JOINTS = ("hip", "knee", "ankle")
STACK = History(3, "oldest_first", "step_major", "repeat")
TALL = History(2, "oldest_first", "term_major", "zeros")


def term(name: str, source: Any, count: int, **fields: Any) -> Term:
    """Return a term of ``count`` elements a tick; its place is given later."""
    values: dict[str, Any] = {
        "unit": None, "frame": None, "joints": (), "offset": None, "scale": None, "clip": None, "history": None,
    }  # fmt: skip
    values.update(fields)
    history = values["history"]
    return Term(name=name, start=0, stop=count * (history.length if history else 1), source=source, **values)


def spec_of(*terms: Term, order: Any = None, dtype: Any = "float32", inputs: tuple[Input, ...] = ()) -> PolicySpec:
    placed, at = [], 0
    for one in terms:
        placed.append(dataclasses.replace(one, start=at, stop=at + one.size))
        at += one.size
    own = (Input("observation", (at,), dtype, 0, tuple(placed)),) if terms else ()
    action = Action(
        "continuous", ("knee", "hip"), "rad", "position", (-1.0, -1.0), (1.0, 1.0), True, False, None, None
    )  # fmt: skip
    robot = Robot(JOINTS, None, None, None, "drive", order, 1)
    provenance = Provenance("test", None, None, {}, {}, None, ())
    return PolicySpec(SCHEMA, packed((*own, *inputs)), action, robot, 20_000_000, (), provenance, {})


def names(spec: PolicySpec) -> list[str]:
    return [channel.name for channel in layout_of(spec).state]


def config_of(spec: PolicySpec) -> structs.Config:
    config = small_config(action_count=2)
    apply_terms(config, spec)
    config.operator_timeout_ns = 1
    for index in range(config.operator_count):
        config.operators[index] = structs.OperatorChannel(-1e9, 1e9, 0.0, 0)
    core.check_config(config)
    return config


WALKER = spec_of(
    term("omega", "imu.gyro", 3, unit="rad/s", scale=(0.25, 0.25, 0.25)),
    term("gravity", "imu.gravity", 3, unit="1"),
    term("command", "operator", 2, unit="m/s", scale=(2.0, 0.5)),
    term("q", "joint_position", 2, unit="rad", joints=("knee", "hip"), offset=(0.5, -0.25), clip=(-1.0, 1.0)),
    term("dq", "joint_velocity", 3, unit="rad/s", joints=("ankle", "hip", "knee"), scale=(0.05, 0.05, 0.05)),
    term("last", "last_action_raw", 2),
    term("phase", "phase", 2),
    order="wxyz",
)


def test_channels_stand_in_the_robots_order_whatever_order_the_terms_have():
    assert names(WALKER) == [
        "q[hip]", "q[knee]", "dq[hip]", "dq[knee]", "dq[ankle]", "imu.gyro.x", "imu.gyro.y", "imu.gyro.z",
        "imu.quat.w", "imu.quat.x", "imu.quat.y", "imu.quat.z", "phase[0]", "phase[1]",
    ]  # fmt: skip
    units = {channel.name: channel.unit for channel in layout_of(WALKER).state}
    assert (units["q[hip]"], units["dq[hip]"], units["imu.quat.w"], units["phase[0]"]) == ("rad", "rad/s", "1", "1")


def test_each_value_gets_to_its_place():
    state = np.array([[1, 2, 10, 20, 30, 4, 8, 12, 1, 0, 0, 0, 0.5, -0.5]], np.float32)
    options = {"operators": np.array([[3, 4]], np.float32), "raws": np.array([[7, 9]], np.float32)}
    states = np.repeat(state, 2, axis=0)
    both = {name: np.repeat(array, 2, axis=0) for name, array in options.items()}
    found = assemble(config_of(WALKER), states, **both)
    values = found.records.view(np.float32)[1, :17].tolist()
    scaled = [np.float32(value) * np.float32(0.05) for value in (30, 10, 20)]
    assert values == [1, 2, 3, 0, 0, -1, 6, 2, 1.0, 1.0, *scaled, 7, 9, 0.5, -0.5]


@pytest.mark.parametrize(
    ("order", "kind", "first"),
    [
        ("wxyz", Attitude.WXYZ, "imu.quat.w"),
        ("xyzw", Attitude.XYZW, "imu.quat.x"),
        (None, Attitude.GRAVITY, "imu.gravity.x"),
    ],
)
def test_the_attitude_comes_as_the_spec_says(order, kind, first):
    spec = spec_of(term("p", "phase", 1), term("g", "imu.gravity", 3), order=order)
    config = config_of(spec)
    assert names(spec)[0] == first
    assert (config.attitude, config.attitude_channel) == (kind, 0)
    assert names(spec)[-1] == "p[0]"


def test_without_gravity_there_is_no_attitude():
    config = config_of(spec_of(term("p", "phase", 1), order="wxyz"))
    assert (config.attitude, config.operator_count, config.raw_count) == (Attitude.NONE, 0, 0)


def test_step_major_terms_of_one_length_share_a_stack():
    spec = spec_of(
        term("a", "external", 2, history=STACK), term("b", "external", 1, history=STACK),
        term("c", "external", 1, history=TALL), term("d", "external", 1),
    )  # fmt: skip
    config = config_of(spec)
    rows = [
        (one.first, one.count, one.offset, one.history, one.stride, one.repeat)
        for one in config.terms[: config.term_count]
    ]
    assert rows == [(0, 2, 0, 3, 12, 1), (2, 1, 8, 3, 12, 1), (3, 1, 36, 2, 4, 0), (4, 1, 44, 1, 4, 0)]
    states = np.array([[10 * row + column for column in range(5)] for row in range(1, 4)], np.float32)
    found = assemble(config, states)
    assert found.records.view(np.float32)[2, :12].tolist() == [10, 11, 12, 20, 21, 22, 30, 31, 32, 23, 33, 34]


def test_opaque_and_structured_terms_go_together():
    spec = spec_of(opaque_term("rest", 2, unit="m"), term("q", "joint_position", 1, unit="rad", joints=("knee",)))
    assert names(spec) == ["q[knee]", "observation[0]", "observation[1]"]
    found = assemble(config_of(spec), np.array([[1, 2, 3]], np.float32))
    assert found.records.view(np.float32)[0, :3].tolist() == [2, 3, 1]


def test_terms_of_one_name_in_two_inputs_are_told_apart():
    other = Input("observation.critic", (1,), "float32", 0, (term("p", "external", 1),))
    spec = spec_of(term("p", "external", 1), inputs=(other,))
    assert names(spec) == ["observation.p[0]", "observation.critic.p[0]"]


def test_the_last_action_may_be_observed_by_joint():
    spec = spec_of(term("last", "last_action_raw", 1, joints=("hip",)), term("p", "phase", 1))
    found = assemble(config_of(spec), np.zeros((2, 1), np.float32), raws=np.array([[7, 9], [7, 9]], np.float32))
    assert found.records.view(np.float32)[1, 0] == 9


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ([term("q", "joint_position", 2, unit="rad")], r"'q' of observation has 2 elements and names 0 joints"),
        (
            [
                term("q", "joint_position", 1, unit="rad", joints=("hip",)),
                term("r", "joint_position", 1, unit="deg", joints=("hip",)),
            ],
            r"'q\[hip\]' is wanted in 'rad' and, by term 'r' of observation, in 'deg'",
        ),
        ([term("w", "imu.gyro", 2)], r"'w' of observation has 2 elements; its source 'imu\.gyro' has 3"),
        ([term("g", "imu.gravity", 4)], r"'g' of observation has 4 elements; its source 'imu\.gravity' has 3"),
        ([term("o", "opaque", 2, scale=(2.0, 2.0))], r"'o' of observation has the source 'opaque' and a transform"),
        ([term("o", "opaque", 2, history=TALL)], r"the source 'opaque' and a transform"),
        ([term("l", "last_action_raw", 3)], r"'l' of observation has 3 elements; its source 'last_action_raw' has 2"),
        (
            [term("l", "last_action_raw", 1, joints=("ankle",))],
            r"last action of joint 'ankle', which is not among the action's: knee, hip",
        ),
        ([term(f"t{i}", "operator", 1) for i in range(17)], r"17 operator values; the guardian has memory for 16"),
        (
            [term(f"t{i}", "external", 1, history=TALL) for i in range(65)],
            r"65 observation terms; the guardian has memory for 64",
        ),
    ],
)
def test_what_cannot_be_assembled_is_refused_with_its_reason(terms, message):
    with pytest.raises(LoopError, match=message):
        spec = spec_of(*terms)
        layout_of(spec)
        apply_terms(core.new_config(), spec)


@pytest.mark.parametrize("dtype", ["uint8", "int32"])
def test_histories_are_of_float32(dtype):
    spec = spec_of(term("x", "external", 1, history=TALL), dtype=dtype)
    with pytest.raises(LoopError, match=f"'x' of observation keeps a history of {dtype}"):
        apply_terms(core.new_config(), spec)
