"""Observation and action spaces of Gymnasium (or the older gym), read from their inert records.

Neither package is needed. Only the spaces that trainers can act in are known: Box, Discrete, MultiDiscrete,
MultiBinary, and a Dict of these.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from edgerl.errors import UnsupportedPolicy
from edgerl.untrusted.foreign import Foreign, brief

_SUPPORTED = "Box, Discrete, MultiDiscrete, MultiBinary, and a Dict of these"
Numbers: TypeAlias = npt.NDArray[Any]
_MAX_ELEMENTS = 1 << 22
"""A camera image of two megapixels; a shape alone can ask for this much memory."""


@dataclass(frozen=True, eq=False)
class Box:
    """Numbers between two bounds."""

    shape: tuple[int, ...]
    dtype: str
    """As numpy names it."""
    low: npt.NDArray[np.float64]
    """Of ``shape``."""
    high: npt.NDArray[np.float64]

    @property
    def is_image(self) -> bool:
        """Three axes of bytes between 0 and 255: what Stable-Baselines3 takes for an image."""
        bounded = bool(np.all(self.low == 0) and np.all(self.high == 255))
        return len(self.shape) == 3 and self.dtype == "uint8" and bounded


@dataclass(frozen=True)
class Discrete:
    """One of ``n`` choices, numbered from ``start``."""

    n: int
    start: int


@dataclass(frozen=True)
class MultiDiscrete:
    """Several choices at once."""

    choices: tuple[int, ...]
    shape: tuple[int, ...]
    starts: tuple[int, ...]


@dataclass(frozen=True)
class MultiBinary:
    """Several yes or no at once."""

    shape: tuple[int, ...]


PlainSpace: TypeAlias = Box | Discrete | MultiDiscrete | MultiBinary


@dataclass(frozen=True)
class Dict:
    """Named spaces, in the order in which the policy concatenates them."""

    spaces: Mapping[str, PlainSpace]


Space: TypeAlias = PlainSpace | Dict


def read_space(record: object, what: str, where: str) -> Space:
    """Return the space in an inert record.

    Args:
        record: What the restricted unpickler made of the space.
        what: ``observation space`` or ``action space``, for errors.
        where: Names the file in errors.

    Raises:
        UnsupportedPolicy: Another kind of space, or one whose parts make no sense.
    """
    if isinstance(record, Foreign) and record.name == "Dict" and _is_space(record):
        inner = record.attributes.get("spaces")
        if isinstance(inner, dict) and inner and all(isinstance(key, str) for key in inner):
            return Dict({key: _read_plain(value, f"{what} {key!r}", where) for key, value in inner.items()})
    return _read_plain(record, what, where)


def describe_space(space: Space) -> str:
    """Return a space as people write it."""
    if isinstance(space, Dict):
        return "Dict(" + ", ".join(f"{key}: {describe_space(inner)}" for key, inner in space.spaces.items()) + ")"
    if isinstance(space, Box):
        low, high = _bound(space.low), _bound(space.high)
        return f"Box({low}, {high}, {space.shape}, {space.dtype})"
    if isinstance(space, Discrete):
        return f"Discrete({space.n}" + (f", start={space.start})" if space.start else ")")
    if isinstance(space, MultiDiscrete):
        return f"MultiDiscrete({list(space.choices)})"
    return f"MultiBinary({space.shape[0] if len(space.shape) == 1 else list(space.shape)})"


def _bound(values: npt.NDArray[np.float64]) -> str:
    distinct = np.unique(values)
    if len(distinct) == 1:
        return f"{distinct[0]:g}"
    if values.size <= 8:
        return "[" + ", ".join(f"{value:g}" for value in values.ravel()) + "]"
    return f"{distinct[0]:g}..{distinct[-1]:g}"


def _is_space(record: Foreign) -> bool:
    return record.module.split(".")[0] in ("gym", "gymnasium") and record.args is not None


def _read_plain(record: object, what: str, where: str) -> PlainSpace:
    if not isinstance(record, Foreign) or not _is_space(record):
        raise UnsupportedPolicy(where, f"the {what} is {brief(record)}", _SUPPORTED)
    reader = _READERS.get(record.name)
    try:
        if reader is not None:
            return reader(record.attributes)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UnsupportedPolicy(
            where, f"the {what} is a {record.name} that makes no sense ({error})", _SUPPORTED
        ) from error
    raise UnsupportedPolicy(where, f"the {what} is a {record.qualified}", _SUPPORTED)


def _read_box(parts: Mapping[str, object]) -> Box:
    shape = _shape(parts.get("_shape", parts.get("shape")))
    low, high = _floats(parts["low"], shape), _floats(parts["high"], shape)
    if not np.all(low <= high):
        raise ValueError("low is above high")
    kind = parts["dtype"]
    name = kind.name if isinstance(kind, (np.dtype, Foreign)) else str(kind)
    return Box(shape, np.dtype(name).name, low, high)


def _read_discrete(parts: Mapping[str, object]) -> Discrete:
    return Discrete(_count(parts["n"]), _integer(parts.get("start", 0)))


def _read_multi_discrete(parts: Mapping[str, object]) -> MultiDiscrete:
    choices = _array(parts["nvec"])
    starts = _array(parts.get("start", np.zeros_like(choices)))
    return MultiDiscrete(
        tuple(_count(item) for item in choices.ravel()),
        choices.shape,
        tuple(_integer(item) for item in starts.ravel()),
    )


def _read_multi_binary(parts: Mapping[str, object]) -> MultiBinary:
    return MultiBinary(tuple(_count(item) for item in np.atleast_1d(_array(parts["n"])).ravel()))


_READERS: Mapping[str, Callable[[Mapping[str, object]], PlainSpace]] = {
    "Box": _read_box,
    "Discrete": _read_discrete,
    "MultiDiscrete": _read_multi_discrete,
    "MultiBinary": _read_multi_binary,
}


def _shape(value: object) -> tuple[int, ...]:
    if not isinstance(value, (tuple, list)):
        raise TypeError("it has no shape")
    shape = tuple(_count(item) for item in value)
    if math.prod(shape) > _MAX_ELEMENTS:
        raise ValueError(f"its shape is {shape}")
    return shape


def _floats(value: object, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    array = _array(value)
    if array.dtype.kind not in "biuf":
        raise TypeError("a bound is not a number")
    return np.array(np.broadcast_to(array, shape), np.float64)


def _array(value: object) -> Numbers:
    """Return an array or a flat list of numbers as an array; lists of lists could hold one list a million times."""
    flat = isinstance(value, (list, tuple)) and not any(isinstance(item, (list, tuple, np.ndarray)) for item in value)
    if flat or isinstance(value, (np.ndarray, np.generic, int, float)):
        return np.asarray(value)
    raise TypeError(f"a {type(value).__name__} where numbers belong")


def _integer(value: object) -> int:
    if isinstance(value, (int, np.integer)):
        return int(value)
    raise TypeError(f"a {type(value).__name__} where an integer belongs")


def _count(value: object) -> int:
    count = _integer(value)
    if not 1 <= count <= _MAX_ELEMENTS:
        raise ValueError(f"{count} elements")
    return count
