"""The file that Stable-Baselines3 saves: a zip of ``data`` (JSON with pickles inside) and ``policy.pth``.

Everything that the file would have unpickled is read with the restricted unpickler, so that the names it asks to
import are known, even those that have no part in the action. Optimizer states are not read.
Reference: stable_baselines3/common/save_util.py.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgerl.errors import AmbiguousCheckpoint, CheckpointTooLarge, DamagedCheckpoint, EdgerlError, UnreadableFile
from edgerl.importers.layers import Weights
from edgerl.untrusted.file import read_file
from edgerl.untrusted.limits import Budget, Limits
from edgerl.untrusted.torch_zip import read_torch
from edgerl.untrusted.unpickle import read_pickle
from edgerl.untrusted.zip_reader import ZipReader, is_zip

VERSION = "_stable_baselines3_version"
_SERIALIZED = ":serialized:"


@dataclass(frozen=True, eq=False)
class Sb3File:
    """What one checkpoint of Stable-Baselines3 holds."""

    path: Path
    sha256: str
    version: str | None
    """Of Stable-Baselines3, where the file says it."""
    data: Mapping[str, object]
    """Attributes of the algorithm; pickled ones as the restricted unpickler read them."""
    weights: Weights
    foreign_globals: frozenset[str]


def looks_like_sb3(path: Path) -> float:
    """Return how sure it is, from 0 to 1, that a file or a folder's only zip comes from Stable-Baselines3."""
    try:
        data = read_file(checkpoint_file(path))
        names = ZipReader(data, str(path)).names if is_zip(data) else ()
    except AmbiguousCheckpoint:
        return 0.5
    except EdgerlError:
        return 0.0
    if "data" in names and "policy.pth" in names:
        return 1.0 if VERSION in names else 0.9
    return 0.0


def checkpoint_file(path: Path) -> Path:
    """Return the checkpoint that a path means: the file itself, or the only zip in the folder.

    Raises:
        UnreadableFile: The folder holds no zip.
        AmbiguousCheckpoint: It holds several.
    """
    if not path.is_dir():
        return path
    found = sorted(path.glob("*.zip"))
    if not found:
        raise UnreadableFile(path, "this folder holds no .zip file")
    if len(found) > 1:
        raise AmbiguousCheckpoint(path, "checkpoint", (item.name for item in found), "Name one of them.")
    return found[0]


def read_sb3(path: Path, limits: Limits) -> Sb3File:
    """Read a checkpoint; nothing in it is executed.

    Raises:
        UnreadableFile: It cannot be opened.
        DamagedCheckpoint: Cut off, or without the members that Stable-Baselines3 writes.
        UnsafeCheckpoint: It needs something that would have to be executed.
        CheckpointTooLarge: Past a limit.
    """
    path = checkpoint_file(path)
    raw = read_file(path, limits)
    archive = ZipReader(raw, str(path), limits)
    data, foreign = _read_data(archive.read("data"), f"{path}:data", limits)
    policy = read_torch(archive.read("policy.pth"), f"{path}:policy.pth", limits)
    version = archive.read(VERSION).decode("ascii", "replace").strip()[:40] if VERSION in archive else None
    return Sb3File(
        path=path,
        sha256=hashlib.sha256(raw).hexdigest(),
        version=version,
        data=data,
        weights=Weights(policy.value, f"{path}:policy.pth"),
        foreign_globals=foreign.union(policy.foreign_globals),
    )


def _read_data(text: bytes, where: str, limits: Limits) -> tuple[dict[str, object], frozenset[str]]:
    """Return the attributes in the JSON, and the foreign globals of the pickles inside it."""
    if len(text) > limits.json_bytes:
        raise CheckpointTooLarge(where, "size of the JSON in bytes", len(text), limits.json_bytes)
    values = sum(text.count(mark) for mark in (b",", b"[", b"{"))  # base64 has none of them
    if values > limits.json_values:
        raise CheckpointTooLarge(where, "number of JSON values", values, limits.json_values)
    try:
        plain = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DamagedCheckpoint(where, f"not valid JSON ({str(error)[:200]})") from error
    if not isinstance(plain, dict):
        raise DamagedCheckpoint(where, "the JSON is not an object")
    data: dict[str, object] = {}
    foreign: set[str] = set()
    budget = Budget(limits, where)
    for key, value in plain.items():
        data[key] = value
        if isinstance(value, dict) and _SERIALIZED in value:
            inside = f"{where}[{key[:60]!r}]"
            pickled = read_pickle(_decode(value[_SERIALIZED], inside), inside, budget)
            data[key] = pickled.value
            foreign.update(pickled.foreign_globals)
    return data, frozenset(foreign)


def _decode(text: object, where: str) -> bytes:
    try:
        return base64.b64decode(text if isinstance(text, str) else "?", validate=False)
    except (binascii.Error, ValueError) as error:
        raise DamagedCheckpoint(where, f"the pickle is not base64 ({error})") from error
