"""Truth: what the trainer itself answered to recorded observations.

A truth file is an ``.npz`` with ``obs`` (or ``obs.<key>`` for several inputs), ``action``, and for policies with memory
``episode_start`` and, where recorded, ``state_in.*`` and ``state_out.*``; the first axis is time. Read as data, checked
against the spec, and brought into the graph's dtypes; nothing is ever reshaped by guessing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgerl.errors import CheckpointError, TruthError
from edgerl.spec import Input, PolicySpec
from edgerl.untrusted.file import read_file
from edgerl.untrusted.limits import Limits
from edgerl.untrusted.npz import AnyArray, first_reason, parse_npz

MAX_EXACT_INTEGER = 2**24
"""Integers up to here are exact in float32."""


@dataclass(frozen=True, eq=False)
class Truth:
    """Recorded observations and the trainer's actions, checked against a spec."""

    name: str
    """Name of the file, for people."""
    digest: str
    """SHA-256 of the file."""
    action_key: str
    """``action``, or ``policy_action`` where the environment re-scales what the policy answers."""
    inputs: Mapping[str, AnyArray]
    """By input name, shape (rows, *input shape), in the spec's dtype."""
    action: AnyArray
    """Shape (rows, channels); float64 for the continuous kind, int64 for the others."""
    episode_start: npt.NDArray[np.bool_]
    """Shape (rows,). Where the file has none, every row of a policy without memory is a start: nobody said that they
    follow each other."""
    state_in: Mapping[str, AnyArray]
    """By state name, shape (rows, *state shape); empty where not recorded."""
    state_out: Mapping[str, AnyArray]

    @property
    def rows(self) -> int:
        """Number of recorded steps."""
        return len(self.action)


def read_truth(path: Path | str, spec: PolicySpec) -> Truth:
    """Return the truth in an ``.npz`` file.

    Args:
        path: The file.
        spec: Of the policy that it was recorded from.

    Raises:
        UnreadableFile: It cannot be opened.
        TruthError: It is damaged, or an array is missing or has another shape or dtype than the spec says.
    """
    try:
        data = read_file(path, Limits())
        arrays = parse_npz(data, path)
    except CheckpointError as error:
        raise TruthError(path, first_reason(error, path), "a complete .npz of plain arrays") from error
    return _Reader(path, spec, arrays).read(hashlib.sha256(data).hexdigest())


