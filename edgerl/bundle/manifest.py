"""Manifest: what a bundle says about itself, and what every one of its bytes is checked against.

It names every other file with its SHA-256 and its role, holds spec, target and envelope themselves, and says of each
claim whether it was proven. Its own bytes are canonical JSON, so their SHA-256 stands for the whole bundle: that is the
bundle's digest, and what a signature signs. No clock: it holds a time only where somebody gave one.

Reading is strict. An unknown or missing key, a file that has no role, a role without its file, and parts that
contradict each other are all damage: ``edgerl pack`` writes none of them. A change of any part's form, of spec, target
or envelope too, is a new schema of the manifest.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from edgerl import canonical
from edgerl.envelope import Envelope, check_envelope
from edgerl.errors import DamagedBundle, EdgerlError, ManifestError, SchemaTooNew
from edgerl.spec import PolicySpec
from edgerl.target import Precision, Target

SCHEMA = 1
"""Version of this form. Older ones are read, newer ones refused."""
MANIFEST_NAME = "manifest.json"
MAX_RELEASE = 2**53
"""A robot refuses to go back to an older release; every JSON reader keeps integers up to here."""

Status = Literal["passed", "failed", "not_run"]
ClaimName = Literal["parity", "golden", "envelope", "signature", "target_device"]

_SHA256 = re.compile(r"[0-9a-f]{64}")
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_CREATED = re.compile(r"\d{4}-[01]\d-[0-3]\dT[0-2]\d:[0-5]\d:[0-5]\dZ")


@dataclass(frozen=True)
class FileEntry:
    """One file of the bundle."""

    path: str
    sha256: str
    size: int
    """In bytes."""


@dataclass(frozen=True)
class EngineEntry:
    """An engine and where its files lie."""

    backend: str
    precision: Precision
    parent: str
    """SHA-256 of the model that it was compiled from."""
    files: Mapping[str, str]
    """Path in the bundle by the engine's own file name."""


@dataclass(frozen=True)
class Claim:
    """Something that the bundle says of itself, and what supports it."""

    name: ClaimName
    status: Status
    evidence: str
    """Figures where it was run; why not where it was not."""


@dataclass(frozen=True)
class Versions:
    """What packed it."""

    edgerl: str
    onnx: str
    onnxruntime: str
    python: str


@dataclass(frozen=True)
class Manifest:
    """Checked when made.

    Raises:
        EdgerlError: The parts contradict each other.
    """

    schema: int
    release: int
    """Counts up with every bundle that is meant to replace another on a robot."""
    created: str | None
    """Time in UTC as ``2026-01-31T12:00:00Z``, where it was given."""
    spec: PolicySpec
    target: Target
    envelope: Envelope
    model: str
    """Path of the ONNX model; its own parents, the checkpoint's files, are in ``spec.provenance.digests``."""
    engines: tuple[EngineEntry, ...]
    golden: str
    """Path of the golden set."""
    certificate: str | None
    """Path of the parity certificate."""
    files: tuple[FileEntry, ...]
    """Every file but the manifest, sorted by path."""
    claims: tuple[Claim, ...]
    versions: Versions

    def __post_init__(self) -> None:
        if self.schema > SCHEMA:
            raise SchemaTooNew("The manifest", self.schema, SCHEMA)
        for problem in _problems(self):
            raise ManifestError(problem)
        check_envelope(self.envelope, self.spec)
        for engine in self.engines:
            self.target.check_engine(engine.backend, engine.precision)
        self.target.check_period(self.period_ns)

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical manifest, which stands for the whole bundle."""
        return canonical.digest(self)

    @property
    def period_ns(self) -> int:
        """Control period in [ns]; a packed spec always has one."""
        if self.spec.period_ns is None:
            raise ManifestError("the spec has no control period")
        return self.spec.period_ns

    def file(self, path: str) -> FileEntry:
        """Return the entry of a path that the manifest names."""
        return next(entry for entry in self.files if entry.path == path)

    def claim(self, name: ClaimName) -> Claim:
        """Return the claim with this name; every manifest has all of them."""
        return next(claim for claim in self.claims if claim.name == name)


def write_manifest(manifest: Manifest) -> bytes:
    """Return the manifest's file."""
    return canonical.dumps(manifest).encode()


