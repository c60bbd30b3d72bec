"""Reading trainers' checkpoints without running them: a file or folder to a :class:`edgerl.policy.Policy`.

One importer per trainer. Each one recognizes its files (``detect``), reads them (``read``) and describes them
(``describe``), with numpy alone (ONNX files need onnx): no trainer, torch or simulator is imported, and nothing in a
file is executed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgerl.errors import UnknownTrainer, UnreadableFile
from edgerl.importers import onnx_file, sb3
from edgerl.importers.description import BlockDescription, CheckpointDescription
from edgerl.importers.options import ImageLayout, ImportOptions
from edgerl.policy import Policy
from edgerl.untrusted.file import read_file
from edgerl.untrusted.limits import Limits
from edgerl.untrusted.torch_zip import is_legacy_torch
from edgerl.untrusted.zip_reader import ZipReader, is_zip

__all__ = [
    "IMPORTERS",
    "BlockDescription",
    "CheckpointDescription",
    "ImageLayout",
    "ImportOptions",
    "Importer",
    "Limits",
    "describe_checkpoint",
    "detect_trainer",
    "read_checkpoint",
]


@dataclass(frozen=True)
class Importer:
    """How one trainer's checkpoints are read."""

    title: str
    """Trainer and files, for people."""
    detect: Callable[[Path], float]
    """How sure it is, from 0 to 1, that a path is its own; never raises."""
    read: Callable[[Path, ImportOptions], Policy]
    describe: Callable[[Path, ImportOptions], CheckpointDescription]


IMPORTERS: Mapping[str, Importer] = {
    sb3.NAME: Importer(sb3.TITLE, sb3.detect, sb3.read, sb3.describe),
    onnx_file.NAME: Importer(onnx_file.TITLE, onnx_file.detect, onnx_file.read, onnx_file.describe),
}
"""By the name that ``--trainer`` takes."""


def detect_trainer(path: Path | str) -> str:
    """Return the name of the importer that recognizes a checkpoint best.

    Raises:
        UnreadableFile: There is nothing at ``path``.
        DamagedCheckpoint: It is a zip archive that is cut off.
        UnknownTrainer: None recognizes it.
    """
    path = Path(path)
    if not path.exists():
        raise UnreadableFile(path, "there is no such file or folder")
    sure = {name: importer.detect(path) for name, importer in IMPORTERS.items()}
    best = max(sure, key=lambda name: sure[name])
    if sure[best] > 0:
        return best
    raise UnknownTrainer(path, _found(path), (f"{importer.title} as '{name}'" for name, importer in IMPORTERS.items()))


def read_checkpoint(
    path: Path | str,
    *,
    trainer: str | None = None,
    stats: Path | str | None = None,
    image_layout: ImageLayout | None = None,
    spec: Path | None = None,
    limits: Limits | None = None,
) -> Policy:
    """Read a checkpoint; nothing in it is executed.

    Args:
        path: The file, or a folder that holds it.
        trainer: A name in :data:`IMPORTERS`; ``None``: recognized from the file.
        stats: Normalizer statistics; ``None``: look beside the checkpoint; ``"none"``: there are none.
        image_layout: How the environment orders images; ``None``: as the trainer assumes.
        spec: TOML with the kind and range of the action, for an ONNX graph that somebody else made.
        limits: What is accepted.

    Raises:
        CheckpointError: Damaged, unsafe, too large, ambiguous, unknown, or of a kind that is not read.
        ModelError: An ONNX graph that is not valid or of a kind that is refused.
        SpecError: Facts are missing, or contradict the graph.
        UnreadableFile: It cannot be opened.
    """
    options = ImportOptions(stats, image_layout, spec, limits or Limits())
    return _importer(path, trainer).read(Path(path), options)


def describe_checkpoint(
    path: Path | str,
    stats: Path | str | None = None,
    *,
    trainer: str | None = None,
    image_layout: ImageLayout | None = None,
    limits: Limits | None = None,
) -> CheckpointDescription:
    """Describe a checkpoint, exportable or not; nothing in it is executed.

    Raises:
        CheckpointError: Damaged, unsafe, too large, ambiguous or of an unknown trainer.
        UnreadableFile: It cannot be opened.
    """
    options = ImportOptions(stats, image_layout, None, limits or Limits())
    return _importer(path, trainer).describe(Path(path), options)


def _importer(path: Path | str, trainer: str | None) -> Importer:
    name = trainer if trainer is not None else detect_trainer(path)
    if name not in IMPORTERS:
        raise UnknownTrainer(path, f"no importer is called '{name}'", IMPORTERS)
    return IMPORTERS[name]


def _found(path: Path) -> str:
    """Say what a file that nobody recognized looks like; a damaged archive raises here."""
    if path.is_dir():
        return "a folder without a checkpoint in it"
    data = read_file(path)
    if is_zip(data):
        names = ", ".join(ZipReader(data, str(path)).names[:3])
        return f"a zip archive of {names or 'nothing'}"
    if is_legacy_torch(data):
        return "a file of torch before 1.6"
    return "a pickle" if data[:1] == b"\x80" else "neither a zip archive nor a pickle"
