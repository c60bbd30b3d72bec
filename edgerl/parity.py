"""Parity: does the export act as the trainer's own policy did? The only home of tolerances.

Continuous channels may differ by 1e-5 of the action's range, or of ``max(1, max |truth|)`` where that is not finite.
Discrete choices must be equal, except where the two logits in question differ by less than 1e-5 of the largest; those
rows are counted and listed. A policy with memory is run freely from each start (gate on the action), and one step at a
time from the trainer's own state (gate on the state). NaN is infinitely wrong.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgerl.errors import ParityFailed
from edgerl.model import PolicyModel
from edgerl.oracle import OracleRun, run_oracle
from edgerl.spec import PolicySpec
from edgerl.truth import Truth

RELATIVE = 1e-5
"""Of the action's range, or of the largest logit; float32 through a few layers stays near 1e-6."""
MAX_LISTED = 100
"""Near-ties that a report lists; all are counted."""

AnyArray = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ChannelParity:
    """How far one channel is from the truth."""

    name: str
    tolerance: float
    """In the action's unit; 0 for discrete choices."""
    max_error: float
    """Infinite where either side is NaN."""
    worst_row: int
    expected: float
    """What the trainer said in the worst row."""
    found: float | None
    """What the export said; None for NaN."""
    wrong: int
    """Rows out of tolerance, near-ties left out."""


@dataclass(frozen=True)
class NearTie:
    """A choice that differs from the trainer's where rounding alone decides."""

    row: int
    channel: int
    expected: int
    found: int
    margin: float
    """Difference of the two logits over the largest."""


@dataclass(frozen=True)
class ParityReport:
    """The outcome of a comparison with the truth."""

    status: Literal["passed", "failed", "not_run"]
    against: str
    """Where the truth came from; what was not compared where the status is ``not_run``."""
    rows: int
    channels: tuple[ChannelParity, ...]
    near_tie_count: int
    near_ties: tuple[NearTie, ...]
    """The first hundred of them."""
    state: tuple[ChannelParity, ...]
    """Per state tensor, one step at a time; empty without memory or where the truth has no states."""
    state_status: Literal["passed", "failed", "not_run"]
    """``not_run``: a policy without memory, or a truth that does not record its state."""


NOT_RUN = ParityReport("not_run", "no truth was given", 0, (), 0, (), (), "not_run")


def check_parity(model: PolicyModel, truth: Truth) -> ParityReport:
    """Return how the model's actions compare with the truth; a failed comparison is a report, too.

    Raises:
        EngineError: The model cannot be run.
    """
    first = {name: array[0] for name, array in truth.state_in.items()}
    run = run_oracle(model, truth.inputs, truth.episode_start, first_state=first)
    ties = list(near_ties(model.spec, run, truth.action))
    excused = np.zeros(truth.action.shape, bool)
    for tie in ties:
        excused[tie.row, tie.channel] = True
    channels = _channels(model.spec, truth.action, run.action, excused)
    state = tuple(_states(model, truth))
    failed = any(item.wrong for item in (*channels, *state))
    state_status: Literal["passed", "failed", "not_run"] = "not_run"
    if state:
        state_status = "failed" if any(item.wrong for item in state) else "passed"
    return ParityReport(
        "failed" if failed else "passed",
        truth.name,
        truth.rows,
        channels,
        len(ties),
        tuple(ties[:MAX_LISTED]),
        state,
        state_status,
    )


def require_parity(report: ParityReport) -> None:
    """Go on where a comparison did not fail.

    Raises:
        ParityFailed: It did; the message names the worst observation row and channel.
    """
    if report.status != "failed":
        return
    wrong = [item for item in (*report.channels, *report.state) if item.wrong]
    worst = max(wrong, key=lambda item: item.max_error / item.tolerance if item.tolerance else item.wrong)
    total = len(report.channels) + len(report.state)
    extent = f"{worst.wrong} of {report.rows} rows of it, {len(wrong)} of {total} channels"
    found = math.nan if worst.found is None else worst.found
    raise ParityFailed(
        f"observation row {worst.worst_row}, {worst.name}", worst.expected, found, worst.tolerance, extent
    )


def tolerances(spec: PolicySpec, reference: AnyArray) -> Floats:
    """Return the largest difference that parity allows per channel, float64, in the action's unit.

    Args:
        spec: Of the policy.
        reference: Actions that others are compared with, shape (rows, channels).
    """
    if spec.action.kind != "continuous":
        return np.zeros(spec.action.size)
    span = np.asarray(spec.action.high, np.float64) - np.asarray(spec.action.low, np.float64)
    largest = np.maximum(1.0, np.max(np.abs(reference.astype(np.float64)), axis=0, initial=0.0))
    return RELATIVE * np.where(np.isfinite(span), span, largest)


