"""Reading the ``[operator]`` table of the envelope file."""

from __future__ import annotations

from edgerl.envelope.operator import Operator, OperatorLimit
from edgerl.errors import EnvelopeError
from edgerl.operator_values import operator_values
from edgerl.spec import PolicySpec
from edgerl.toml import Table

_KEYS = ("timeout_s", "dead_man", "values")
_LIMITS = ("low", "high", "timeout_value")
MOST_SECONDS = 3600.0


def read_operator(table: Table, spec: PolicySpec) -> Operator | None:
    """Return the operator channel that a file describes; None where it has no ``[operator]``.

    Raises:
        EnvelopeError: A value that the policy does not observe, none for one that it does, or a key that is unknown,
            missing or of another type.
    """
    if "operator" not in table:
        return None
    said = table.table("operator", _KEYS)
    timeout_s = said.number("timeout_s")
    if not 0.0 <= timeout_s <= MOST_SECONDS:
        raise EnvelopeError(f"{said.where}: timeout_s is {timeout_s:g}. Expected seconds, above 0 to 10.")
    return Operator(
        values=_values(said, tuple(value.name for value in operator_values(spec))),
        timeout_ns=round(timeout_s * 1e9),
        dead_man=said.boolean("dead_man") if "dead_man" in said else False,
    )


def _values(said: Table, names: tuple[str, ...]) -> tuple[OperatorLimit, ...]:
    keys = said.keys("values")
    unknown = [key for key in keys if key not in names]
    if unknown:
        own = ", ".join(names) or "none"
        raise EnvelopeError(f"{said.where}: the policy observes no operator value {unknown[0]!r}. Its values: {own}.")
    missing = [name for name in names if name not in keys]
    if missing:
        raise EnvelopeError(
            f"{said.where}: operator value {missing[0]!r} has no limits. Say low and high in "
            f'[operator.values."{missing[0]}"].'
        )
    tables = said.table("values", keys) if keys else None
    return tuple(_limit(tables.table(name, _LIMITS), name) for name in names) if tables else ()


def _limit(own: Table, name: str) -> OperatorLimit:
    instead = own.number("timeout_value") if "timeout_value" in own else 0.0
    return OperatorLimit(name, own.number("low"), own.number("high"), instead)
