"""Reads ``.npz`` files of plain arrays: recorded truth, golden sets, calibration sets.

Never unpickles: arrays of objects or structures are refused. Sizes are checked before anything is allocated. What a
reader gets is C order, native byte order and read-only.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from edgerl.errors import CheckpointError, DamagedCheckpoint
from edgerl.limits import Budget, Limits
from edgerl.zip_reader import ZipReader, read_file

AnyArray: TypeAlias = np.ndarray[Any, np.dtype[Any]]

_KINDS = "biufcSU"
"""Kinds of dtypes: booleans, numbers, bytes and text of fixed length."""
_MAX_HEADER = 2000
"""Characters; a header is one small dictionary, parsed as a literal."""


def read_npz(path: Path | str, limits: Limits | None = None) -> Mapping[str, AnyArray]:
    """Return the arrays of an ``.npz`` file by name, in the order of the file.

    Raises:
        UnreadableFile: It cannot be opened.
        DamagedCheckpoint: Not a complete ``.npz`` of plain arrays.
        CheckpointTooLarge: Past a limit.
    """
    limits = limits or Limits()
    return parse_npz(read_file(path, limits), path, limits)


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
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        if read_header is None:
            raise DamagedCheckpoint(where, f"it has version {version} of the format, only 1.0 and 2.0 are read")
        shape, fortran, dtype = read_header(stream, max_header_size=_MAX_HEADER)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError, Warning) as error:
        raise DamagedCheckpoint(where, f"not a valid array ({str(error)[:200]})") from error
    if dtype.kind not in _KINDS or dtype.itemsize == 0:
        raise DamagedCheckpoint(where, f"it holds values of type {dtype}; only numbers and text are read")
    if any(type(axis) is not int or axis < 0 for axis in shape):
        raise DamagedCheckpoint(where, f"its shape is {shape}")
    count = math.prod(shape)
    needed, found = count * dtype.itemsize, len(data) - stream.tell()
    if needed != found:
        raise DamagedCheckpoint(where, f"a shape of {shape} and {dtype} need {needed} bytes, not {found}")
    budget.spend_elements(count)
    array = np.frombuffer(data, dtype, count, stream.tell()).reshape(shape, order="F" if fortran else "C")
    array = np.ascontiguousarray(array.astype(dtype.newbyteorder("="), copy=False)).reshape(shape)
    array.flags.writeable = False
    return array
