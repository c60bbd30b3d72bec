"""The observation that the guardian assembles, against one that numpy makes from the same program of terms."""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgerl.errors import GuardianError, LoopError
from edgerl.runtime import core, structs
from edgerl.runtime.assembly import assemble
from edgerl.runtime.enums import Attitude, Dtype, ElementSource, Result
from tests.core_world import small_config

INF = math.inf
F32 = np.float32
STATE, GRAVITY, OPERATOR, RAW = ElementSource
NUMPY = {Dtype.FLOAT32: np.float32, Dtype.INT32: np.int32, Dtype.UINT8: np.uint8}
RANGE = {Dtype.INT32: (-(2.0**31), 2.0**31 - 1), Dtype.UINT8: (0.0, 255.0)}


@dataclass(frozen=True)
class Program:
    """Elements and terms, and how many values of each source there are."""

    elements: list[tuple[ElementSource, int, float, float, float, float]]
    terms: list[structs.Term]
    states: int
    operators: int
    raws: int
    attitude: Attitude
    size: int


def config_of(program: Program) -> structs.Config:
    config = small_config(
        state_count=program.states,
        operator_count=program.operators,
        operator_timeout_ns=1,
        raw_count=program.raws,
        element_count=len(program.elements),
        term_count=len(program.terms),
        observation_bytes=program.size,
        attitude=program.attitude,
        attitude_channel=program.states - (3 if program.attitude == Attitude.GRAVITY else 4) if program.attitude else 0,
    )
    for index in range(program.states):
        config.states[index] = structs.StateChannel(-INF, INF, -INF, INF, 0, 0)
    for index in range(program.operators):
        config.operators[index] = structs.OperatorChannel(-1e9, 1e9, 0.0, 0)
    for index, element in enumerate(program.elements):
        config.elements[index] = structs.Element(*element)
    for index, term in enumerate(program.terms):
        config.terms[index] = term
    return config


def program(*elements: tuple[ElementSource, int], **changed: object) -> Program:
    """Return one float32 term of plain elements."""
    rows = [(source, index, 0.0, 1.0, -INF, INF) for source, index in elements]
    values = {
        "elements": rows,
        "terms": [structs.Term(0, len(rows), Dtype.FLOAT32, 0, 1, 0, 0, 0)],
        "states": 4,
        "operators": 2,
        "raws": 2,
        "attitude": Attitude.NONE,
        "size": 64,
    }
    return Program(**{**values, **changed})


def gravity_of(attitude: Attitude, state: np.ndarray) -> np.ndarray | None:
    """Rotate the world's (0, 0, -1) into the body with a matrix; None where there is no direction."""
    if attitude == Attitude.NONE:
        return np.zeros(3, F32)
    if attitude == Attitude.GRAVITY:
        vector = state[-3:]
        norm = np.sum(vector.astype(np.float64) ** 2)
        return vector if 0.96 <= norm <= 1.04 else None
    q = state[-4:].astype(np.float64)
    w, x, y, z = q if attitude == Attitude.WXYZ else np.roll(q, 1)
    norm = w * w + x * x + y * y + z * z
    if not 0.96 <= norm <= 1.04:
        return None
    third_row = np.array([2 * (x * z - w * y), 2 * (y * z + w * x), w * w - x * x - y * y + z * z]) / norm
    return (-third_row).astype(F32)


def reference(given: Program, states, operators, raws, reset) -> tuple[np.ndarray, np.ndarray]:
    """Keep every tick's values and lay the records out anew from them, term by term."""
    past: list[list[np.ndarray]] = [[] for _ in given.terms]
    record, records, made, restart = np.zeros(given.size, np.uint8), [], [], True
    for state, operator, raw, begins in zip(states, operators, raws, reset, strict=True):
        restart |= bool(begins)
        gravity = gravity_of(given.attitude, state)
        sources = {STATE: state, GRAVITY: gravity, OPERATOR: operator, RAW: np.zeros_like(raw) if restart else raw}
        new = None if gravity is None else [values_of(given, term, sources) for term in given.terms]
        whole = new is not None and all(value is not None for value in new)
        made.append(whole)
        if whole:
            for term, values, ticks in zip(given.terms, new, past, strict=True):
                if restart:
                    ticks[:] = [values if term.repeat else np.zeros_like(values)] * (term.history - 1)
                ticks.append(values)
                for age, tick in enumerate(ticks[-term.history :]):
                    at = term.offset + age * term.stride
                    record[at : at + tick.nbytes] = tick.view(np.uint8)
            restart = False
        records.append(record.copy())
    return np.array(records), np.array(made)


