"""Any file that edgerl reads or writes: which kind it is, what is in it, in what two of a kind differ.

Nothing in a file is executed, and nothing is written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from onnx import ModelProto, numpy_helper

from edgerl.bundle.compare import BundleDescription, Difference, describe_bundle, diff_bundles
from edgerl.bundle.load import load_bundle
from edgerl.diff import Diff, diff_artifacts
from edgerl.errors import EdgerlError, UnreadableFile
from edgerl.graph import graph_inputs, opset_of, parse_onnx, read_bytes
from edgerl.importers import CheckpointDescription, describe_checkpoint
from edgerl.model import find_spec, load_model, read_model
from edgerl.runtime.recording import Header
from edgerl.runtime.recording.container import MAGIC as MCAP_MAGIC
from edgerl.runtime.recording.read import read_recording
from edgerl.runtime.result import Misses, ModeSpan, Timing
from edgerl.runtime.tally import tally_of
from edgerl.spec import PolicySpec, Unknown

Kind = Literal["bundle", "recording", "model", "checkpoint"]


@dataclass(frozen=True)
class ModelDescription:
    """An ONNX file."""

    path: str
    digest: str | None
    """SHA-256 of a model that edgerl wrote; ``None``: somebody else's."""
    opset: int
    parameters: int
    """Elements of all constants."""
    operators: Mapping[str, int]
    """Number of nodes by operator."""
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    spec: PolicySpec | None
    unknowns: tuple[Unknown, ...]
    """What the robot needs and nobody has said."""


@dataclass(frozen=True)
class RecordingDescription:
    """A recording of a run."""

    path: str
    complete: bool
    """False: cut off; what follows was computed up to there."""
    ticks: int
    lost: int
    header: Header
    misses: Misses
    modes: tuple[ModeSpan, ...]
    timing: Timing


@dataclass(frozen=True)
class Comparison:
    """Two artifacts of one kind."""

    identical: bool
    bundle: tuple[Difference, ...]
    """Fields and files that differ; empty for models."""
    model: Diff
    """The models, or the models inside the bundles."""


Description: TypeAlias = BundleDescription | CheckpointDescription | ModelDescription | RecordingDescription


def kind_of(path: Path | str) -> Kind:
    """Return what a file or folder is: recordings by their first bytes, bundles and models by their names' ending.

    A damaged bundle is still a bundle, so that the error speaks of one.

    Raises:
        UnreadableFile: There is nothing that can be read.
    """
    path = Path(path)
    if path.is_dir():
        return "checkpoint"
    try:
        with path.open("rb") as file:
            head = file.read(len(MCAP_MAGIC))
    except OSError as error:
        raise UnreadableFile(path, error.strerror or str(error)) from error
    if head == MCAP_MAGIC:
        return "recording"
    return {".edgerl": "bundle", ".onnx": "model"}.get(path.suffix, "checkpoint")  # type: ignore[return-value]


def describe(path: Path | str, *, stats: Path | str | None = None, trainer: str | None = None) -> Description:
    """Return what is in a checkpoint, ONNX file, bundle or recording.

    Args:
        path: The file, or a checkpoint's folder.
        stats: Normalizer statistics of a checkpoint, where they don't lie beside it.
        trainer: Of a checkpoint, where it is not recognized.

    Raises:
        EdgerlError: It cannot be read; the class and the message say why.
    """
    kind = kind_of(path)
    if kind == "bundle":
        return describe_bundle(load_bundle(path))
    if kind == "recording":
        return _describe_recording(Path(path))
    if kind == "model":
        return _describe_model(Path(path))
    return describe_checkpoint(path, stats, trainer=trainer)


def compare(first: Path | str, second: Path | str) -> Comparison:
    """Return in what two models or two bundles differ.

    Raises:
        EdgerlError: One cannot be read, or they are not of one kind.
    """
    kinds = kind_of(first), kind_of(second)
    if kinds == ("bundle", "bundle"):
        left, right = load_bundle(first), load_bundle(second)
        models = [read_model(one.model, f"model of {path}") for one, path in ((left, first), (right, second))]
        return Comparison(left.digest == right.digest, diff_bundles(left, right), diff_artifacts(*models))
    if kinds == ("model", "model"):
        difference = diff_artifacts(load_model(first), load_model(second))
        return Comparison(difference.identical, (), difference)
    raise EdgerlError(
        f"{first} is a {kinds[0]} and {second} is a {kinds[1]}; expected two models or two bundles. "
        "Export checkpoints first to compare them."
    )


def _describe_model(path: Path) -> ModelDescription:
    data = read_bytes(path)
    proto = parse_onnx(data, path)
    spec = find_spec(proto, path)
    return ModelDescription(
        path=str(path),
        digest=read_model(data, path).digest if spec else None,
        opset=opset_of(proto),
        parameters=_parameters(proto),
        operators=dict(sorted(Counter(node.op_type for node in proto.graph.node).items())),
        inputs=tuple(item.name for item in graph_inputs(proto.graph)),
        outputs=tuple(item.name for item in proto.graph.output),
        spec=spec,
        unknowns=spec.unknowns() if spec else (),
    )


def _parameters(proto: ModelProto) -> int:
    return sum(int(numpy_helper.to_array(tensor).size) for tensor in proto.graph.initializer)


def _describe_recording(path: Path) -> RecordingDescription:
    recording = read_recording(path, arrays=())
    tally = tally_of(recording)
    return RecordingDescription(
        path=str(path),
        complete=recording.complete,
        ticks=len(recording.records),
        lost=recording.lost,
        header=recording.header,
        misses=tally.misses,
        modes=tally.modes,
        timing=tally.timing,
    )
