"""Blocks and spaces from inert records: what is taken, what is refused, and that nothing is left unnoticed."""

from __future__ import annotations

import numpy as np
import pytest

from edgerl.errors import DamagedCheckpoint, UnsupportedPolicy
from edgerl.importers.layers import Weights, activation_of, lstm, sequential
from edgerl.importers.shapes import shape_after
from edgerl.importers.spaces import MultiBinary, MultiDiscrete, describe_space, read_space
from edgerl.policy import Activation, BatchNorm, Concat, Conv, Dense, Flatten, LayerNorm, OneHot, Transpose
from edgerl.untrusted.foreign import Foreign, Malformed

RELU = Activation("relu")


def weights(**shapes) -> Weights:
    return Weights({name.replace("__", "."): np.ones(shape, np.float32) for name, shape in shapes.items()}, "a.pth")


def torch_class(name: str) -> Foreign:
    return Foreign("torch.nn.modules.activation", name)


def partial(function, *positional, **keywords) -> Foreign:
    return Foreign("functools", "partial", (function,), state=(function, positional, keywords, None))


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (None, RELU),
        (torch_class("ELU"), Activation("elu", 1.0)),
        (torch_class("Hardtanh"), Activation("hard_tanh")),
        (partial(torch_class("LeakyReLU"), negative_slope=0.2), Activation("leaky_relu", 0.2)),
        (partial(torch_class("CELU"), alpha=2, inplace=True), Activation("celu", 2.0)),
        (partial(torch_class("GELU"), approximate="tanh"), Activation("gelu_tanh")),
        (partial(torch_class("GELU"), approximate="none"), Activation("gelu")),
    ],
)
def test_activations_of_torch_are_known_with_their_parameters(record, expected):
    assert activation_of(record, RELU, "a.zip") == expected


@pytest.mark.parametrize(
    "record",
    [
        "relu",
        Foreign("my.nets", "ReLU"),
        torch_class("PReLU"),
        Foreign("torch.nn.modules.activation", "ReLU", args=()),
        partial(torch_class("ReLU"), 1),
        partial(torch_class("Hardtanh"), min_val=-2.0),
        partial(torch_class("ELU"), alpha="a"),
        partial(torch_class("GELU"), approximate="other"),
        partial(Foreign("my.nets", "Square")),
    ],
)
def test_any_other_function_is_refused(record):
    with pytest.raises(UnsupportedPolicy, match=r"the activation is .*activations of torch\.nn"):
        activation_of(record, RELU, "a.zip")


def test_a_tensor_is_taken_as_float32_and_read_only():
    found = Weights({"a": np.ones((2, 3), np.float16).T}, "a.pth").take("a", 2)
    assert found.dtype == np.float32 and found.flags.c_contiguous and not found.flags.writeable


@pytest.mark.parametrize(
    ("tensor", "error", "message"),
    [
        (np.ones(2), UnsupportedPolicy, "type float64"),
        (np.ones((2, 2), np.float32), DamagedCheckpoint, "expected 1 axes"),
        (np.array([1, np.nan], np.float32), DamagedCheckpoint, "not finite"),
        (np.array([1, np.inf], np.float32), DamagedCheckpoint, "not finite"),
        ([1.0], DamagedCheckpoint, "no tensor 'a'"),
    ],
)
def test_a_tensor_that_cannot_act_is_refused(tensor, error, message):
    with pytest.raises(error, match=message):
        Weights({"a": tensor}, "a.pth").take("a", 1)


def test_what_nobody_took_is_reported():
    found = weights(a__weight=(2, 3), b__weight=(2,), critic__weight=(2,))
    found.take("a.weight", 2)
    assert found.left_over(("critic.",)) == ("b.weight",)


def test_a_sequence_has_its_activations_in_the_gaps():
    found = weights(net__0__weight=(4, 3), net__0__bias=(4,), net__2__weight=(2, 4))
    kinds = [type(block) for block in sequential(found, "net", RELU, output=True)]
    assert kinds == [Dense, Activation, Dense]
    assert sequential(found, "net", RELU, output=False)[-1] == RELU
    assert sequential(weights(), "net", RELU, output=False) == []


@pytest.mark.parametrize(
    "names", [("net__1__weight",), ("net__0__weight", "net__3__weight"), ("net__" + "9" * 5000 + "__weight",), ()]
)
def test_a_sequence_with_unknown_layers_is_refused(names):
    found = weights(**dict.fromkeys(names, (2, 2)))
    with pytest.raises(UnsupportedPolicy, match=r"has no layer|does not end in a linear layer"):
        sequential(found, "net", RELU, output=True)


@pytest.mark.parametrize("extra", ["rnn__weight_ih_l0_reverse", "rnn__weight_hr_l0"])
def test_recurrent_layers_of_another_kind_are_refused(extra):
    found = weights(rnn__weight_ih_l0=(8, 3), rnn__weight_hh_l0=(8, 2), **{extra: (8, 3)})
    with pytest.raises(UnsupportedPolicy, match="bidirectional or projects"):
        lstm(found, "rnn", "lstm")
    with pytest.raises(DamagedCheckpoint, match="no layers"):
        lstm(weights(), "rnn", "lstm")


ONES = np.ones(4, np.float32)


