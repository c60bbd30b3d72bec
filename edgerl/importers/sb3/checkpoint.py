"""A checkpoint of Stable-Baselines3 with everything that belongs to it, read, before it becomes a Policy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgerl.errors import UnsupportedPolicy
from edgerl.importers.options import ImportOptions
from edgerl.importers.sb3.file import Sb3File, read_sb3
from edgerl.importers.sb3.statistics import Statistics, find_statistics, read_statistics
from edgerl.importers.spaces import Dict, PlainSpace, Space, read_space


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The saved zip, its spaces and its statistics."""

    file: Sb3File
    observation: Space
    action: PlainSpace
    statistics: Statistics | None
    options: ImportOptions


def open_checkpoint(path: Path, options: ImportOptions) -> Checkpoint:
    """Read a checkpoint and its statistics; nothing in them is executed.

    Raises:
        CheckpointError: Damaged, unsafe, too large, ambiguous, or with spaces that are not known.
    """
    file = read_sb3(path, options.limits)
    found = find_statistics(file.path, options.stats)
    action = read_space(file.data.get("action_space"), "action space", str(file.path))
    if isinstance(action, Dict):
        raise UnsupportedPolicy(file.path, "the action space is a Dict", "Box, Discrete, MultiDiscrete, MultiBinary")
    return Checkpoint(
        file=file,
        observation=read_space(file.data.get("observation_space"), "observation space", str(file.path)),
        action=action,
        statistics=read_statistics(found, options.limits) if found else None,
        options=options,
    )
