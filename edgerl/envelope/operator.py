"""What an operator may ask of a policy, and what stands in for an operator who says nothing.

The guardian brings each value to its limits before the policy observes it, and replaces values that are too old. Where
a dead-man switch is needed, the policy is in charge only while somebody holds it.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from edgerl.operator_values import MAX_VALUES, operator_values
from edgerl.spec import PolicySpec

MAX_TIMEOUT_NS = 10_000_000_000
"""An operator who was silent for longer than that is no operator."""


@dataclass(frozen=True)
class OperatorLimit:
    """What one value of the operator channel may be."""

    name: str
    low: float
    """In the unit of its observation term; what is beyond is brought to the limit."""
    high: float
    timeout_value: float
    """What the policy observes when no fresh value is there."""


@dataclass(frozen=True)
class Operator:
    """The operator channel of one policy on one robot."""

    values: tuple[OperatorLimit, ...]
    """In the order of :func:`edgerl.operator_values.operator_values`."""
    timeout_ns: int
    """What was said longer ago is not fresh."""
    dead_man: bool
    """Whether somebody has to hold a switch while the policy is in charge."""


def operator_problems(operator: Operator | None) -> Iterator[str]:
    """Yield what is wrong with an operator channel, whatever the policy."""
    if operator is None:
        return
    if not 0 < operator.timeout_ns <= MAX_TIMEOUT_NS:
        yield f"operator.timeout_s is {operator.timeout_ns / 1e9:g}, valid is more than 0 to {MAX_TIMEOUT_NS / 1e9:g}"
    if len(operator.values) > MAX_VALUES:
        yield f"the operator has {len(operator.values)} values, valid is up to {MAX_VALUES}"
    if not operator.values and not operator.dead_man:
        yield "[operator] limits no value and needs no dead-man switch, so it says nothing; remove it"
    for one in operator.values:
        low, high, instead = (_float32(value) for value in (one.low, one.high, one.timeout_value))
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            yield (
                f"operator value {one.name!r}: low is {one.low:g} and high {one.high:g}, valid are finite float32 with "
                "low below high"
            )
        elif not low <= instead <= high:
            yield f"operator value {one.name!r}: timeout_value {one.timeout_value:g} is outside [{low:g}, {high:g}]"


def operator_mismatches(operator: Operator | None, spec: PolicySpec) -> Iterator[str]:
    """Yield what in an operator channel does not fit a policy."""
    names = tuple(value.name for value in operator_values(spec))
    limited = tuple(one.name for one in operator.values) if operator else ()
    if names and operator is None:
        yield f"the policy observes what an operator wants ({', '.join(names)}), and nothing limits it: add [operator]"
    elif limited != names:
        found, expected = ", ".join(limited) or "none", ", ".join(names) or "none"
        yield f"its operator values are {found}; the policy's, in this order, {expected}"


def _float32(value: float) -> float:
    """Return the number that the guardian compares with; infinite where it has none."""
    try:
        return float(struct.unpack("<f", struct.pack("<f", value))[0])
    except OverflowError:
        return math.inf