@pytest.mark.parametrize(
    ("block", "shape", "expected"),
    [
        (RELU, (3,), (3,)),
        (Concat(("a", "b")), (3,), (3,)),
        (Flatten(), (2, 3), (6,)),
        (Transpose((2, 0, 1)), (5, 6, 3), (3, 5, 6)),
        (OneHot((2, 3)), (2,), (5,)),
        (LayerNorm(4, 1e-5, None, None), (4,), (4,)),
        (BatchNorm(ONES, ONES, 1e-3, ONES, ONES), (4,), (4,)),
        (Dense(np.ones((2, 4), np.float32), None), (4,), (2,)),
        (Conv(np.ones((5, 2, 3, 4), np.float32), None, (2, 1), (1, 0), (1, 2), 2), (4, 9, 9), (5, 5, 3)),
    ],
)
def test_each_block_changes_the_shape_as_it_should(block, shape, expected):
    assert shape_after(block, shape) == expected


@pytest.mark.parametrize(
    ("block", "shape"),
    [
        (Transpose((2, 0, 1)), (5, 6)),
        (OneHot((2, 3)), (3,)),
        (LayerNorm(4, 1e-5, None, None), (5,)),
        (BatchNorm(ONES, ONES, 1e-3, ONES[:3], None), (4,)),
        (Dense(np.ones((2, 4), np.float32), ONES), (4,)),
        (Dense(np.ones((2, 4), np.float32), None), (2, 2)),
        (Conv(np.ones((5, 2, 8, 8), np.float32), None, (1, 1), (0, 0), (1, 1), 1), (2, 7, 9)),
    ],
)
def test_a_block_that_does_not_fit_is_found(block, shape):
    with pytest.raises(Malformed, match=r"does not take features of shape \("):
        shape_after(block, shape)


def space(kind: str, package: str = "gymnasium", **parts) -> Foreign:
    return Foreign(f"{package}.spaces.{kind.lower()}", kind, args=(), state=parts)


def test_spaces_of_gym_and_gymnasium_are_read():
    low, high = np.zeros(2, np.float32), np.array([1, np.inf], np.float32)
    box = read_space(space("Box", "gym", dtype=np.dtype("f4"), shape=(2,), low=low, high=high), "space", "a.zip")
    assert describe_space(box) == "Box(0, [1, inf], (2,), float32)"
    named = space("Box", dtype=Foreign("numpy", "float32"), _shape=(2,), low=np.float32(0), high=np.float32(1))
    assert describe_space(read_space(named, "space", "a.zip")) == "Box(0, 1, (2,), float32)"
    assert read_space(space("MultiBinary", n=3), "space", "a.zip") == MultiBinary((3,))
    assert read_space(space("MultiBinary", n=(2, 3)), "space", "a.zip") == MultiBinary((2, 3))
    found = read_space(space("MultiDiscrete", nvec=np.array([2, 3])), "space", "a.zip")
    assert found == MultiDiscrete((2, 3), (2,), (0, 0))
    assert (
        describe_space(read_space(space("Discrete", n=np.int64(4), start=1), "space", "a.zip"))
        == "Discrete(4, start=1)"
    )


@pytest.mark.parametrize(
    "record",
    [
        None,
        space("Box", "mygym", dtype=np.dtype("f4"), shape=(2,), low=0, high=1),
        space("Box", dtype=np.dtype("f4"), shape=None, low=0, high=1),
        space("Box", dtype=np.dtype("f4"), shape=(2,), low=np.ones(3), high=np.ones(3)),
        space("Box", dtype=np.dtype("f4"), shape=(2,), low=np.ones(2), high=np.zeros(2)),
        space("Box", dtype=np.dtype("f4"), shape=(2,), low=np.array(["a", "b"]), high=np.ones(2)),
        space("Box", dtype="no type", shape=(2,), low=np.zeros(2), high=np.ones(2)),
        space("Box", dtype=np.dtype("f4"), shape=(1 << 20, 1 << 20), low=np.zeros(1), high=np.ones(1)),
        space("Discrete", n=0),
        space("Discrete", n="4"),
        space("Discrete"),
        space("MultiDiscrete", nvec=np.array([2, 0])),
        space("MultiBinary", n=1 << 40),
        space("Tuple", spaces=()),
        space("Dict", spaces={}),
        space("Dict", spaces={"a": space("Dict", spaces={"b": space("Discrete", n=2)})}),
        Foreign("gymnasium.spaces.discrete", "Discrete"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused(record):
    with pytest.raises(UnsupportedPolicy, match=r"the space ('a' )?is "):
        read_space(record, "space", "a.zip")


@pytest.mark.parametrize(
    ("name", "key", "parts"),
    [
        ("MultiDiscrete", "nvec", {}),
        ("MultiBinary", "n", {}),
        ("Box", "low", {"dtype": np.dtype("f4"), "_shape": (2,), "high": np.ones(2)}),
    ],
)
def test_lists_that_hold_one_list_a_million_times_are_refused_at_once(name, key, parts):
    lists: list[object] = [2] * 100
    for _ in range(5):  # 10^12 numbers, from 600 references
        lists = [lists] * 100
    with pytest.raises(UnsupportedPolicy, match="makes no sense"):
        read_space(space(name, **{key: lists}, **parts), "space", "a.zip")


def test_a_shape_alone_cannot_fill_the_memory():
    record = space("Box", dtype=np.dtype("f4"), _shape=(1 << 25,), low=np.float32(0), high=np.float32(1))
    with pytest.raises(UnsupportedPolicy, match="makes no sense"):
        read_space(record, "space", "a.zip")