class _Reader:
    def __init__(self, path: Path | str, spec: PolicySpec, arrays: Mapping[str, AnyArray]) -> None:
        self.path, self.spec, self.arrays = path, spec, arrays

    def read(self, digest: str) -> Truth:
        key, action = self.action()
        inputs = {item.name: self.observation(item, len(action)) for item in self.spec.inputs}
        starts = self.episode_start(len(action))
        state_in, state_out = (self.state(prefix, len(action)) for prefix in ("state_in", "state_out"))
        if self.spec.state and not starts[0] and not state_in:
            raise self.refuse(
                "episode_start is false in the first row and there is no state_in", "a start or its state"
            )
        return Truth(Path(self.path).name, digest, key, inputs, action, starts, state_in, state_out)

    def refuse(self, what: str, expected: str) -> TruthError:
        return TruthError(self.path, what, expected)

    def get(self, name: str) -> AnyArray:
        if name not in self.arrays:
            raise self.refuse(f"there is no array '{name}' (found: {', '.join(self.arrays) or 'nothing'})", f"'{name}'")
        array = self.arrays[name]
        if array.dtype.kind not in "biuf":
            raise self.refuse(f"'{name}' has the dtype {array.dtype}", "numbers")
        if not np.all(np.isfinite(array)):
            row = int(np.argwhere(~np.isfinite(np.atleast_1d(array)))[0][0])
            raise self.refuse(f"'{name}' is not finite in row {row}", "finite numbers")
        return array

    def action(self) -> tuple[str, AnyArray]:
        spec = self.spec.action
        action = self.get("action")
        rows = len(action) if action.ndim else 0
        if not rows:
            raise self.refuse(f"'action' has the shape {action.shape}", "one row per recorded step")
        key = "action"
        if spec.kind == "continuous" and "policy_action" in self.arrays:
            candidate = self.get("policy_action")
            if candidate.shape == (rows, spec.size):
                key, action = "policy_action", candidate
        if action.ndim != 2 and action.size == rows * spec.size:  # a single channel, or a box of several axes
            action = action.reshape(rows, spec.size)
        if action.shape != (rows, spec.size):
            raise self.refuse(f"'{key}' has the shape {action.shape}", f"({rows}, {spec.size})")
        if spec.kind == "continuous":
            return key, action.astype(np.float64)
        if action.dtype.kind == "f" and not np.all(action == np.rint(action)):
            raise self.refuse(f"'{key}' has values that are no integers", f"the choices of a {spec.kind} action")
        return key, action.astype(np.int64)

    def observation(self, item: Input, rows: int) -> AnyArray:
        key = "obs" + item.name.removeprefix("observation")
        array = self.get(key)
        if array.shape == (rows,) and item.shape == (1,):
            array = array.reshape(rows, 1)
        if array.shape != (rows, *item.shape):
            raise self.refuse(f"'{key}' has the shape {array.shape}", _expected(rows, item.shape, array.shape))
        return self.converted(array, key, item)

    def converted(self, array: AnyArray, key: str, item: Input) -> AnyArray:
        """Bring an array into the input's dtype: floats are rounded to float32, integers must fit exactly."""
        if item.dtype == "float32":
            if array.dtype.kind == "f":
                return array.astype(np.float32)
            low, high = -MAX_EXACT_INTEGER, MAX_EXACT_INTEGER
        else:
            low, high = int(np.iinfo(item.dtype).min), int(np.iinfo(item.dtype).max)
        if array.dtype.kind == "f":
            raise self.refuse(f"'{key}' has the dtype {array.dtype}", f"{item.dtype}, as the policy observes it")
        if array.size and (int(array.min()) < low or int(array.max()) > high):
            raise self.refuse(f"'{key}' reaches from {array.min()} to {array.max()}", f"{low} to {high} ({item.dtype})")
        return array.astype(item.dtype)

    def episode_start(self, rows: int) -> npt.NDArray[np.bool_]:
        if "episode_start" not in self.arrays:
            if self.spec.state:
                raise self.refuse(
                    "a policy with memory, but no array 'episode_start'", f"'episode_start' of shape ({rows},)"
                )
            return np.ones(rows, np.bool_)
        starts = self.get("episode_start")
        if starts.shape != (rows,):
            raise self.refuse(f"'episode_start' has the shape {starts.shape}", f"({rows},)")
        return starts.astype(bool)

    def state(self, prefix: str, rows: int) -> dict[str, AnyArray]:
        keys = [key for key in self.arrays if key.startswith(f"{prefix}.")]
        if not self.spec.state or not keys:
            return {}
        found = {}
        for tensor in self.spec.state:
            name = tensor.name.removeprefix("state.")
            part = name.rpartition(".")[2]
            candidates = [key for key in (f"{prefix}.{name}", f"{prefix}.{part}") if key in self.arrays]
            shared = [one.name for one in self.spec.state if one.name.endswith(f".{part}")]
            if not candidates or (candidates[0] == f"{prefix}.{part}" and len(shared) > 1):
                raise self.refuse(f"no array for {tensor.name} (found: {', '.join(keys)})", f"'{prefix}.{name}'")
            array = self.get(candidates[0])
            flat = (rows, tensor.shape[0], *tensor.shape[2:])  # trainers leave out the batch axis
            if array.shape not in ((rows, *tensor.shape), flat):
                raise self.refuse(
                    f"'{candidates[0]}' has the shape {array.shape}", f"{(rows, *tensor.shape)} or {flat}"
                )
            found[tensor.name] = array.reshape(rows, *tensor.shape).astype(np.float32)
        return found


def _expected(rows: int, shape: tuple[int, ...], found: tuple[int, ...]) -> str:
    text = str((rows, *shape))
    if len(shape) == 3 and found[1:] in ((shape[2], shape[0], shape[1]), (shape[1], shape[2], shape[0])):
        kind = "height x width x channels (HWC)" if shape[2] < shape[0] else "channels x height x width (CHW)"
        return f"{text}: the policy observes {kind} and these images have their channels on another axis"
    if len(found) != len(shape) + 1:
        return f"{text}, one row per recorded step"
    return text
