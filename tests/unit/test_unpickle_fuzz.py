"""The restricted unpickler under random values and damaged pickles: what Python reads, or one of our errors."""

from __future__ import annotations

import collections
import os
import pickle
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgerl.errors import EdgerlError
from edgerl.untrusted.foreign import Foreign
from tests.unit.test_unpickle import PROTOCOLS, SMALL, Calls, Colour, Plain, read

SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=20)
    | st.binary(max_size=20)
)  # fmt: skip
KEYS = st.none() | st.booleans() | st.integers(-(2**50), 2**50) | st.text(max_size=5) | st.binary(max_size=5)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4) | st.tuples(inner, inner),
    max_leaves=20,
)
SEEDS = [
    pickle.dumps(value, protocol)
    for protocol in (0, 2, 4, 5)
    for value in (
        {"a": [1, 2.5, ("x", b"y")], "b": {1, 2}},
        [np.arange(6.0).reshape(2, 3), np.float32(1)],
        [Plain(), Colour.RED, collections.deque([1]), collections.OrderedDict(a=1), Calls(os.getcwd)],
    )
]


@given(VALUES, st.sampled_from(PROTOCOLS))
@settings(max_examples=150, deadline=None)
def test_plain_values_are_read_as_python_reads_them(value, protocol):
    assert read(pickle.dumps(value, protocol)) == value


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_random_bytes_raise_nothing_but_our_errors(data):
    _fuzz_once(data)


@st.composite
def mutated(draw) -> bytes:
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(data) - 1))
        kind = draw(st.integers(0, 2))
        if kind == 0:
            data[at] = draw(st.integers(0, 255))
        elif kind == 1:
            del data[at : at + draw(st.integers(1, 5))]
            data = data or bytearray(b".")
        else:
            data[at:at] = draw(st.binary(min_size=1, max_size=4))
    return bytes(data)


@given(mutated())
@settings(max_examples=400, deadline=None)
def test_mutated_pickles_raise_nothing_but_our_errors(data):
    _fuzz_once(data)


@pytest.mark.slow
@given(mutated())
@settings(max_examples=30_000, deadline=None)
def test_many_mutated_pickles_raise_nothing_but_our_errors(data):
    _fuzz_once(data)


def _fuzz_once(data: bytes) -> None:
    begin = time.monotonic()
    try:
        value = read(data, SMALL)
    except EdgerlError as error:
        assert str(error)
    else:
        assert repr(value) if isinstance(value, Foreign) else True
    assert time.monotonic() - begin < 2
