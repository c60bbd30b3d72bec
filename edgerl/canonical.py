"""Canonical JSON for frozen dataclasses: one byte sequence per value, nothing lost.

Keys are sorted, no white space, floats are the shortest text that reads back to the same bits, infinities are
``"inf"`` and ``"-inf"``, and NaN is refused in both directions. Reading is strict: an unknown or missing key, a wrong
type or too deep a document is a :class:`~edgerl.errors.SpecError` that names the place. Nothing is coerced: an integer
stands for a float only where it is written as one in JSON (``1`` for ``1.0``).

A form grows by fields that are :func:`added`: one that holds its default is left out, so that what was written before
the field existed reads back, keeps its bytes, and keeps its digest.

It knows dataclasses, tuples, string-keyed mappings, optionals, literals, str, bool, int and float;
nothing else is needed by the artifacts of edgerl.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import types
import typing
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeVar

from edgerl.errors import SpecError

T = TypeVar("T")

MAX_BYTES = 16 * 1024 * 1024
"""A spec with the statistics of a large observation stays under 1 MiB; 16 keeps hostile text out of the parser."""
MAX_DEPTH = 32
_ADDED = "edgerl.added"


def added(default: T) -> T:
    """Declare a dataclass field that came after the first form of its class.

    ``clock: str = added("grid")``. The default must mean what every document without the field means, and can never be
    changed again.
    """
    return dataclasses.field(default=default, metadata={_ADDED: True})


def dumps(value: object) -> str:
    """Return the canonical JSON text of a dataclass, mapping, sequence or scalar.

    Raises:
        SpecError: The value holds NaN or a type that canonical JSON does not know.
    """
    return json.dumps(to_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: object) -> str:
    """Return the SHA-256 of the canonical JSON, as 64 hexadecimal digits."""
    return hashlib.sha256(dumps(value).encode()).hexdigest()


def loads(cls: type[T], text: str | bytes, what: str) -> T:
    """Return a ``cls`` read from JSON text.

    Args:
        cls: A frozen dataclass.
        text: JSON, UTF-8 where bytes.
        what: Names the document in errors, such as ``"spec of policy.onnx"``.

    Raises:
        SpecError: Not JSON, too large, or not of the class's form.
    """
    return from_plain(cls, parse(text, what), what)


def parse(text: str | bytes, what: str) -> Any:  # noqa: ANN401  JSON has no narrower type
    """Return plain Python values from JSON text, within limits of size and depth.

    Raises:
        SpecError: Not JSON, a repeated key, or past a limit.
    """
    if len(text) > MAX_BYTES:
        raise SpecError(f"{what}: {len(text):,} bytes of JSON, the limit is {MAX_BYTES:,}.")
    try:
        plain = json.loads(text, object_pairs_hook=lambda pairs: _object(pairs, what), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise SpecError(f"{what}: not valid JSON ({error}). Expected a document as edgerl writes it.") from error
    if _depth(plain, MAX_DEPTH) > MAX_DEPTH:
        raise SpecError(f"{what}: nested deeper than {MAX_DEPTH} levels.")
    return plain


def to_plain(value: object) -> Any:  # noqa: ANN401
    """Return ``value`` as dicts, lists, strings, numbers, booleans and None.

    Raises:
        SpecError: NaN, or a type that canonical JSON does not know.
    """
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return _plain_float(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: to_plain(getattr(value, field.name))
            for field in dataclasses.fields(value)
            if not _is_default(field, getattr(value, field.name))
        }
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [to_plain(item) for item in value]
    raise SpecError(f"Canonical JSON does not know {type(value).__name__}; use plain Python values.")


def from_plain(cls: type[T], plain: object, where: str) -> T:
    """Return a ``cls`` from plain values, refusing everything that its annotations do not say.

    Raises:
        SpecError: A key or value does not fit; the message names its place.
    """
    return typing.cast(T, _read(cls, plain, where))


def _plain_float(value: float) -> float | str:
    if math.isnan(value):
        raise SpecError("NaN cannot be stored: every number of a spec must be known.")
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return value


def _object(pairs: list[tuple[str, Any]], what: str) -> dict[str, Any]:
    plain = dict(pairs)
    if len(plain) != len(pairs):
        raise SpecError(f"{what}: a key is given twice in one object.")
    return plain


def _refuse_constant(name: str) -> None:
    raise ValueError(f'{name} is not JSON; infinities are written "inf" and "-inf"')


def _depth(plain: object, limit: int) -> int:
    if limit < 0:
        return 1
    if isinstance(plain, dict):
        return 1 + max((_depth(item, limit - 1) for item in plain.values()), default=0)
    if isinstance(plain, list):
        return 1 + max((_depth(item, limit - 1) for item in plain), default=0)
    return 0


def _read(kind: Any, plain: object, where: str) -> object:  # noqa: ANN401
    origin = typing.get_origin(kind)
    if dataclasses.is_dataclass(kind):
        return _read_dataclass(typing.cast(type, kind), plain, where)
    if origin in _CONTAINERS:
        return _CONTAINERS[origin](typing.get_args(kind), plain, where)
    if kind in _SCALARS:
        return _SCALARS[kind](plain, where)
    raise TypeError(f"{where}: annotation {kind} is not one that canonical JSON reads")


def _read_dataclass(cls: type, plain: object, where: str) -> object:
    if not isinstance(plain, dict):
        raise SpecError(f"{where}: expected an object with the fields of {cls.__name__}, found {_name(plain)}.")
    kinds = _field_kinds(cls)
    unknown = sorted(set(plain) - set(kinds))
    if unknown:
        raise SpecError(f"{where}: unknown key {unknown[0]!r}. Known keys: {', '.join(sorted(kinds))}.")
    missing = sorted(name for name in set(kinds) - set(plain) if not _is_added(cls, name))
    if missing:
        raise SpecError(f"{where}: key {missing[0]!r} is missing.")
    values = {name: _read(kind, plain[name], f"{where}: {name}") for name, kind in kinds.items() if name in plain}
    for field in dataclasses.fields(cls):
        if field.name in values and _is_default(field, values[field.name]):
            raise SpecError(f"{where}: key {field.name!r} holds its default and must be left out.")
    return cls(**values)


def _is_added(cls: type, name: str) -> bool:
    return any(field.name == name and _ADDED in field.metadata for field in dataclasses.fields(cls))


def _is_default(field: dataclasses.Field[Any], value: object) -> bool:
    return _ADDED in field.metadata and dumps(value) == dumps(field.default)  # equal values may differ: 0.0 and -0.0


@cache
def _field_kinds(cls: type) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def _read_tuple(args: tuple[Any, ...], plain: object, where: str) -> object:
    if not isinstance(plain, list):
        raise SpecError(f"{where}: expected a list, found {_name(plain)}.")
    if args[-1] is Ellipsis:
        return tuple(_read(args[0], item, f"{where}[{index}]") for index, item in enumerate(plain))
    if len(plain) != len(args):
        raise SpecError(f"{where}: expected {len(args)} values, found {len(plain)}.")
    return tuple(_read(kind, item, f"{where}[{i}]") for i, (kind, item) in enumerate(zip(args, plain, strict=True)))


def _read_mapping(args: tuple[Any, ...], plain: object, where: str) -> object:
    if not isinstance(plain, dict):
        raise SpecError(f"{where}: expected an object, found {_name(plain)}.")
    return {key: _read(args[1], item, f"{where}: {key}") for key, item in plain.items()}


def _read_union(args: tuple[Any, ...], plain: object, where: str) -> object:
    if plain is None and type(None) in args:
        return None
    kinds = [kind for kind in args if kind is not type(None)]
    if len(kinds) != 1:
        raise TypeError(f"{where}: a union of more than one type cannot be read back")
    return _read(kinds[0], plain, where)


def _read_literal(args: tuple[Any, ...], plain: object, where: str) -> object:
    if plain not in args or isinstance(plain, bool):
        valid = ", ".join(str(item) for item in args)
        raise SpecError(f"{where}: {plain!r} is not one of {valid}.")
    return plain


def _read_float(plain: object, where: str) -> object:
    if plain == "inf":
        return math.inf
    if plain == "-inf":
        return -math.inf
    if isinstance(plain, bool) or not isinstance(plain, (int, float)) or not _finite(plain):
        raise SpecError(f'{where}: expected a number, "inf" or "-inf", found {_name(plain)}.')
    return float(plain)


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _read_int(plain: object, where: str) -> object:
    if isinstance(plain, bool) or not isinstance(plain, int):
        raise SpecError(f"{where}: expected an integer, found {_name(plain)}.")
    if abs(plain) >= 2**63:
        raise SpecError(f"{where}: an integer beyond 64 bits.")
    return plain


def _read_str(plain: object, where: str) -> object:
    if not isinstance(plain, str):
        raise SpecError(f"{where}: expected text, found {_name(plain)}.")
    return plain


def _read_bool(plain: object, where: str) -> object:
    if not isinstance(plain, bool):
        raise SpecError(f"{where}: expected true or false, found {_name(plain)}.")
    return plain


def _name(plain: object) -> str:
    text = repr(plain)
    return text if len(text) <= 60 else text[:57] + "..."


_Reader = Callable[[tuple[Any, ...], object, str], object]
_CONTAINERS: dict[object, _Reader] = {
    tuple: _read_tuple,
    dict: _read_mapping,
    Mapping: _read_mapping,
    typing.Union: _read_union,
    types.UnionType: _read_union,
    typing.Literal: _read_literal,
}
_SCALARS: dict[object, Callable[[object, str], object]] = {
    float: _read_float,
    int: _read_int,
    str: _read_str,
    bool: _read_bool,
}