def read_manifest(data: bytes, where: Path | str) -> Manifest:
    """Return the manifest in a bundle's ``manifest.json``.

    Args:
        data: The file.
        where: Names the bundle in errors.

    Raises:
        SchemaTooNew: Written by a newer edgerl.
        DamagedBundle: Not a manifest as :func:`write_manifest` writes it.
    """
    what = f"the manifest of {where}"
    try:
        plain = canonical.parse(data, what)
        schema = plain.get("schema") if isinstance(plain, dict) else None
        if isinstance(schema, int) and not isinstance(schema, bool) and schema > SCHEMA:
            raise SchemaTooNew(f"{where}: the manifest", schema, SCHEMA)
        manifest = canonical.from_plain(Manifest, plain, what)
        same = write_manifest(manifest) == data
    except SchemaTooNew:
        raise
    except (EdgerlError, UnicodeEncodeError) as error:  # a lone surrogate can be read from JSON, but not written
        raise DamagedBundle(where, f"{MANIFEST_NAME} is not valid ({str(error).rstrip('.')})") from error
    if not same:
        raise DamagedBundle(where, f"{MANIFEST_NAME} is not canonical JSON")
    return manifest


def check_members(manifest: Manifest, members: Mapping[str, bytes], where: Path | str) -> None:
    """Compare every member with what the manifest says of it.

    Args:
        manifest: As read from the same archive.
        members: Content by path, the manifest's own included.
        where: Names the bundle in errors.

    Raises:
        DamagedBundle: A file is missing, is too many, or is not the one that was packed.
    """
    named = {entry.path for entry in manifest.files}
    present = set(members) - {MANIFEST_NAME}
    if missing := sorted(named - present):
        raise DamagedBundle(where, f"{missing[0]} is missing")
    if additional := sorted(present - named):
        raise DamagedBundle(where, f"{additional[0]} is in it, but not in its manifest")
    for entry in manifest.files:
        found = hashlib.sha256(members[entry.path]).hexdigest()
        if found != entry.sha256 or len(members[entry.path]) != entry.size:
            raise DamagedBundle(where, f"{entry.path} has the SHA-256 {found}, the manifest says {entry.sha256}")


def _problems(manifest: Manifest) -> Iterator[str]:
    if manifest.schema < 1:
        yield f"schema {manifest.schema} does not exist"
    if not 1 <= manifest.release <= MAX_RELEASE:
        yield f"release is {manifest.release}, valid is 1 to {MAX_RELEASE}"
    if manifest.created is not None and not _CREATED.fullmatch(manifest.created):
        yield f"created is {manifest.created!r}, valid is a time in UTC such as 2026-01-31T12:00:00Z"
    for unknown in manifest.spec.unknowns():
        yield f"{unknown.field} of the spec is unknown: {unknown.why}"
    names = [claim.name for claim in manifest.claims]
    if sorted(names) != sorted(get_args(ClaimName)):
        yield f"its claims are {', '.join(names)}, valid is each of {', '.join(get_args(ClaimName))} once"
    for claim in manifest.claims:
        if not claim.evidence.strip():
            yield f"the claim {claim.name} has no evidence"
    yield from _file_problems(manifest)
    yield from _engine_problems(manifest)


def _file_problems(manifest: Manifest) -> Iterator[str]:
    paths = [entry.path for entry in manifest.files]
    if paths != sorted(set(paths)):
        yield "its files are not in order, or one is named twice"
    for entry in manifest.files:
        if not _SHA256.fullmatch(entry.sha256) or entry.size < 0:
            yield f"{entry.path} has the SHA-256 {entry.sha256!r} and {entry.size} bytes"
    roles = {manifest.model, manifest.golden} | ({manifest.certificate} if manifest.certificate else set())
    for engine in manifest.engines:
        roles |= set(engine.files.values())
    if lacking := sorted(roles - set(paths)):
        yield f"{lacking[0]!r} is named and not among the files"
    if idle := sorted(set(paths) - roles):
        yield f"{idle[0]!r} is among the files and nothing uses it"


def _engine_problems(manifest: Manifest) -> Iterator[str]:
    backends = [engine.backend for engine in manifest.engines]
    if not backends or len(set(backends)) != len(backends):
        yield f"its engines are of {', '.join(backends) or 'no backend'}; valid is one or more, one of each backend"
    for engine in manifest.engines:
        if engine.parent != manifest.file(manifest.model).sha256:
            yield f"the engine of {engine.backend} was compiled from another model ({engine.parent})"
        if not engine.files:
            yield f"the engine of {engine.backend} has no files"
        for name in engine.files:
            if not _FILE_NAME.fullmatch(name):  # a backend may have to write it to a disk
                yield f"the engine of {engine.backend} has a file named {name!r}, which is no plain file name"
