"""Takes a trained reinforcement-learning policy from any trainer and puts it on a robot controller.

The public names, in the order of the pipeline. Each is imported when first used: importing edgerl costs nothing,
and a robot needs only what it runs.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

# ONNX Runtime reads this once, when it is loaded. By default its builds keep a database in the user's home and send it
# to their maker: a thread, files and sockets in the process that a robot's policy runs in.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from edgerl.artifacts import compare as compare
    from edgerl.artifacts import describe as describe
    from edgerl.backends import Backend as Backend
    from edgerl.backends import Engine as Engine
    from edgerl.backends import Runner as Runner
    from edgerl.backends import build as build
    from edgerl.backends import find_backend as find_backend
    from edgerl.bundle.load import Bundle as Bundle
    from edgerl.bundle.load import load_bundle as load_bundle
    from edgerl.bundle.load import save_bundle as save_bundle
    from edgerl.bundle.pack import pack as pack
    from edgerl.bundle.pack import pack_files as pack_files
    from edgerl.bundle.verify import Verification as Verification
    from edgerl.bundle.verify import verify_bundle as verify_bundle
    from edgerl.envelope import Envelope as Envelope
    from edgerl.envelope import default_envelope as default_envelope
    from edgerl.envelope.file import read_envelope as read_envelope
    from edgerl.errors import EdgerlError as EdgerlError
    from edgerl.export import Certificate as Certificate
    from edgerl.export import Export as Export
    from edgerl.export import export_checkpoint as export_checkpoint
    from edgerl.export import export_module as export_module
    from edgerl.export import export_policy as export_policy
    from edgerl.export import load_export as load_export
    from edgerl.export import save_export as save_export
    from edgerl.golden import GoldenSet as GoldenSet
    from edgerl.importers import read_checkpoint as read_checkpoint
    from edgerl.model import PolicyModel as PolicyModel
    from edgerl.model import load_model as load_model
    from edgerl.model import save_model as save_model
    from edgerl.parity import ParityReport as ParityReport
    from edgerl.parity import check_parity as check_parity
    from edgerl.policy import Policy as Policy
    from edgerl.run import run_file as run_file
    from edgerl.runtime.control.client import Control as Control
    from edgerl.runtime.control.client import connect as connect
    from edgerl.runtime.control.listener import ControlOptions as ControlOptions
    from edgerl.runtime.result import RunResult as RunResult
    from edgerl.runtime.run import RunOptions as RunOptions
    from edgerl.spec import PolicySpec as PolicySpec
    from edgerl.target import Target as Target
    from edgerl.target import host_target as host_target
    from edgerl.target import load_target as load_target

_HOMES = {
    "errors": ("EdgerlError",),
    "spec": ("PolicySpec",),
    "policy": ("Policy",),
    "importers": ("read_checkpoint",),
    "model": ("PolicyModel", "load_model", "save_model"),
    "parity": ("ParityReport", "check_parity"),
    "golden": ("GoldenSet",),
    "export": (
        "Certificate",
        "Export",
        "export_checkpoint",
        "export_module",
        "export_policy",
        "load_export",
        "save_export",
    ),
    "target": ("Target", "host_target", "load_target"),
    "backends": ("Backend", "Engine", "Runner", "build", "find_backend"),
    "envelope": ("Envelope", "default_envelope"),
    "envelope.file": ("read_envelope",),
    "bundle.load": ("Bundle", "load_bundle", "save_bundle"),
    "bundle.pack": ("pack", "pack_files"),
    "bundle.verify": ("Verification", "verify_bundle"),
    "runtime.run": ("RunOptions",),
    "runtime.result": ("RunResult",),
    "runtime.control.client": ("Control", "connect"),
    "runtime.control.listener": ("ControlOptions",),
    "run": ("run_file",),
    "artifacts": ("compare", "describe"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name not in _HOME:
        raise AttributeError(f"module 'edgerl' has no attribute {name!r}")
    return getattr(import_module(f"edgerl.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_HOME)
