"""Bundles: everything that a robot needs to run one policy, in one file that proves what it is.

The names below are the package's door. They are imported when used: loading a bundle on a robot needs no onnx, which
packing one does.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgerl.bundle.compare import BundleDescription, Difference, describe_bundle, diff_bundles
    from edgerl.bundle.load import Bundle, bundle_bytes, load_bundle, read_bundle, save_bundle, unpack_bundle
    from edgerl.bundle.manifest import Manifest
    from edgerl.bundle.pack import pack_files
    from edgerl.bundle.verify import Verification, require_verified, verify_bundle, verify_loaded

__all__ = [
    "Bundle",
    "BundleDescription",
    "Difference",
    "Manifest",
    "Verification",
    "bundle_bytes",
    "describe_bundle",
    "diff_bundles",
    "load_bundle",
    "pack_files",
    "read_bundle",
    "require_verified",
    "save_bundle",
    "unpack_bundle",
    "verify_bundle",
    "verify_loaded",
]

_HOMES = {
    "compare": ("BundleDescription", "Difference", "describe_bundle", "diff_bundles"),
    "load": ("Bundle", "bundle_bytes", "load_bundle", "read_bundle", "save_bundle", "unpack_bundle"),
    "manifest": ("Manifest",),
    "pack": ("pack_files",),
    "verify": ("Verification", "require_verified", "verify_bundle", "verify_loaded"),
}


def __getattr__(name: str) -> object:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"edgerl.bundle.{module}"), name)
    raise AttributeError(f"module 'edgerl.bundle' has no attribute {name!r}")