def near_ties(spec: PolicySpec, run: OracleRun, expected: AnyArray) -> Iterator[NearTie]:
    """Yield the choices that differ from ``expected`` and that rounding alone may decide either way."""
    if spec.action.kind == "continuous" or run.logits is None:
        return
    margins = choice_margins(spec, run.logits)
    for row, channel in np.argwhere(run.action != expected):
        found, other = int(run.action[row, channel]), int(expected[row, channel])
        margin = margins.between(int(row), int(channel), found, other)
        if margin < RELATIVE:
            yield NearTie(int(row), int(channel), other, found, margin)


@dataclass(frozen=True, eq=False)
class ChoiceMargins:
    """How clearly each choice was made."""

    groups: tuple[Floats, ...]
    """Per channel the logits, shape (rows, choices); a binary channel has the logits of 0 (always 0) and of 1."""

    def between(self, row: int, channel: int, first: int, second: int) -> float:
        """Return the difference of two choices' logits over the largest; infinite where a choice does not exist."""
        logits = self.groups[channel][row]
        if not 0 <= min(first, second) <= max(first, second) < len(logits) or not np.all(np.isfinite(logits)):
            return math.inf
        largest = float(np.max(np.abs(logits)))
        return abs(float(logits[first] - logits[second])) / largest if largest else 0.0

    def decided(self, margin: float) -> npt.NDArray[np.bool_]:
        """Return where the best logit leads by more than ``margin`` of the largest, shape (rows, channels)."""
        columns = []
        for logits in self.groups:
            ordered = np.sort(logits, axis=1)
            lead = ordered[:, -1] - ordered[:, -2] if logits.shape[1] > 1 else np.full(len(logits), np.inf)
            columns.append(lead > margin * np.max(np.abs(logits), axis=1))
        return np.stack(columns, axis=1)


def choice_margins(spec: PolicySpec, logits: npt.NDArray[np.float32]) -> ChoiceMargins:
    """Return the margins of a discrete kind's logits, shape (rows, logits)."""
    wide = logits.astype(np.float64)
    if spec.action.kind == "multi_binary":
        return ChoiceMargins(tuple(np.stack([np.zeros(len(wide)), column], axis=1) for column in wide.T))
    ends = np.cumsum([int(high) + 1 for high in spec.action.high])
    return ChoiceMargins(tuple(np.split(wide, ends[:-1], axis=1)))


def _channels(
    spec: PolicySpec, expected: AnyArray, found: AnyArray, excused: npt.NDArray[np.bool_]
) -> tuple[ChannelParity, ...]:
    names = [f"action channel {index}" for index in range(spec.action.size)]
    if spec.action.names:
        names = [f"{name} ('{given}')" for name, given in zip(names, spec.action.names, strict=True)]
    limits = tolerances(spec, expected)
    return tuple(
        _compare(name, limits[index], expected[:, index, None], found[:, index, None], excused[:, index])
        for index, name in enumerate(names)
    )


def _states(model: PolicyModel, truth: Truth) -> Iterator[ChannelParity]:
    if not (truth.state_in and truth.state_out):
        return
    run = run_oracle(model, truth.inputs, truth.episode_start, state_in=truth.state_in)
    for name, expected in truth.state_out.items():
        limit = RELATIVE * max(1.0, float(np.max(np.abs(expected))))
        flat = expected.reshape(truth.rows, -1)
        yield _compare(name, limit, flat, run.state[name].reshape(truth.rows, -1), np.zeros(truth.rows, bool))


def _compare(
    name: str, tolerance: float, expected: AnyArray, found: AnyArray, excused: npt.NDArray[np.bool_]
) -> ChannelParity:
    """Compare (rows, elements) with (rows, elements); the worst element of a row counts for it."""
    wide, other = expected.astype(np.float64), found.astype(np.float64)
    error = np.abs(other - wide)
    error[np.isnan(error)] = np.inf
    error[excused] = 0.0
    row, column = divmod(int(np.argmax(error)), error.shape[1])
    said = float(other[row, column])
    return ChannelParity(
        name,
        float(tolerance),
        float(error[row, column]),
        row,
        float(wide[row, column]),
        None if math.isnan(said) else said,
        int(np.count_nonzero(np.any(~(error <= tolerance), axis=1))),
    )
