"""Strict reading of the TOML files that people write: targets and envelopes.

A key that nobody reads is a mistake in the making, so every table says which keys it may have and refuses others with
the list. Values are checked for their type when taken and never coerced, except that ``1`` may stand for ``1.0``.
The caller names the exception, so that an error in an envelope is an envelope's.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from edgerl.errors import EdgerlError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = TypeVar("T")
Choice = TypeVar("Choice", bound=str)

MAX_BYTES = 1024 * 1024
"""A hundred channels with comments stay under 100 KiB."""


class Table:
    """One table of a TOML file, read key by key.

    Args:
        values: As the parser gave them.
        where: Names the table in errors, such as ``"envelope.toml: [loop]"``.
        known: The keys that it may have.
        error: What to raise.

    Raises:
        EdgerlError: ``error``, for a key that is not known.
    """

    def __init__(self, values: Mapping[str, Any], where: str, known: Iterable[str], error: type[EdgerlError]) -> None:
        self.where = where
        self.error = error
        self._values = values
        known = tuple(known)
        for key in values:
            if key not in known:
                raise error(f"{where}: unknown key {key!r}. Known keys: {', '.join(sorted(known)) or 'none'}.")

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def text(self, key: str) -> str:
        """Return a text that is not empty.

        Raises:
            EdgerlError: Missing, or something else.
        """
        value = self._typed(key, str, "text")
        if not value.strip():
            raise self.error(f"{self.where}: {key} is empty. Expected text.")
        return value

    def choice(self, key: str, valid: tuple[Choice, ...]) -> Choice:
        """Return one of ``valid``, as ``get_args`` of a Literal gives them.

        Raises:
            EdgerlError: Missing, or something else.
        """
        value = self.text(key)
        for one in valid:
            if one == value:
                return one
        raise self.error(f"{self.where}: {key} is {value!r}. Valid: {', '.join(valid)}.")

    def number(self, key: str, *, infinite: bool = False) -> float:
        """Return a finite number, or with ``infinite`` also ``inf``.

        Raises:
            EdgerlError: Missing, NaN, infinite where that is not allowed, or no number.
        """
        return self._number(self._value(key), key, infinite=infinite)

    def numbers(self, key: str, *, infinite: bool = False) -> tuple[float, ...]:
        """Return a list of finite numbers, or with ``infinite`` also ``inf`` and ``-inf``.

        Raises:
            EdgerlError: Missing, or something else.
        """
        values = self._typed(key, list, "a list of numbers")
        return tuple(
            -math.inf if infinite and item == -math.inf else self._number(item, f"{key}[{index}]", infinite=infinite)
            for index, item in enumerate(values)
        )

    def integer(self, key: str) -> int:
        """Return an integer.

        Raises:
            EdgerlError: Missing, or something else.
        """
        return self._typed(key, int, "an integer")

    def boolean(self, key: str) -> bool:
        """Return true or false.

        Raises:
            EdgerlError: Missing, or something else.
        """
        return self._typed(key, bool, "true or false")

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of texts, each given once.

        Raises:
            EdgerlError: Missing, something else, or one is repeated.
        """
        values = self._typed(key, list, "a list of texts")
        if not all(isinstance(item, str) for item in values) or len(set(values)) != len(values):
            raise self.error(f"{self.where}: {key} is {values}. Expected a list of texts, each given once.")
        return tuple(values)

    def table(self, key: str, known: Iterable[str]) -> Table:
        """Return the table below this one.

        Raises:
            EdgerlError: Missing, no table, or with a key that is not in ``known``.
        """
        return Table(self._typed(key, dict, "a table"), f"{self.where}: [{key}]", known, self.error)

    def tables(self, key: str, known: Iterable[str]) -> tuple[Table, ...]:
        """Return a list of tables.

        Raises:
            EdgerlError: Missing, something else, or one with a key that is not in ``known``.
        """
        values = self._typed(key, list, "a list of tables")
        if not all(isinstance(item, dict) for item in values):
            raise self.error(f"{self.where}: {key} is {_short(values)}. Expected a list of tables.")
        where, known = f"{self.where}: {key}", tuple(known)
        return tuple(Table(item, f"{where}[{index}]", known, self.error) for index, item in enumerate(values))

    def keys(self, key: str) -> tuple[str, ...]:
        """Return the keys of the table below this one, in the file's order; nothing where there is none.

        Raises:
            EdgerlError: It is no table.
        """
        return tuple(self._typed(key, dict, "a table")) if key in self._values else ()

    def is_list(self, key: str) -> bool:
        """Return whether the value is a list."""
        return isinstance(self._values.get(key), list)

    def is_table(self, key: str) -> bool:
        """Return whether the value is a table."""
        return isinstance(self._values.get(key), dict)

    def _value(self, key: str) -> Any:  # noqa: ANN401  TOML has no narrower type
        if key not in self._values:
            raise self.error(f"{self.where}: {key} is missing.")
        return self._values[key]

    def _typed(self, key: str, kind: type[T], name: str) -> T:
        value = self._value(key)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.error(f"{self.where}: {key} is {_short(value)}. Expected {name}.")
        return value

    def _number(self, value: object, key: str, *, infinite: bool) -> float:
        expected = "a number, or inf for none" if infinite else "a finite number"
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or not _representable(value, infinite=infinite)
        ):
            raise self.error(f"{self.where}: {key} is {_short(value)}. Expected {expected}.")
        return float(value)


def read_toml(path: Path, known: Iterable[str], error: type[EdgerlError]) -> Table:
    """Return the top table of a file.

    Raises:
        EdgerlError: ``error``, when it cannot be read, is no TOML, is too large or has an unknown key.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as problem:
        raise error(f"{path}: could not be read ({problem.strerror}). Expected a TOML file.") from problem
    if len(data) > MAX_BYTES:
        raise error(f"{path}: larger than {MAX_BYTES:,} bytes. Expected a TOML file that a person wrote.")
    return parse_toml(data, str(path), known, error)


def parse_toml(data: bytes, where: str, known: Iterable[str], error: type[EdgerlError]) -> Table:
    """Return the top table of TOML text.

    Raises:
        EdgerlError: ``error``, when it is no TOML in UTF-8 or has an unknown key.
    """
    try:
        values = tomllib.loads(data.decode())
    except (ValueError, RecursionError) as problem:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise error(f"{where}: not valid TOML ({problem}). Expected a TOML file in UTF-8.") from problem
    return Table(values, where, known, error)


def _representable(value: float, *, infinite: bool) -> bool:
    try:
        number = float(value)
    except OverflowError:  # an integer of TOML has any length
        return False
    return math.isfinite(number) or (infinite and number == math.inf)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
