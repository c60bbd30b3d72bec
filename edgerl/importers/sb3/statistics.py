"""Observation statistics of Stable-Baselines3's ``VecNormalize``, and where they lie beside a checkpoint.

Stable-Baselines3 keeps them in a file of their own and does not write into the checkpoint whether there were any.
A policy without its statistics acts on numbers that it has never seen, so what was found, or that nothing was, is
always said. Reference: stable_baselines3/common/vec_env/vec_normalize.py, common/callbacks.py (CheckpointCallback).
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgerl.errors import AmbiguousCheckpoint, StatisticsMismatch
from edgerl.policy import Normalize
from edgerl.untrusted.file import read_file
from edgerl.untrusted.foreign import Foreign, brief
from edgerl.untrusted.limits import Limits
from edgerl.untrusted.unpickle import read_pickle

NO_STATISTICS = "none"
"""Instead of a path: the policy was trained without statistics, whatever lies beside it."""
_NAMES = ("vecnormalize.pkl", "vec_normalize.pkl")
_STEPS = re.compile(r"(?P<prefix>.+)_(?P<steps>\d+)_steps")
_MAX_INTEGER = 1 << 53
_EXPECTED = "the pickle that VecNormalize.save wrote"


@dataclass(frozen=True, eq=False)
class Statistics:
    """Running statistics of the observations."""

    path: Path
    sha256: str
    normalizers: Mapping[str | None, Normalize]
    """By key of the observation; the one of an observation without keys is under ``None``."""
    foreign_globals: frozenset[str]


def find_statistics(checkpoint: Path, stats: Path | str | None) -> Path | None:
    """Return the statistics file that belongs to a checkpoint, or None where there is none.

    Args:
        checkpoint: The zip.
        stats: What the user named; ``None``: look beside the checkpoint; ``"none"``: there are none.

    Raises:
        AmbiguousCheckpoint: Several different files could be meant.
    """
    if stats is not None:
        return None if stats == NO_STATISTICS else Path(stats)
    found: dict[str, Path] = {}
    for path in _candidates(checkpoint):
        if path.is_file():
            found.setdefault(hashlib.sha256(read_file(path)).hexdigest(), path)
    if len(found) > 1:
        names = (str(path.relative_to(checkpoint.parent)) for path in found.values())
        remedy = "Name one with --stats FILE, or say --stats none."
        raise AmbiguousCheckpoint(checkpoint, "normalizer statistics", names, remedy)
    return next(iter(found.values()), None)


def _candidates(checkpoint: Path) -> Iterator[Path]:
    folder, stem = checkpoint.parent, checkpoint.stem
    for name in _NAMES:
        yield folder / name
        yield folder / stem / name
        yield folder / f"{stem}_{name}"
    callback = _STEPS.fullmatch(stem)
    if callback:
        yield folder / f"{callback['prefix']}_vecnormalize_{callback['steps']}_steps.pkl"
    for arguments in sorted(folder.glob("*/args.yml")):  # rl_zoo3: <environment>/ beside best_model.zip
        yield arguments.parent / _NAMES[0]


def read_statistics(path: Path, limits: Limits) -> Statistics:
    """Read a file of ``VecNormalize.save``; nothing in it is executed.

    Raises:
        UnreadableFile: It cannot be opened.
        DamagedCheckpoint: Not a complete pickle.
        StatisticsMismatch: It holds something else, or statistics that make no sense.
    """
    raw = read_file(path, limits)
    pickled = read_pickle(raw, str(path), limits)
    record = pickled.value
    if not isinstance(record, Foreign) or record.name != "VecNormalize":
        raise StatisticsMismatch(path, f"it holds {brief(record)}", _EXPECTED)
    return Statistics(
        path=path,
        sha256=hashlib.sha256(raw).hexdigest(),
        normalizers=_normalizers(path, record.attributes),
        foreign_globals=frozenset(pickled.foreign_globals),
    )


def _normalizers(path: Path, parts: Mapping[str, object]) -> dict[str | None, Normalize]:
    if parts.get("norm_obs") is False:
        return {}
    eps = _number(path, parts, "epsilon")
    clip = _number(path, parts, "clip_obs")
    running = parts.get("obs_rms")
    if not isinstance(running, dict):
        return {None: _normalize(path, running, eps, clip)}
    keys = parts.get("norm_obs_keys")
    if not isinstance(keys, (list, tuple)):
        keys = list(running)
    missing = [brief(key) for key in keys if not isinstance(key, str) or key not in running]
    if missing:
        raise StatisticsMismatch(path, f"it has no statistics for {', '.join(missing)}", _EXPECTED)
    return {str(key): _normalize(path, running[key], eps, clip) for key in keys}


def _normalize(path: Path, running: object, eps: float, clip: float) -> Normalize:
    parts = running.attributes if isinstance(running, Foreign) else {}
    mean, variance = (_array(path, parts.get(name), name) for name in ("mean", "var"))
    if mean.shape != variance.shape or not (variance >= 0).all():
        raise StatisticsMismatch(path, "mean and variance do not fit each other", _EXPECTED)
    if not math.isfinite(eps) or (eps == 0 and not (variance > 0).all()):
        raise StatisticsMismatch(path, "its epsilon makes a divisor of zero or infinity", _EXPECTED)
    return Normalize(mean, variance, eps, eps_inside=True, clip=(-clip, clip) if math.isfinite(clip) else None)


def _array(path: Path, value: object, name: str) -> npt.NDArray[np.float64]:
    array = np.asarray(value) if isinstance(value, (np.ndarray, np.floating, float, int)) else None
    if array is None or array.dtype.kind not in "fiu":
        raise StatisticsMismatch(path, f"its {name} is no array of numbers", _EXPECTED)
    array = np.array(array, np.float64)
    if not np.isfinite(array).all():
        raise StatisticsMismatch(path, f"its {name} holds values that are not finite", _EXPECTED)
    array.flags.writeable = False
    return array


def _number(path: Path, parts: Mapping[str, object], name: str) -> float:
    value = parts.get(name)
    if isinstance(value, (int, np.integer)):
        value = int(value)
    if isinstance(value, (float, np.floating)) or (isinstance(value, int) and abs(value) < _MAX_INTEGER):
        number = float(value)
        if number >= 0:
            return number
    raise StatisticsMismatch(path, f"its {name} is {brief(value)}", _EXPECTED)
