"""Reads ``.npz`` files of plain arrays: recorded truth, golden sets, calibration sets.

Never unpickles: arrays of objects or structures are refused. Sizes are checked before anything is allocated. What a
reader gets is C order, native byte order and read-only.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from edgerl.errors import CheckpointError, DamagedCheckpoint
from edgerl.untrusted.limits import Budget, Limits
from edgerl.untrusted.zip_reader import ZipReader

AnyArray: TypeAlias = np.ndarray[Any, np.dtype[Any]]

_KINDS = "biufcSU"
"""Kinds of dtypes: booleans, numbers, bytes and text of fixed length."""
_MAGIC = b"\x93NUMPY"
_LENGTH_FORMATS = {b"\x01\x00": "<H", b"\x02\x00": "<I"}
"""How each version of the format writes the length of its header. Reference: numpy/lib/_format_impl.py."""
_MAX_HEADER = 2000
_MAX_AXES = 32
_HEADER = re.compile(
    rb"\{\s*'descr':\s*'(?P<descr>[<>|=]?[biufcSU?]\d{0,6})',\s*'fortran_order':\s*(?P<fortran>True|False),"
    rb"\s*'shape':\s*\((?P<shape>(?:\d{1,12},\s*)*(?:\d{1,12})?)\)\s*,?\s*\}\s*"
)


def parse_npz(data: bytes, path: Path | str, limits: Limits | None = None) -> Mapping[str, AnyArray]:
    """Return the arrays in the bytes of an ``.npz`` file by name, in the order of the file.

    Args:
        data: The whole file.
        path: Names it in errors.
        limits: How much is accepted.

    Raises:
        DamagedCheckpoint: Not a complete ``.npz`` of plain arrays.
        CheckpointTooLarge: Past a limit.
    """
    limits = limits or Limits()
    archive = ZipReader(data, str(path), limits)
    budget = Budget(limits, str(path))
    arrays: dict[str, AnyArray] = {}
    for member in archive.names:
        name = member.removesuffix(".npy")
        if name in arrays:
            raise DamagedCheckpoint(path, f"array {name!r} is there twice")
        arrays[name] = _read_array(archive.read(member), f"{path}: array {name!r}", budget)
    return arrays


def first_reason(error: CheckpointError, path: Path | str) -> str:
    """Return what happened without the advice for a checkpoint, to be said in another file's error."""
    return str(error).removeprefix(f"{path}: ").partition(". ")[0]


def _read_array(data: bytes, where: str, budget: Budget) -> AnyArray:
    dtype, fortran, shape, start = _read_header(data, where)
    if dtype.kind not in _KINDS or dtype.itemsize == 0:
        raise DamagedCheckpoint(where, f"it holds values of type {dtype}; only numbers and text are read")
    count = math.prod(shape)
    needed, found = count * dtype.itemsize, len(data) - start
    if needed != found:
        raise DamagedCheckpoint(where, f"a shape of {shape} and {dtype} need {needed} bytes, not {found}")
    budget.spend_elements(count)
    array = np.frombuffer(data, dtype, count, start).reshape(shape, order="F" if fortran else "C")
    array = np.ascontiguousarray(array.astype(dtype.newbyteorder("="), copy=False)).reshape(shape)
    array.flags.writeable = False
    return array


def _read_header(data: bytes, where: str) -> tuple[np.dtype[Any], bool, tuple[int, ...], int]:
    """Return dtype, whether the first axis varies fastest, shape, and where the values begin.

    The header is matched, not evaluated. numpy's own reader evaluates it as a literal and, where that fails, as one
    of Python 2 after tokenizing it again.
    """
    if data[:6] != _MAGIC or data[6:8] not in _LENGTH_FORMATS:
        raise DamagedCheckpoint(where, "not a valid array of version 1.0 or 2.0 of the format")
    length_format = _LENGTH_FORMATS[data[6:8]]
    start = 8 + struct.calcsize(length_format)
    if len(data) < start:
        raise DamagedCheckpoint(where, "not a valid array: it ends in its header")
    (length,) = struct.unpack(length_format, data[8:start])
    header = _HEADER.fullmatch(data[start : start + min(length, _MAX_HEADER)])
    if header is None:
        raise DamagedCheckpoint(where, "its header does not describe a plain array; only numbers and text are read")
    axes = [int(axis) for axis in header["shape"].split(b",") if axis.strip()]
    try:
        dtype = np.dtype(header["descr"].decode("ascii"))
    except (TypeError, ValueError) as error:
        raise DamagedCheckpoint(where, f"{header['descr']!r} is no type of an array") from error
    if len(axes) > _MAX_AXES:
        raise DamagedCheckpoint(where, f"it has {len(axes)} axes, at most {_MAX_AXES} are read")
    return dtype, header["fortran"] == b"True", tuple(axes), start + length
