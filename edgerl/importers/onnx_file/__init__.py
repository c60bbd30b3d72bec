"""Importer for ONNX files: edgerl's own exports, and graphs that somebody else made.

An export of edgerl is recognized by the spec in its metadata and taken as it is. Any other graph is adopted whole: its
float or integer inputs become observations, one output the action. What a graph cannot say (the kind and range of the
action) is asked for. onnx is imported when a file is read, not before.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgerl.importers.description import CheckpointDescription
from edgerl.importers.options import ImportOptions
from edgerl.policy import OpaqueGraph, Policy

if TYPE_CHECKING:
    from onnx import ModelProto, ValueInfoProto

NAME = "onnx"
"""Name of this importer on the command line."""
TITLE = "ONNX graphs (.onnx)"


def detect(path: Path) -> float:
    """Return how sure it is, from 0 to 1, that ``path`` is an ONNX file; the form has no mark of its own."""
    return 0.9 if path.suffix == ".onnx" and path.is_file() else 0.0


def read(path: Path, options: ImportOptions) -> Policy:
    """Return the policy of an ONNX file.

    Raises:
        ModelError: Not a valid graph, or one of a kind that is refused.
        MissingFacts: It does not say what its action is, and ``options.spec`` does not either.
    """
    from edgerl.graph import parse_onnx, read_bytes  # noqa: PLC0415  onnx costs a quarter of a second
    from edgerl.importers.onnx_file.adoption import adopt  # noqa: PLC0415
    from edgerl.model import find_spec, read_model  # noqa: PLC0415

    data = read_bytes(path)
    proto = parse_onnx(data, path)
    spec = find_spec(proto, path)
    if spec is not None:
        return Policy(read_model(data, path).spec, OpaqueGraph(data))
    return adopt(proto, data, path, options.spec)


def describe(path: Path, options: ImportOptions) -> CheckpointDescription:  # noqa: ARG001  the registry's form
    """Return what an ONNX file holds, exportable or not.

    Raises:
        ModelError: Not a valid graph, or one of a kind that is refused.
    """
    from edgerl.graph import parse_onnx, read_bytes  # noqa: PLC0415
    from edgerl.importers.onnx_file.adoption import digest_of  # noqa: PLC0415
    from edgerl.model import find_spec  # noqa: PLC0415

    data = read_bytes(path)
    proto = parse_onnx(data, path)
    spec = find_spec(proto, path)
    return CheckpointDescription(
        path=str(path),
        trainer=spec.provenance.trainer if spec else f"unknown (written by {proto.producer_name or 'somebody'})",
        trainer_version=spec.provenance.trainer_version if spec else None,
        algorithm=spec.provenance.algorithm if spec else None,
        policy_class=None,
        spaces=_spaces(proto),
        normalizer="part of the graph, if there is one",
        blocks=(),
        digests=digest_of(data, path),
        foreign_globals=spec.provenance.foreign_globals if spec else (),
        unknowns=spec.unknowns() if spec else (),
        notes=("an export of edgerl",) if spec else ("adopted whole; say with --spec what its action is",),
        refused=None,
    )


def _spaces(proto: ModelProto) -> dict[str, str]:
    from edgerl.graph import element_type, graph_inputs  # noqa: PLC0415

    def text(value: ValueInfoProto) -> str:
        axes = value.type.tensor_type.shape.dim
        shape = ", ".join(str(axis.dim_value or axis.dim_param or "?") for axis in axes)
        return f"{value.name} {element_type(value)} ({shape})"

    return {
        "observation": "; ".join(text(item) for item in graph_inputs(proto.graph)),
        "action": "; ".join(text(item) for item in proto.graph.output),
    }
