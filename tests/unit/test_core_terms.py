"""The values and terms of an observation, one by one: moved, scaled, clipped, and brought to their input's type."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgerl.runtime import structs
from edgerl.runtime.assembly import assemble
from edgerl.runtime.enums import MAX_OBSERVATION_BYTES, Dtype, ElementSource
from tests.core_world import small_config

INF, NAN = math.inf, math.nan
F32 = np.float32
STATE = ElementSource.STATE
NUMPY = {Dtype.FLOAT32: np.float32, Dtype.INT32: np.int32, Dtype.UINT8: np.uint8}


def config_of(elements: list[tuple[int, float, float, float, float]], terms: list[structs.Term]) -> structs.Config:
    """Return a configuration of three state channels that observes this of them."""
    config = small_config(element_count=len(elements), term_count=len(terms))
    for index, element in enumerate(elements):
        config.elements[index] = structs.Element(STATE, *element)
    for index, term in enumerate(terms):
        config.terms[index] = term
    return config


def plain(channel: int) -> tuple[int, float, float, float, float]:
    """Return what makes an element of a state channel as it is."""
    return channel, 0.0, 1.0, -INF, INF


def one_value(value: float, dtype: Dtype, **element: float) -> np.ndarray | None:
    """Return what the record holds of one value of the state; None where it cannot be made."""
    numbers = {"offset": 0.0, "scale": 1.0, "low": -INF, "high": INF, **element}
    config = config_of([(0, *numbers.values())], [structs.Term(0, 1, dtype, 0, 1, 0, 0, 0)])
    found = assemble(config, np.array([[value, 0, 0]], F32))
    width = NUMPY[dtype]().itemsize
    assert not found.records[0][width:].any()
    return found.records[0][:width].view(NUMPY[dtype])[0] if found.made[0] else None


@pytest.mark.parametrize(
    ("value", "expected"), [(1.0, -4.5), (1.75, -1.5), (2.0, -0.5), (2.5, 1.5), (-9.0, -4.5), (3.0, 2.5), (9.0, 2.5)]
)
def test_a_value_is_moved_then_scaled_then_clipped(value, expected):
    assert one_value(value, Dtype.FLOAT32, offset=2.125, scale=4.0, low=-4.5, high=2.5) == expected


@pytest.mark.parametrize(("low", "high", "zero"), [(0.0, 1.0, -0.0), (-1.0, -0.0, 0.0), (0.5, 0.5, 0.5)])
def test_a_value_at_its_limit_is_left_as_it_is(low, high, zero):
    found = one_value(zero, Dtype.FLOAT32, low=low, high=high)
    assert found is not None
    assert found.tobytes() == F32(zero).tobytes()


@pytest.mark.parametrize(
    ("dtype", "value", "expected"),
    [
        (Dtype.INT32, -(2.0**31), -(2**31)),
        (Dtype.INT32, -(2.0**31) - 256, None),
        (Dtype.INT32, 2.0**31 - 128, 2**31 - 128),
        (Dtype.INT32, 2.0**31, None),
        (Dtype.INT32, -70000.5, -70000),
        (Dtype.UINT8, 0.0, 0),
        (Dtype.UINT8, -0.5, 0),
        (Dtype.UINT8, -0.75, None),
        (Dtype.UINT8, 255.0, 255),
        (Dtype.UINT8, 255.25, 255),
        (Dtype.UINT8, 255.5, None),
        (Dtype.UINT8, 200.5, 200),
        (Dtype.FLOAT32, INF, None),
        (Dtype.FLOAT32, -3.0e38, F32(-3.0e38)),
    ],
)
def test_a_value_is_rounded_to_the_nearest_that_its_type_can_hold_or_there_is_no_record(dtype, value, expected):
    assert one_value(value, dtype) == expected


def test_bytes_lie_side_by_side_wherever_they_begin():
    terms = [structs.Term(0, 1, Dtype.UINT8, 0, 1, 0, 0, 0), structs.Term(1, 2, Dtype.UINT8, 1, 1, 0, 0, 0)]
    found = assemble(config_of([plain(0), plain(1), plain(2)], terms), np.array([[7, 8, 9]], F32))
    assert found.records[0][:4].tolist() == [7, 8, 9, 0]


def test_what_is_not_in_use_has_no_say():
    terms = [structs.Term(0, 1, Dtype.UINT8, 0, 1, 0, 0, 0), structs.Term(1, 1, Dtype.FLOAT32, 4, 1, 0, 0, 0)]
    config = config_of([plain(0), plain(1)], terms)
    config.elements[2] = structs.Element(9, 0, NAN, 1.0, 1.0, -1.0)
    config.terms[2] = structs.Term(0, 9, Dtype.UINT8, 0, 1, 0, 0, 0)
    found = assemble(config, np.array([[7, 300, 0]], F32))
    assert found.made.tolist() == [True]
    config.elements[2] = structs.Element(STATE, *plain(0))
    config.terms[2] = structs.Term(1, 1, Dtype.UINT8, 8, 1, 0, 0, 0)
    found = assemble(config, np.array([[7, 300, 0]], F32))
    assert (found.made.tolist(), found.records[0][:1].tolist()) == ([True], [7])


def test_a_record_with_no_room_left_is_made_to_its_last_byte():
    count = MAX_OBSERVATION_BYTES // 16
    config = config_of([plain(index % 2) for index in range(count)], [structs.Term(0, count, 0, 0, 4, 4 * count, 0, 0)])
    config.observation_bytes = MAX_OBSERVATION_BYTES
    rows = np.arange(1, 19, dtype=F32).reshape(6, 3)
    found = assemble(config, rows)
    expected = [row[:2].tolist() * (count // 2) for row in rows[2:]]
    assert found.records[-1].view(F32).reshape(4, count).tolist() == expected
