"""Canonical JSON keeps every bit and refuses everything that its dataclasses do not say."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgerl import canonical
from edgerl.errors import SpecError


@dataclass(frozen=True)
class Inner:
    values: tuple[float, ...]
    pair: tuple[float, float] | None
    kind: Literal["a", "b"]


@dataclass(frozen=True)
class Outer:
    name: str
    count: int
    flag: bool
    inner: Inner
    table: Mapping[str, str]


def _outer(values=(1.0, -0.0), pair=None, name="n", table=None):
    return Outer(name, 3, True, Inner(tuple(values), pair, "a"), table or {})


@given(
    values=st.lists(st.floats(allow_nan=False), max_size=8),
    pair=st.none() | st.tuples(st.floats(allow_nan=False), st.floats(allow_nan=False)),
    name=st.text(),
    table=st.dictionaries(st.text(), st.text(), max_size=4),
)
def test_every_value_reads_back_bit_for_bit(values, pair, name, table):
    value = _outer(values, pair, name, table)
    back = canonical.loads(Outer, canonical.dumps(value).encode("utf-8", "surrogatepass"), "it")
    assert back == value
    assert [math.copysign(1, x) for x in back.inner.values] == [math.copysign(1, x) for x in values]


@given(st.floats(width=32, allow_nan=False))
def test_a_float32_keeps_its_bits(value):
    assert canonical.loads(Outer, canonical.dumps(_outer([value])), "it").inner.values == (value,)


def test_the_same_value_is_the_same_text_whatever_the_hash_seed():
    code = (
        "from edgerl import canonical; import sys;"
        "sys.stdout.write(canonical.dumps({k: {j: 1.5 for j in 'zyx'} for k in 'qwertyuiop'}))"
    )
    texts = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }  # fmt: skip
    assert len(texts) == 1
    assert texts.pop().startswith('{"e":{"x":1.5,"y":1.5,"z":1.5},"i"')


def test_nan_cannot_be_written():
    with pytest.raises(SpecError, match="NaN"):
        canonical.dumps(_outer([math.nan]))


def test_infinities_are_words():
    assert '"values":["inf","-inf"]' in canonical.dumps(_outer([math.inf, -math.inf]))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"count":3', '"count":3,"other":1', "unknown key 'other'. Known keys: count, flag, inner, name, table"),
        ('"count":3,', "", "key 'count' is missing"),
        ('"count":3', '"count":3.0', "it: count: expected an integer, found 3.0"),
        ('"count":3', '"count":true', "expected an integer, found True"),
        ('"count":3', '"count":9223372036854775808', "beyond 64 bits"),
        ('"flag":true', '"flag":1', "expected true or false"),
        ('"kind":"a"', '"kind":"c"', "it: inner: kind: 'c' is not one of a, b"),
        ('"values":[1.0,-0.0]', '"values":[1.0,"NaN"]', r"it: inner: values\[1\]: expected a number"),
        ('"values":[1.0,-0.0]', '"values":[NaN]', "NaN is not JSON"),
        ('"values":[1.0,-0.0]', '"values":[1e999]', "expected a number"),
        ('"values":[1.0,-0.0]', '"values":{"a":1}', "expected a list"),
        ('"pair":null', '"pair":[1.0]', "expected 2 values, found 1"),
        ('"name":"n"', '"name":3', "expected text, found 3"),
        ('"name":"n"', '"name":"n","name":"m"', "given twice"),
        ('"table":{}', '"table":[]', "expected an object"),
    ],
)
def test_a_document_of_another_form_is_refused_with_its_place(old, new, message):
    text = canonical.dumps(_outer())
    assert old in text
    with pytest.raises(SpecError, match=message):
        canonical.loads(Outer, text.replace(old, new), "it")


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"[" * 40 + b"]" * 40, b"3", b"null"])
def test_bytes_that_are_no_document_are_refused(text):
    with pytest.raises(SpecError):
        canonical.loads(Outer, text, "it")


@given(st.binary(max_size=200))
def test_random_bytes_raise_nothing_but_a_spec_error(text):
    with pytest.raises(SpecError):
        canonical.loads(Outer, text, "it")


@dataclass(frozen=True)
class Old:
    name: str


@dataclass(frozen=True)
class Grown:
    name: str
    clock: str = canonical.added("grid")
    share: float = canonical.added(0.0)
    inner: Inner | None = canonical.added(None)


def test_a_field_that_was_added_leaves_what_was_written_before_as_it_is():
    old = canonical.dumps(Old("n"))
    assert canonical.loads(Grown, old, "it") == Grown("n", "grid", 0.0, None)
    assert canonical.dumps(Grown("n")) == old
    assert canonical.digest(Grown("n")) == canonical.digest(Old("n"))


@pytest.mark.parametrize("value", [Grown("n", "robot"), Grown("n", share=-0.0), Grown("n", inner=Inner((), None, "b"))])
def test_an_added_field_that_says_something_is_kept(value):
    text = canonical.dumps(value)
    assert text != canonical.dumps(Old("n"))
    assert repr(canonical.loads(Grown, text, "it")) == repr(value)


def test_an_added_field_has_no_second_way_to_say_its_default():
    with pytest.raises(SpecError, match="it: key 'clock' holds its default and must be left out"):
        canonical.loads(Grown, '{"clock":"grid","name":"n"}', "it")