def values_of(given: Program, term: structs.Term, sources: dict[ElementSource, np.ndarray]) -> np.ndarray | None:
    values = []
    for source, index, offset, scale, low, high in given.elements[term.first : term.first + term.count]:
        with np.errstate(all="ignore"):
            value = (sources[source][index] - F32(offset)) * F32(scale)
        values.append(min(max(value, F32(low)), F32(high)) if not np.isnan(value) else value)
    array = np.array(values, F32)
    if term.dtype == Dtype.FLOAT32:
        return array if np.isfinite(array).all() else None
    whole = np.rint(array.astype(np.float64))
    low, high = RANGE[Dtype(term.dtype)]
    if not ((whole >= low) & (whole <= high)).all():
        return None
    return whole.astype(NUMPY[Dtype(term.dtype)])


numbers = st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-1e6, max_value=1e6)
small = st.floats(width=32, min_value=-4, max_value=300)
anything = st.one_of(numbers, small, st.floats(width=32))


@st.composite
def programs(draw: st.DrawFn) -> Program:
    attitude = draw(st.sampled_from(Attitude))
    states = draw(st.integers(4, 9))
    operators, raws = draw(st.integers(0, 3)), draw(st.integers(0, 3))
    valid = [(STATE, i) for i in range(states)] + [(OPERATOR, i) for i in range(operators)]
    valid += [(RAW, i) for i in range(raws)] + [(GRAVITY, i) for i in range(3) if attitude]
    clips = st.one_of(st.just((-INF, INF)), st.tuples(numbers, numbers).map(lambda pair: (min(pair), max(pair))))
    transforms = st.sampled_from([(0.0, 1.0), (0.5, 2.0)]) | st.tuples(numbers, numbers)
    plain = st.tuples(st.sampled_from(valid), transforms, clips)
    drawn = draw(st.lists(plain, min_size=1, max_size=12))
    elements = [(*which, *transform, *clip) for which, transform, clip in drawn]
    terms, at = [], 0
    for _ in range(draw(st.integers(1, 4))):
        more, at = draw(blocks(len(elements), at))
        terms += more
    return Program(elements, terms, states, operators, raws, attitude, -(-at // 64) * 64)


@st.composite
def blocks(draw: st.DrawFn, elements: int, at: int) -> tuple[list[structs.Term], int]:
    """Return terms that share their history's layout, and the byte after them."""
    first = draw(st.integers(0, elements - 1))
    count = draw(st.integers(1, elements - first))
    history = draw(st.integers(1, 4))
    if history == 1:
        dtype = draw(st.sampled_from(Dtype))
        width = count * NUMPY[dtype]().itemsize
        return [structs.Term(first, count, dtype, at, 1, width, 0, 0)], -(-(at + width) // 4) * 4
    split = draw(st.integers(1, count))
    widths = [split, count - split]
    step_major = draw(st.booleans())
    terms, start = [], at
    for width, begin in zip(widths, (first, first + split), strict=True):
        if width:
            stride = 4 * count if step_major else 4 * width
            terms.append(structs.Term(begin, width, Dtype.FLOAT32, start, history, stride, draw(st.integers(0, 1)), 0))
            start += 4 * width if step_major else 4 * width * history
    return terms, at + 4 * count * history


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_it_is_what_numpy_makes_of_the_same_program_bit_for_bit(data):
    given_program = data.draw(programs())
    rows = data.draw(st.integers(1, 6))
    values = data.draw(st.sampled_from([small, small, small, numbers, anything]))

    def array(columns: int) -> np.ndarray:
        flat = data.draw(st.lists(values, min_size=rows * columns, max_size=rows * columns))
        return np.array(flat, F32).reshape(rows, columns)

    states = array(given_program.states)
    if given_program.attitude != Attitude.NONE:
        width = 3 if given_program.attitude == Attitude.GRAVITY else 4
        part = np.nan_to_num(states[:, -width:].astype(np.float64), posinf=1, neginf=-1) + 1e-3
        factor = data.draw(st.sampled_from([1.0, 1.0, 1.0, 0.99, 1.019, 1.03, 0.5]))
        states[:, -width:] = factor * part / np.linalg.norm(part, axis=1, keepdims=True)
    operators, raws = array(given_program.operators), array(given_program.raws)
    reset = np.array(data.draw(st.lists(st.sampled_from([0, 0, 0, 1]), min_size=rows, max_size=rows)), np.bool_)
    found = assemble(config_of(given_program), states, operators=operators, raws=raws, reset=reset)
    records, made = reference(given_program, states, operators, raws, reset)
    assert found.made.tolist() == made.tolist()
    assert found.records.tobytes() == records.tobytes()


def floats(records: np.ndarray) -> list[list[float]]:
    return records.view(F32).tolist()


def test_a_history_is_oldest_first_and_reaches_back_to_the_reset_only():
    given_program = program((STATE, 0))
    given_program.terms[0] = structs.Term(0, 1, Dtype.FLOAT32, 0, 3, 4, 1, 0)
    states = np.zeros((5, 4), F32)
    states[:, 0] = [1, 2, 3, 4, 5]
    options = {"operators": np.zeros((5, 2), F32), "raws": np.zeros((5, 2), F32)}
    reset = np.array([0, 0, 0, 1, 0], np.bool_)
    found = assemble(config_of(given_program), states, reset=reset, **options)
    assert [row[:3] for row in floats(found.records)] == [[1, 1, 1], [1, 1, 2], [1, 2, 3], [4, 4, 4], [4, 4, 5]]
    given_program.terms[0].repeat = 0
    found = assemble(config_of(given_program), states, reset=reset, **options)
    assert [row[:3] for row in floats(found.records)] == [[0, 0, 1], [0, 1, 2], [1, 2, 3], [0, 0, 4], [0, 4, 5]]


def test_step_major_keeps_all_terms_of_a_tick_together():
    given_program = program((STATE, 0), (STATE, 1))
    given_program.terms[:] = [
        structs.Term(0, 1, Dtype.FLOAT32, 0, 2, 8, 1, 0),
        structs.Term(1, 1, Dtype.FLOAT32, 4, 2, 8, 1, 0),
    ]
    states = np.array([[1, -1, 0, 0], [2, -2, 0, 0]], F32)
    found = assemble(config_of(given_program), states, operators=np.zeros((2, 2)), raws=np.zeros((2, 2)))
    assert floats(found.records)[1][:4] == [1, -1, 2, -2]


def test_a_tick_that_cannot_be_made_leaves_every_byte_as_it_was():
    given_program = program((STATE, 0), (STATE, 1), (STATE, 2))
    given_program.terms[:] = [
        structs.Term(0, 1, Dtype.FLOAT32, 0, 3, 4, 1, 0),
        structs.Term(1, 1, Dtype.INT32, 12, 1, 4, 0, 0),
        structs.Term(2, 1, Dtype.UINT8, 16, 1, 1, 0, 0),
    ]
    states = np.array([[1, 7, 9, 0], [2, 7, 256, 0], [3, 3e9, 9, 0], [math.nan, 7, 9, 0], [5, 8, 10, 0]], F32)
    zeros = np.zeros((5, 2), F32)
    found = assemble(config_of(given_program), states, operators=zeros, raws=zeros)
    assert found.made.tolist() == [True, False, False, False, True]
    assert [row.tobytes() for row in found.records[1:4]] == [found.records[0].tobytes()] * 3
    assert floats(found.records)[4][:3] == [1, 1, 5]


@pytest.mark.parametrize(
    ("w", "x", "y", "z", "expected"),
    [
        (1, 0, 0, 0, [0, 0, -1]),
        (0.5**0.5, 0.5**0.5, 0, 0, [0, -1, 0]),  # rolled to the right: the left side, y, points up
        (0.5**0.5, 0, 0.5**0.5, 0, [1, 0, 0]),  # nose down: x points down
        (0.5**0.5, 0, 0, 0.5**0.5, [0, 0, -1]),  # turned: as before
        (0, 1, 0, 0, [0, 0, 1]),
    ],
)
@pytest.mark.parametrize("attitude", [Attitude.WXYZ, Attitude.XYZW])
def test_gravity_points_down_as_the_body_sees_it(w, x, y, z, expected, attitude):
    quaternion = [w, x, y, z] if attitude == Attitude.WXYZ else [x, y, z, w]
    given_program = program((GRAVITY, 0), (GRAVITY, 1), (GRAVITY, 2), attitude=attitude, operators=0, raws=0)
    found = assemble(config_of(given_program), np.array([quaternion], F32))
    assert floats(found.records)[0][:3] == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize(("norm", "good"), [(1.0, True), (0.981, True), (1.019, True), (0.979, False), (1.021, False)])
@pytest.mark.parametrize("attitude", [Attitude.WXYZ, Attitude.XYZW, Attitude.GRAVITY])
def test_an_attitude_that_is_no_direction_is_refused(attitude, norm, good):
    given_program = program((GRAVITY, 2), attitude=attitude, operators=0, raws=0)
    state = np.array([[0.0, 0.0, 0.0, norm]] if attitude != Attitude.WXYZ else [[norm, 0, 0, 0]], F32)
    found = assemble(config_of(given_program), state)
    assert found.made.tolist() == [good]
    if good and attitude != Attitude.GRAVITY:
        assert floats(found.records)[0][0] == -1.0
    if good and attitude == Attitude.GRAVITY:
        assert floats(found.records)[0][0] == F32(norm)


@pytest.mark.parametrize(
    ("changed", "valid"),
    [
        ({"history": 4, "stride": 4}, True),
        ({"history": 0}, False),
        ({"history": 4, "stride": 8, "count": 2}, True),
        ({"history": 4, "stride": 4, "count": 2}, False),
        ({"history": 4, "stride": 6}, False),
        ({"history": 16, "stride": 4}, True),
        ({"history": 17, "stride": 4}, False),
        ({"history": 17, "stride": 4, "count": 0}, True),
        ({"history": 0, "stride": 0, "count": 0}, False),
        ({"history": 2**32 - 1, "stride": 2**32 - 4}, False),
        ({"history": 2, "stride": 4, "repeat": 2}, False),
        ({"history": 2, "stride": 4, "dtype": Dtype.INT32}, False),
        ({"history": 2, "stride": 4, "dtype": Dtype.UINT8}, False),
        ({"first": 3, "count": 1}, False),
        ({"first": 4, "count": 0}, False),
        ({"first": 3, "count": 0}, True),
        ({"first": 2, "count": 2}, False),
    ],
)
@pytest.mark.parametrize("index", [0, 2])
def test_a_history_lies_within_the_record(changed, valid, index):
    config = small_config()
    term = {"first": 0, "count": 1, "dtype": Dtype.FLOAT32, "offset": 0, "history": 1, "stride": 0, "repeat": 0}
    config.terms[index] = structs.Term(**{**term, **changed})
    if valid:
        core.check_config(config)
    else:
        with pytest.raises(GuardianError, match="observation term"):
            core.check_config(config)


@pytest.mark.parametrize(
    ("source", "index", "valid"),
    [
        (STATE, 3, True), (STATE, 4, False), (GRAVITY, 2, True), (GRAVITY, 3, False), (OPERATOR, 1, True),
        (OPERATOR, 2, False), (RAW, 1, True), (RAW, 2, False), (4, 0, False),
    ],
)  # fmt: skip
def test_an_element_names_a_value_that_there_is(source, index, valid):
    config = config_of(program((source, index), attitude=Attitude.WXYZ))
    if valid:
        core.check_config(config)
    else:
        with pytest.raises(GuardianError, match="observation term"):
            core.check_config(config)


def test_gravity_needs_an_attitude():
    with pytest.raises(GuardianError, match="observation term"):
        core.check_config(config_of(program((GRAVITY, 0))))


@pytest.mark.parametrize(
    ("offset", "scale", "low", "high"),
    [(math.nan, 1, -INF, INF), (INF, 1, -INF, INF), (0, math.nan, -INF, INF), (0, -INF, -INF, INF), (0, 1, 1, 0),
     (0, 1, math.nan, 1), (0, 1, 0, math.nan)],
)  # fmt: skip
def test_an_elements_numbers_are_numbers(offset, scale, low, high):
    given_program = program((STATE, 0))
    given_program.elements[0] = (STATE, 0, offset, scale, low, high)
    with pytest.raises(GuardianError, match="observation term"):
        core.check_config(config_of(given_program))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"states": np.zeros((2, 3))}, r"states has the shape \(2, 3\); this configuration needs \(2, 4\)"),
        ({"operators": None}, r"operators has the shape \(2, 0\); this configuration needs \(2, 2\)"),
        ({"raws": np.zeros((1, 2))}, r"raws has the shape \(1, 2\)"),
        ({"reset": np.zeros(3, np.bool_)}, r"reset has the shape \(3,\), expected \(2,\)"),
    ],
)
def test_arrays_of_another_shape_are_refused(arrays, message):
    given_arrays = {"states": np.zeros((2, 4)), "operators": np.zeros((2, 2)), "raws": np.zeros((2, 2)), **arrays}
    states = given_arrays.pop("states")
    with pytest.raises(LoopError, match=message):
        assemble(config_of(program((STATE, 0))), states, **given_arrays)


def test_the_core_itself_makes_no_observations_of_a_configuration_that_the_guardian_refuses():
    config = config_of(program((STATE, 0)))
    records, made = np.full(2 * config.observation_bytes, 7, np.uint8), np.full(2, 7, np.uint8)
    states, operators, raws = (np.zeros((2, 4), np.float32) for _ in range(3))
    reset = np.zeros(2, np.uint8)
    arrays = [array.ctypes.data for array in (states, operators, raws, reset, records, made)]
    config.session = 0
    assert core.library().erl_assembler_replay(ctypes.addressof(config), 2, *arrays) == Result.BAD
    assert set(records) | set(made) == {7}
