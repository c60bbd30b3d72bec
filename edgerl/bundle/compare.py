"""What a bundle is and how two of them differ, as data for ``edgerl inspect`` and ``edgerl diff``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from edgerl import canonical
from edgerl.bundle.load import Bundle
from edgerl.bundle.manifest import Claim, EngineEntry, FileEntry, Versions
from edgerl.envelope import Envelope
from edgerl.spec import PolicySpec
from edgerl.target import Target


@dataclass(frozen=True)
class Ancestor:
    """One step of a bundle's line back to the checkpoint."""

    what: str
    sha256: str


@dataclass(frozen=True)
class BundleDescription:
    """Everything that a manifest says, and the line that it proves."""

    digest: str
    """SHA-256 of the manifest, which stands for the whole bundle."""
    release: int
    created: str | None
    spec: PolicySpec
    target: Target
    envelope: Envelope
    engines: tuple[EngineEntry, ...]
    files: tuple[FileEntry, ...]
    size: int
    """Bytes of all files, the manifest left out."""
    claims: tuple[Claim, ...]
    versions: Versions
    line: tuple[Ancestor, ...]
    """Checkpoint files, model, engine files, bundle, in this order."""


@dataclass(frozen=True)
class Difference:
    """One place in which two bundles differ."""

    kind: Literal["field", "file"]
    where: str
    """Dotted name in the manifest, or a file's path."""
    left: str | None
    """Canonical JSON of the value, or a file's SHA-256; None where there is none."""
    right: str | None


def describe_bundle(bundle: Bundle) -> BundleDescription:
    """Return what a bundle is."""
    manifest = bundle.manifest
    return BundleDescription(
        digest=bundle.digest,
        release=manifest.release,
        created=manifest.created,
        spec=manifest.spec,
        target=manifest.target,
        envelope=manifest.envelope,
        engines=manifest.engines,
        files=manifest.files,
        size=sum(entry.size for entry in manifest.files),
        claims=manifest.claims,
        versions=manifest.versions,
        line=tuple(_line(bundle)),
    )


def diff_bundles(left: Bundle, right: Bundle) -> tuple[Difference, ...]:
    """Return how two bundles differ: manifest fields first, then files, each sorted; nothing for equal bundles.

    Files are compared by content; of the manifest everything but its list of files is compared.
    """
    return tuple(_compare("field", _fields(left), _fields(right))) + tuple(
        _compare("file", _files(left), _files(right))
    )


def _line(bundle: Bundle) -> Iterator[Ancestor]:
    manifest = bundle.manifest
    for name, digest in sorted(manifest.spec.provenance.digests.items()):
        yield Ancestor(f"checkpoint {name}", digest)
    yield Ancestor("model", manifest.file(manifest.model).sha256)
    for engine in manifest.engines:
        for name, path in sorted(engine.files.items()):
            yield Ancestor(f"engine {engine.backend} {engine.precision} {name}", manifest.file(path).sha256)
    yield Ancestor("bundle", bundle.digest)


def _fields(bundle: Bundle) -> dict[str, str]:
    plain = canonical.to_plain(bundle.manifest)
    del plain["files"]
    return dict(_leaves(plain, ""))


def _leaves(plain: object, where: str) -> Iterator[tuple[str, str]]:
    """Yield the values of a JSON document by dotted name; objects of a list by their names, other lists whole."""
    if isinstance(plain, dict) and plain:
        for key, item in plain.items():
            yield from _leaves(item, f"{where}.{key}" if where else key)
    elif isinstance(plain, list) and plain and all(isinstance(item, dict) for item in plain):
        for index, item in enumerate(plain):
            yield from _leaves(item, f"{where}[{item.get('name', index)}]")
    else:
        yield where, canonical.dumps(plain)


def _files(bundle: Bundle) -> dict[str, str]:
    return {entry.path: entry.sha256 for entry in bundle.manifest.files}


def _compare(kind: Literal["field", "file"], left: Mapping[str, str], right: Mapping[str, str]) -> Iterator[Difference]:
    for name in sorted(left.keys() | right.keys()):
        if left.get(name) != right.get(name):
            yield Difference(kind, name, left.get(name), right.get(name))
