"""What a policy observes of its operator's wishes: the values of the operator channel, in their order.

They are the elements of the terms whose source is ``operator``, in the order of inputs and terms, one tick's each: a
history repeats them, and a term of the same name in another input is the same wish.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgerl.spec import PolicySpec, Term

MAX_VALUES = 16
"""That the guardian has memory for."""


@dataclass(frozen=True)
class OperatorValue:
    """One value of the operator channel."""

    name: str
    """The term's, or ``term[0]`` and so on where it has several elements."""
    unit: str | None


def operator_values(spec: PolicySpec) -> tuple[OperatorValue, ...]:
    """Return the values of the operator channel, in the order in which they are posted."""
    values: dict[str, OperatorValue] = {}
    for item in spec.inputs:
        for term in item.terms:
            if term.source == "operator":
                for name in value_names(term):
                    values.setdefault(name, OperatorValue(name, term.unit))
    return tuple(values.values())


def operator_indices(spec: PolicySpec) -> Mapping[str, int]:
    """Return the index in the operator channel of each value, by name."""
    return {value.name: index for index, value in enumerate(operator_values(spec))}


def value_names(term: Term) -> tuple[str, ...]:
    """Return the names of one tick's elements of a term."""
    count = term.size // (term.history.length if term.history else 1)
    return (term.name,) if count == 1 else tuple(f"{term.name}[{index}]" for index in range(count))
