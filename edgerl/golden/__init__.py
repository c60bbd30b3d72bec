"""Golden set: inputs and the actions that belong to them, carried with a policy and run again wherever it goes.

A set is one sequence of rows; ``episode_start`` says where the state is reset. Rows recorded from the trainer come
first, generated ones that reach the limits of normalizers and inputs follow. The file is an ``.npz`` without pickles,
the same set gives the same bytes. Reading and verifying need numpy only, since the robot does both; making one is
:mod:`edgerl.golden.rows`.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from edgerl.errors import CheckpointError, GoldenError
from edgerl.files import write_file
from edgerl.untrusted.file import read_file
from edgerl.untrusted.limits import Limits
from edgerl.untrusted.npz import first_reason, parse_npz

if TYPE_CHECKING:
    from edgerl.backends import Runner
    from edgerl.spec import PolicySpec

AnyArray = npt.NDArray[Any]

SCHEMA = 1
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""Earliest time that a zip archive can hold; a real one would make equal sets different files."""


@dataclass(frozen=True, eq=False)
class GoldenSet:
    """Inputs and expected actions, rows along the first axis."""

    model: str
    """SHA-256 of the float32 model whose answers are expected."""
    inputs: Mapping[str, AnyArray]
    """By input name, shape (rows, *input shape)."""
    episode_start: npt.NDArray[np.bool_]
    """Shape (rows,); the state is reset before such a row."""
    expected_float32: AnyArray
    """What ONNX Runtime says, shape (rows, channels), float32 or int32."""
    tolerance: npt.NDArray[np.float64]
    """Largest difference from ``expected_float32`` per channel that a float32 engine may have."""
    decided: npt.NDArray[np.bool_]
    """Shape (rows, channels); false where a discrete choice is too close for another engine to be held to it."""
    expected_trainer: AnyArray | None
    """The trainer's own actions, shape (rows, channels); rows without one are zero."""
    trainer_rows: npt.NDArray[np.bool_]
    """Shape (rows,); where ``expected_trainer`` holds. These rows follow each other as they were recorded."""
    state: Mapping[str, AnyArray]
    """State after each row by state name, shape (rows, *state shape); empty for a policy without memory."""

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.episode_start)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the file."""
        return hashlib.sha256(save_golden_bytes(self)).hexdigest()


@dataclass(frozen=True)
class GoldenVerdict:
    """Whether a runner reproduces a golden set."""

    status: Literal["passed", "failed"]
    rows: int
    max_error: tuple[float, ...]
    """Per channel; infinite for NaN, number of wrong choices for the discrete kinds."""
    tolerance: tuple[float, ...]
    worst_row: int
    worst_channel: int
    expected: float
    found: float | None
    """None for NaN."""

    def describe(self) -> str:
        """Return one clause that says how far it is off, and where."""
        return (
            f"row {self.worst_row}, channel {self.worst_channel}: expected {self.expected!r}, found {self.found!r}, "
            f"tolerance {self.tolerance[self.worst_channel]:.3g}"
        )


def check_golden(golden: GoldenSet, spec: PolicySpec, where: Path | str) -> None:
    """Refuse a golden set whose arrays are not those of a spec, or which any answer would satisfy.

    Raises:
        GoldenError: A name, shape or dtype differs; the message names it. Or a tolerance is no number, or infinite.
    """
    expected = {f"input {item.name}": ((golden.rows, *item.shape), str(item.dtype)) for item in spec.inputs}
    expected |= {f"state {item.name}": ((golden.rows, *item.shape), "float32") for item in spec.state}
    action = "float32" if spec.action.kind == "continuous" else "int32"
    expected["action"] = ((golden.rows, spec.action.size), action)
    found = {f"input {name}": (array.shape, str(array.dtype)) for name, array in golden.inputs.items()}
    found |= {f"state {name}": (array.shape, str(array.dtype)) for name, array in golden.state.items()}
    found["action"] = (golden.expected_float32.shape, str(golden.expected_float32.dtype))
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise GoldenError(where, f"'{name}' is {found.get(name)}, the spec says {expected.get(name)}")
    if not (np.isfinite(golden.tolerance).all() and (golden.tolerance >= 0).all()):
        raise GoldenError(where, f"its tolerances are {golden.tolerance.tolist()[:4]}, valid are finite ones from 0")


def verify_golden(
    runner: Runner,
    golden: GoldenSet,
    tolerance: Sequence[float] | None = None,
    expected: AnyArray | None = None,
) -> GoldenVerdict:
    """Return whether a runner answers as expected, in sequence, its state reset at each start and at the end.

    Args:
        runner: A loaded engine.
        golden: What to run.
        tolerance: Per channel; without it the one of a float32 engine.
        expected: Other expected actions, such as an int8 engine's own; shape (rows, channels).
    """
    limit = np.asarray(golden.tolerance if tolerance is None else tolerance, np.float64)
    reference = golden.expected_float32 if expected is None else expected
    found = np.empty(reference.shape, runner.outputs["action"].dtype)
    for row in range(golden.rows):
        if golden.episode_start[row]:
            runner.reset()
        for name, array in golden.inputs.items():
            runner.inputs[name][0] = array[row]
        runner.infer()
        found[row] = runner.outputs["action"][0]
    runner.reset()
    error = np.abs(found.astype(np.float64) - reference.astype(np.float64))
    error[np.isnan(error)] = np.inf
    error[~golden.decided] = 0.0
    excess = np.where(error <= limit, 0.0, error)
    row, channel = divmod(int(np.argmax(excess if excess.any() else error)), error.shape[1])
    said = float(found[row, channel])
    return GoldenVerdict(
        "failed" if excess.any() else "passed",
        golden.rows,
        tuple(float(value) for value in error.max(axis=0)),
        tuple(float(value) for value in limit),
        row,
        channel,
        float(reference[row, channel]),
        None if np.isnan(said) else said,
    )


def save_golden_bytes(golden: GoldenSet) -> bytes:
    """Return the set as a file; the same set gives the same bytes."""
    arrays: dict[str, AnyArray] = {
        "schema": np.asarray(SCHEMA, np.int64),
        "model": np.frombuffer(bytes.fromhex(golden.model), np.uint8),
        "episode_start": golden.episode_start,
        "expected.float32": golden.expected_float32,
        "tolerance": golden.tolerance,
        "decided": golden.decided,
        "trainer_rows": golden.trainer_rows,
    }
    if golden.expected_trainer is not None:
        arrays["expected.trainer"] = golden.expected_trainer
    arrays |= {f"input.{name}": array for name, array in golden.inputs.items()}
    arrays |= {f"after.{name}": array for name, array in golden.state.items()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in sorted(arrays):
            member = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
            member.compress_type = zipfile.ZIP_STORED  # deflate differs between zlib builds
            member.create_system = 3
            archive.writestr(member, _npy(arrays[name]))
    return buffer.getvalue()


def save_golden(golden: GoldenSet, path: Path | str) -> None:
    """Write the set, replacing what was there, whole or not at all.

    Raises:
        OutputError: The file could not be written.
    """
    write_file(path, save_golden_bytes(golden))


def load_golden(path: Path | str) -> GoldenSet:
    """Return the set in a file.

    Raises:
        UnreadableFile: It cannot be opened.
        GoldenError: Not a golden set.
    """
    try:
        data = read_file(path, Limits())
    except CheckpointError as error:
        raise GoldenError(path, first_reason(error, path)) from error
    return read_golden(data, path)


def read_golden(data: bytes, where: Path | str) -> GoldenSet:
    """Return the set in the bytes of a file that :func:`save_golden` wrote.

    Args:
        data: The whole file.
        where: Names it in errors.

    Raises:
        GoldenError: Not a golden set.
    """
    try:
        arrays = dict(parse_npz(data, where))
    except CheckpointError as error:
        raise GoldenError(where, first_reason(error, where)) from error
    schema = arrays.pop("schema", np.asarray(0))
    if schema.shape != () or schema.dtype != np.int64 or int(schema) != SCHEMA:
        raise GoldenError(where, f"schema is {schema}, this edgerl reads {SCHEMA}")
    return _Fields(arrays, where).golden()


class _Fields:
    """Takes arrays of the expected form out of a file."""

    def __init__(self, arrays: dict[str, AnyArray], where: Path | str) -> None:
        self.arrays, self.where = arrays, where

    def golden(self) -> GoldenSet:
        model = self.take("model", np.uint8, (32,))
        rows = self.arrays["episode_start"].size if "episode_start" in self.arrays else 0
        starts = self.take("episode_start", np.bool_, (rows,))
        if not rows or not starts[0]:
            raise GoldenError(self.where, "its first row is no start of an episode")
        expected = self.arrays.get("expected.float32", np.zeros((0, 0)))
        form = (rows, expected.shape[-1] if expected.ndim == 2 else 0)
        dtype = np.int32 if expected.dtype == np.int32 else np.float32
        golden = GoldenSet(
            bytes(model).hex(),
            self.group("input.", rows),
            starts,
            self.take("expected.float32", dtype, form),
            self.take("tolerance", np.float64, form[1:]),
            self.take("decided", np.bool_, form),
            self.take("expected.trainer", dtype, form) if "expected.trainer" in self.arrays else None,
            self.take("trainer_rows", np.bool_, (rows,)),
            self.group("after.", rows),
        )
        if self.arrays:
            raise GoldenError(self.where, f"there is an unknown array '{next(iter(self.arrays))}'")
        return golden

    def take(self, name: str, dtype: type[np.generic], shape: tuple[int, ...]) -> AnyArray:
        if name not in self.arrays:
            raise GoldenError(self.where, f"there is no array '{name}'")
        array = self.arrays.pop(name)
        if array.dtype != dtype or array.shape != shape:
            raise GoldenError(
                self.where, f"'{name}' is {array.dtype} {array.shape}, expected {np.dtype(dtype)} {shape}"
            )
        return array

    def group(self, prefix: str, rows: int) -> dict[str, AnyArray]:
        names = [name for name in self.arrays if name.startswith(prefix)]
        found = {name.removeprefix(prefix): self.arrays.pop(name) for name in names}
        for name, array in found.items():
            if array.ndim < 2 or len(array) != rows:
                raise GoldenError(self.where, f"'{prefix}{name}' has the shape {array.shape}, expected {rows} rows")
        return found


def _npy(array: AnyArray) -> bytes:
    buffer = io.BytesIO()
    whole = np.ascontiguousarray(array).reshape(array.shape)  # ascontiguousarray makes a vector of a scalar
    np.save(buffer, whole, allow_pickle=False)
    return buffer.getvalue()
