"""The allow-list of the restricted unpickler: plain containers and numpy arrays, rebuilt without calling numpy's own.

Arrays come from the bytes in the file through ``numpy.frombuffer`` with shape, dtype and size checked first. Dtypes
that could hold Python objects, fields or dates stay inert. Nothing else is ever added to this list: another reader
passes its own additions (torch storages) to :func:`edgerl.untrusted.unpickle.read_pickle`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias, cast

import numpy as np

from edgerl.untrusted.foreign import Foreign, Malformed, Pending
from edgerl.untrusted.limits import Budget

Rebuild: TypeAlias = Callable[[Budget, tuple[object, ...]], object]
Rebuilders: TypeAlias = Mapping[tuple[str, str], Rebuild]
Dtype: TypeAlias = np.dtype[Any]
Numbers: TypeAlias = np.ndarray[Any, Dtype]

_KINDS = frozenset("?bBhHiIlLqQefdFD")
"""numpy type characters of plain numbers; objects, text, dates and structures stay inert."""
_MAX_ITEMSIZE = 16
_MAX_DIMENSIONS = 32
_TUPLE_KEY_COST = 100
"""Operations charged for a tuple as a key; a file can choose tuples that all hash to one value."""


def integers(value: object) -> tuple[int, ...]:
    """Return a tuple or list of plain integers that are not negative, as shapes and strides are.

    Raises:
        Malformed: Anything else.
    """
    if not isinstance(value, (tuple, list)) or len(value) > _MAX_DIMENSIONS:
        raise Malformed(f"expected a shape of at most {_MAX_DIMENSIONS} axes")
    if any(type(item) is not int or item < 0 for item in value):
        raise Malformed("expected a shape of integers that are not negative")
    return tuple(cast("tuple[int, ...]", value))


def array_from_bytes(budget: Budget, raw: object, dtype: Dtype, shape: tuple[int, ...], *, fortran: bool) -> Numbers:
    """Return a read-only array in native byte order over the bytes of a file.

    Args:
        budget: Counts the elements.
        raw: Bytes of exactly ``shape`` and ``dtype``.
        dtype: A plain number, in the byte order of the file.
        shape: Axes.
        fortran: Whether the first axis varies fastest.

    Raises:
        Malformed: The bytes are not as many as the shape needs.
        CheckpointTooLarge: Too many elements.
    """
    if isinstance(raw, str):
        raw = raw.encode("latin-1")  # Python 2 had one type for both
    if not isinstance(raw, (bytes, bytearray)):
        raise Malformed("expected the bytes of an array")
    count = math.prod(shape)
    if len(raw) != count * dtype.itemsize:
        raise Malformed(
            f"an array of shape {shape} and type {dtype} needs {count * dtype.itemsize} bytes, not {len(raw)}"
        )
    budget.spend_elements(count)
    array = np.frombuffer(bytes(raw), dtype).reshape(shape, order="F" if fortran else "C")
    array = array.astype(dtype.newbyteorder("="), copy=False)
    array.flags.writeable = False
    return array


def _plain_dtype(code: object) -> Dtype | None:
    """Return the dtype for a code like ``f4``, or None where it must stay inert."""
    if not isinstance(code, str) or len(code) > 4:
        return None
    try:
        dtype = np.dtype(code)
    except TypeError as error:
        raise Malformed(f"{code!r} is no type of an array") from error
    return dtype if dtype.char in _KINDS and dtype.itemsize <= _MAX_ITEMSIZE else None


class _PendingDtype(Pending):
    __slots__ = ()

    def build(self, state: object) -> object:
        dtype = _plain_dtype(self.args[0] if self.args else None)
        if dtype is None:
            self.state = state
            return self
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", ">", "|", "="):
            raise Malformed("the state of a dtype does not say a byte order")
        return dtype.newbyteorder(cast("Any", state[1]))


class _PendingArray(Pending):
    __slots__ = ("budget",)
    budget: Budget

    def build(self, state: object) -> object:
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise Malformed("the state of an array has not four or five parts")
        shape, dtype, fortran, raw = state[-4:]
        if not isinstance(dtype, np.dtype):
            self.state = state
            return self
        return array_from_bytes(self.budget, raw, dtype, integers(shape), fortran=bool(fortran))


def _dtype(_budget: Budget, args: tuple[object, ...]) -> object:
    return _PendingDtype("numpy", "dtype", args)


def _reconstruct(budget: Budget, args: tuple[object, ...]) -> object:
    kind = args[0] if args else None
    if not isinstance(kind, Foreign) or kind.qualified != "numpy.ndarray":
        return Foreign("numpy.core.multiarray", "_reconstruct", args)
    pending = _PendingArray("numpy", "ndarray", args)
    pending.budget = budget
    return pending


def _frombuffer(budget: Budget, args: tuple[object, ...]) -> object:
    if len(args) not in (4, 5):
        raise Malformed("an array from a buffer needs buffer, dtype, shape, order and perhaps an order of axes")
    raw, dtype, shape, order = args[:4]
    if not isinstance(dtype, np.dtype):
        return Foreign("numpy.core.numeric", "_frombuffer", args)
    if order not in ("C", "F", "K"):
        raise Malformed("the order of an array is not C, F or K")
    array = array_from_bytes(budget, raw, dtype, integers(shape), fortran=order == "F")
    if order != "K":
        return array
    # numpy 2.3 and later: any memory order, as C order and a permutation of the axes
    axes = integers(args[4] if len(args) == 5 else None)
    if sorted(axes) != list(range(array.ndim)):
        raise Malformed(f"{axes} is not a permutation of {array.ndim} axes")
    return array.transpose(axes)


def _scalar(budget: Budget, args: tuple[object, ...]) -> object:
    if len(args) != 2 or not isinstance(args[0], np.dtype):
        return Foreign("numpy.core.multiarray", "scalar", args)
    return array_from_bytes(budget, args[1], args[0], (), fortran=False)[()]


def _ordered_dict(budget: Budget, args: tuple[object, ...]) -> object:
    if not args:
        return {}
    if len(args) != 1 or not isinstance(args[0], (list, tuple)):
        raise Malformed("an ordered dictionary is made from pairs")
    budget.spend_operations(len(args[0]))
    made: dict[object, object] = {}
    for pair in args[0]:
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise Malformed("an ordered dictionary is made from pairs")
        made[checked_key(budget, pair[0])] = pair[1]
    return made


def _members(budget: Budget, args: tuple[object, ...]) -> Iterator[object]:
    if len(args) > 1 or not all(isinstance(part, (list, tuple)) for part in args):
        raise Malformed("a set is made from one list")
    for part in cast("tuple[list[object], ...]", args):
        budget.spend_operations(len(part))
        for item in part:
            yield checked_key(budget, item)


def _encode(budget: Budget, args: tuple[object, ...]) -> object:
    if len(args) != 2 or not isinstance(args[0], str) or args[1] not in ("latin1", "latin-1"):
        raise Malformed("bytes are written as latin1 text")
    budget.spend_operations(1 + len(args[0]) // 64)
    return args[0].encode("latin-1")


def _bytes(_budget: Budget, args: tuple[object, ...]) -> object:
    if args and not isinstance(args[0], bytes):
        raise Malformed("bytes are made from bytes")
    return args[0] if args else b""


def _complex(_budget: Budget, args: tuple[object, ...]) -> object:
    if len(args) != 2 or not all(isinstance(part, float) for part in args):
        raise Malformed("a complex number is made from two floats")
    real, imaginary = cast("tuple[float, float]", args)
    return complex(real, imaginary)


def checked_key(budget: Budget, value: object) -> object:
    """Return a value that may be a key or a member of a set.

    Text, bytes, small integers, records; and tuples of at most eight of these, charged dearly. What is left out hashes
    to values that a file could choose to collide by the million, or recurses without bound.

    Raises:
        Malformed: It may not.
        CheckpointTooLarge: Too many tuples.
    """
    if isinstance(value, tuple):
        budget.spend_operations(_TUPLE_KEY_COST)
        if len(value) <= 8 and all(_is_plain_key(item) for item in value):
            return value
    elif _is_plain_key(value):
        return value
    raise Malformed(f"a {type(value).__name__} of this kind cannot be a key")


def _is_plain_key(value: object) -> bool:
    if value is None or isinstance(value, (str, bytes, bool, Foreign)):
        return True
    return type(value) is int and -(2**60) < value < 2**60


NUMPY: Rebuilders = {
    (module + part, name): rebuild
    for module in ("numpy.core.", "numpy._core.")
    for part, name, rebuild in (
        ("multiarray", "_reconstruct", _reconstruct),
        ("multiarray", "scalar", _scalar),
        ("numeric", "_frombuffer", _frombuffer),
    )
}
BUILTIN: Rebuilders = {
    ("numpy", "dtype"): _dtype,
    ("collections", "OrderedDict"): _ordered_dict,
    ("builtins", "set"): lambda budget, args: set(_members(budget, args)),
    ("builtins", "frozenset"): lambda budget, args: frozenset(_members(budget, args)),
    ("builtins", "bytes"): _bytes,
    ("builtins", "bytearray"): _bytes,
    ("builtins", "complex"): _complex,
    ("_codecs", "encode"): _encode,
}
KNOWN = frozenset({("numpy", "ndarray"), ("builtins", "object")})
"""Globals that a rebuilder takes as an argument; they are recorded, and not counted as foreign."""
