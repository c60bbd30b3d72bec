"""Loading a bundle: verified as a whole before anything in it is looked at.

The file is read into memory once. Its form and checksums, then the manifest, then the SHA-256 of every file are
checked, in this order; only then does a :class:`Bundle` exist. What the files mean (the graph, the golden set) is
checked by :mod:`edgerl.bundle.verify`, which needs a backend. This needs none, and the robot does it at every load.

Signatures get their place here: :func:`read_bundle` will take the keys that it may trust and check the manifest's
bytes against a detached signature before it parses them. Until then a bundle proves that it is undamaged, not who
made it, and its claim ``signature`` is ``not_run``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from edgerl.bundle.archive import read_archive, read_bounded, unpack, write_archive
from edgerl.bundle.manifest import (
    MANIFEST_NAME,
    EngineEntry,
    Manifest,
    check_members,
    read_manifest,
    write_manifest,
)
from edgerl.errors import BundleError, DamagedBundle
from edgerl.files import write_file


@dataclass(frozen=True, eq=False)
class Bundle:
    """A bundle in memory whose files are those that its manifest names."""

    manifest: Manifest
    files: Mapping[str, bytes]
    """Content by path, without the manifest."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the manifest, which stands for the whole bundle."""
        return self.manifest.digest

    @property
    def model(self) -> bytes:
        """The ONNX model."""
        return self.files[self.manifest.model]

    @property
    def golden(self) -> bytes:
        """The golden set, an npz file."""
        return self.files[self.manifest.golden]

    def engine(self, backend: str | None = None) -> tuple[EngineEntry, dict[str, bytes]]:
        """Return an engine's entry and its files by the engine's own names.

        Args:
            backend: Its backend; None for the first engine, which is the one to run.

        Raises:
            BundleError: The bundle has no engine of this backend.
        """
        for entry in self.manifest.engines:
            if backend is None or entry.backend == backend:
                return entry, {name: self.files[path] for name, path in entry.files.items()}
        names = ", ".join(entry.backend for entry in self.manifest.engines)
        raise BundleError(f"The bundle has no engine of backend '{backend}'. Its engines: {names}.")


def load_bundle(path: Path | str) -> Bundle:
    """Return the bundle in a file.

    Raises:
        UnreadableFile: Missing, no regular file, or not allowed.
        DamagedBundle: A byte was changed, a file is missing or too many, or it is no bundle.
        UnsafePath: A path in it could leave its folder.
        SchemaTooNew: Written by a newer edgerl.
    """
    return read_bundle(read_bounded(path), path)


def read_bundle(data: bytes, where: Path | str) -> Bundle:
    """Return the bundle in the bytes of a file; ``where`` names it in errors.

    Raises:
        DamagedBundle: As :func:`load_bundle`.
        UnsafePath: As :func:`load_bundle`.
        SchemaTooNew: As :func:`load_bundle`.
    """
    members = read_archive(data, where)
    if MANIFEST_NAME not in members:
        raise DamagedBundle(where, f"{MANIFEST_NAME} is missing")
    manifest = read_manifest(members[MANIFEST_NAME], where)
    check_members(manifest, members, where)
    return Bundle(manifest, {path: content for path, content in members.items() if path != MANIFEST_NAME})


def bundle_bytes(bundle: Bundle) -> bytes:
    """Return the bundle's file; the same bundle gives the same bytes."""
    return write_archive({**bundle.files, MANIFEST_NAME: write_manifest(bundle.manifest)})


def save_bundle(bundle: Bundle, path: Path | str) -> None:
    """Write the bundle's file, replacing what was there, whole or not at all.

    Raises:
        OutputError: It could not be written.
    """
    write_file(path, bundle_bytes(bundle))


def unpack_bundle(path: Path | str, folder: Path | str) -> Bundle:
    """Verify a bundle and write its files, the manifest included, to a new folder that appears complete or not at all.

    Raises:
        UnreadableFile: As :func:`load_bundle`.
        DamagedBundle: As :func:`load_bundle`; nothing is written.
        UnsafePath: As :func:`load_bundle`; nothing is written.
        SchemaTooNew: As :func:`load_bundle`; nothing is written.
        OutputError: The folder exists or cannot be written.
    """
    bundle = load_bundle(path)
    unpack({**bundle.files, MANIFEST_NAME: write_manifest(bundle.manifest)}, folder)
    return bundle
