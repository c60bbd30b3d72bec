"""Makes golden sets: the trainer's own rows where there are some, then generated ones that reach the limits.

What the limits are is read from the graph (:mod:`edgerl.golden.reach`).
Every channel of a float input is put below, at, between, at and above its limits in each ten rows; images are black,
white and noise; choices take turns. The same model, truth and seed give the same set.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgerl.golden import GoldenSet
from edgerl.golden.reach import Reach, reach_of
from edgerl.model import PolicyModel
from edgerl.oracle import run_oracle
from edgerl.parity import choice_margins, tolerances
from edgerl.spec import Input
from edgerl.truth import Truth

MAX_INPUT_BYTES = 8 * 1024 * 1024
"""Rows are left out above this size, so that a set of images stays small enough to travel."""
MIN_ROWS = 16
SEQUENCE = 32
"""Generated rows between two resets of a policy with memory."""
DECIDED = 1e-4
"""A discrete choice is demanded of other engines where its logit leads by this part of the largest."""
UNCLIPPED = (-5.0, 5.0)
"""Deviations from the mean that are tried where no clip says how far an observation reaches."""
_BEYOND = 1.2

AnyArray = npt.NDArray[Any]


def make_golden(model: PolicyModel, truth: Truth | None = None, *, rows: int = 256, seed: int = 0) -> GoldenSet:
    """Return a golden set of a model.

    Args:
        model: The float32 model.
        truth: Recorded rows; up to half of the set, in the order in which they were recorded.
        rows: Rows of the set; fewer where inputs are large.
        seed: Of the generated rows.

    Raises:
        EngineError: ONNX Runtime cannot run the model.
    """
    rows = min(rows, max(MIN_ROWS, MAX_INPUT_BYTES // model.spec.record_size))
    first, count = _recorded(truth, rows // 2)
    inputs, starts = _generate(model, truth, rows - count, seed)
    trainer_rows = np.arange(rows) < count
    if truth is not None and count:
        part = slice(first, first + count)
        inputs = {name: np.concatenate([truth.inputs[name][part], array]) for name, array in inputs.items()}
        starts = np.concatenate([truth.episode_start[part], starts])
    starts[0] = True
    run = run_oracle(model, inputs, starts)
    expected_trainer = None
    if truth is not None and count:
        expected_trainer = np.zeros_like(run.action)
        expected_trainer[:count] = truth.action[first : first + count]
    decided = np.ones(run.action.shape, bool)
    if run.logits is not None:
        decided = choice_margins(model.spec, run.logits).decided(DECIDED)
    limits = tolerances(model.spec, run.action)
    return GoldenSet(
        model.digest, inputs, starts, run.action, limits, decided, expected_trainer, trainer_rows, run.state
    )


def _recorded(truth: Truth | None, most: int) -> tuple[int, int]:
    """Return the first row to take from a truth and how many: from a start, so that a memory can be rebuilt."""
    if truth is None or not np.any(truth.episode_start):
        return 0, 0
    first = int(np.argmax(truth.episode_start))
    return first, min(most, truth.rows - first)


def _generate(
    model: PolicyModel, truth: Truth | None, rows: int, seed: int
) -> tuple[dict[str, AnyArray], npt.NDArray[np.bool_]]:
    inputs = {}
    for index, item in enumerate(model.spec.inputs):
        rng = np.random.default_rng([seed, index])
        seen = None if truth is None else truth.inputs[item.name]
        if item.dtype == "float32":
            inputs[item.name] = _floats(reach_of(model, item), item, rows, rng, seen)
        else:
            inputs[item.name] = _integers(reach_of(model, item), item, rows, rng)
    return inputs, np.arange(rows) % SEQUENCE == 0


def _floats(
    reach: Reach, item: Input, rows: int, rng: np.random.Generator, seen: AnyArray | None
) -> npt.NDArray[np.float32]:
    """Return half the rows around the mean, the other half with every channel at and beyond its limits."""
    low, high = reach.clip or UNCLIPPED
    centre, spread = reach.centre, reach.spread
    untouched = not np.any(centre) and np.all(spread == 1.0)
    if untouched and seen is not None:  # no normalizer: the recorded rows say where observations lie
        centre = seen.astype(np.float64).mean(axis=0)
        spread = np.maximum(seen.astype(np.float64).std(axis=0), 1e-3)
    typical = rng.standard_normal((rows, item.size))
    between = rng.uniform(low, high, (rows, item.size))
    cases = np.stack([np.full_like(between, low * _BEYOND), np.full_like(between, low), between,
                      np.full_like(between, high), np.full_like(between, high * _BEYOND)])  # fmt: skip
    # Each channel goes through the five cases in an order of its own, so that any ten rows hold all of them.
    turn = (np.arange(rows)[:, None] // 2 + rng.integers(0, 5, item.size)) % 5
    extreme = np.take_along_axis(cases, turn[None], axis=0)[0]
    units = np.where(np.arange(rows)[:, None] % 2 == 0, extreme, typical)
    values = centre.reshape(-1) + units * spread.reshape(-1)
    for term in item.terms:
        if term.clip is not None:
            values[:, term.start : term.stop] = np.clip(values[:, term.start : term.stop], *term.clip)
    most = float(np.finfo(np.float32).max)
    return np.clip(values, -most, most).reshape(rows, *item.shape).astype(np.float32)


def _integers(reach: Reach, item: Input, rows: int, rng: np.random.Generator) -> AnyArray:
    """Return choices in turn, or images: the first black, the second white, the rest noise."""
    if reach.choices is not None:
        turn = np.arange(rows)[:, None] + rng.integers(0, reach.choices, item.size)
        return (turn % reach.choices).reshape(rows, *item.shape).astype(item.dtype)
    most = 255 if item.dtype == "uint8" else 3
    values = rng.integers(0, most + 1, (rows, *item.shape))
    values[:1], values[1:2] = 0, most
    return values.astype(item.dtype)
