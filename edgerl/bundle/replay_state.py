"""Would the limits of the state let this policy act where its trainer recorded it?

The recorded rows of the golden set hold observations. What the guardian's assembler made of a state channel is undone
for the newest tick of each, except where a clip has hidden the value. Generated rows are no states of any robot and are
not judged.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgerl.envelope import Envelope
from edgerl.envelope.state import StateLimits
from edgerl.errors import EnvelopeRejectsState
from edgerl.frame_inputs import record_inputs
from edgerl.golden import GoldenSet
from edgerl.runtime import core
from edgerl.runtime.enums import Dtype, ElementSource
from edgerl.runtime.observation_config import apply_terms
from edgerl.runtime.state_channels import state_channels
from edgerl.runtime.structs import Config, Element
from edgerl.spec import PolicySpec

_MARGIN = 1e-6
"""Of a value and its offset together: what float32 may have lost on the way to the observation."""
_TILT_MARGIN = 1e-3
"""In [rad]; upright, where an angle is least well known from a cosine, float32 loses half of that."""
_TYPES = {Dtype.FLOAT32: np.float32, Dtype.INT32: np.int32, Dtype.UINT8: np.uint8}
_Values = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Measured:
    """What was measured in each row, and how exactly that is known; NaN where it is not. Shapes (rows, channels)."""

    states: _Values
    gravity: _Values
    margins: _Values


def replay_states(envelope: Envelope, golden: GoldenSet, spec: PolicySpec) -> str:
    """Return the evidence that the recorded observations lie within the state's limits; empty where it has none.

    Raises:
        EnvelopeRejectsState: One does not; the message names row, channel, value and limit.
    """
    state = envelope.state
    limited = tuple(one for one in state.channels if one.limited) if state else ()
    if state is None or (not limited and state.max_tilt is None):
        return ""
    rows = np.flatnonzero(golden.trainer_rows)
    if not len(rows):
        return "no recorded observation to judge the limits of the state by"
    measured, names = _measured(golden, spec, rows), [channel.name for channel in state_channels(spec)]
    bad = [
        (int(rows[row]), where, what)
        for one in limited
        if one.name in names
        for row, where, what in _outside(one, measured, names.index(one.name))
    ]
    if state.max_tilt is not None:
        bad += [(int(rows[row]), "tilt", what) for row, what in _leaning(measured.gravity, state.max_tilt)]
    if bad:
        first, channel, what = min(bad)
        count = len({row for row, _, _ in bad})
        raise EnvelopeRejectsState(row=first, channel=channel, what=what, rows=(count, len(rows)))
    return f"{len(rows):,} recorded observations within the limits of the state"


def _outside(one: StateLimits, measured: _Measured, place: int) -> Iterator[tuple[int, str, str]]:
    values, margins = measured.states[:, place], measured.margins[:, place]
    for row in np.flatnonzero((values < one.low - margins) | (values > one.high + margins)):
        wrong = f"below low = {one.low:.6g}" if values[row] < one.low else f"above high = {one.high:.6g}"
        yield int(row), one.name, f"{values[row]:.6g}, {wrong}"


def _leaning(gravity: _Values, most: float) -> Iterator[tuple[int, str]]:
    tilts = np.arccos(np.clip(-gravity[:, 2] / np.linalg.norm(gravity, axis=1), -1.0, 1.0))
    for row in np.flatnonzero(tilts > most + _TILT_MARGIN):
        yield int(row), f"{tilts[row]:.6g} rad, above max_tilt_rad = {most:.6g}"


def _measured(golden: GoldenSet, spec: PolicySpec, rows: npt.NDArray[np.intp]) -> _Measured:
    config = core.new_config()
    apply_terms(config, spec)
    records = np.zeros((len(rows), config.observation_bytes), np.uint8)
    for item in record_inputs(spec):
        given = np.ascontiguousarray(golden.inputs[item.name][rows].reshape(len(rows), -1))
        records[:, item.offset : item.offset + item.nbytes] = given.view(np.uint8)
    states = np.full((len(rows), config.state_count), np.nan)
    margins, gravity = np.zeros_like(states), np.full((len(rows), 3), np.nan)
    for element, observed in _newest(config, records):
        into = {ElementSource.STATE: states, ElementSource.GRAVITY: gravity}.get(ElementSource(element.source))
        if into is None:
            continue
        unclipped = (observed > element.low) & (observed < element.high)
        into[unclipped, element.index] = (observed / element.scale + element.offset)[unclipped]
        if into is states:
            margins[:, element.index] = _MARGIN * (np.abs(states[:, element.index]) + abs(element.offset))
    return _Measured(states, gravity, margins)


def _newest(config: Config, records: npt.NDArray[np.uint8]) -> Iterator[tuple[Element, _Values]]:
    """Yield each element that can be undone, and its values of the newest tick, shape (rows,)."""
    for place in range(config.term_count):
        term = config.terms[place]
        kind = np.dtype(_TYPES[Dtype(term.dtype)])
        at = term.offset + (term.history - 1) * term.stride
        for count in range(term.count):
            element = config.elements[term.first + count]
            exact = element.scale == 1.0 and element.offset == 0.0
            if element.scale != 0.0 and math.isfinite(element.scale) and (exact or kind == np.float32):
                begin = at + count * kind.itemsize
                column = np.ascontiguousarray(records[:, begin : begin + kind.itemsize])
                yield element, column.view(kind)[:, 0].astype(np.float64)
