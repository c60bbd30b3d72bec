"""Copies of real checkpoints of Stable-Baselines3 with something changed: what refusals are tested on."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from pathlib import Path


def rewritten(source: Path, target: Path, **members: bytes | None) -> Path:
    """Copy a checkpoint with members replaced, or left out where the value is None; ``__`` stands for a dot."""
    changes = {name.replace("__", "."): data for name, data in members.items()}
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in [*old.namelist(), *(name for name in changes if name not in old.namelist())]:
            data = changes.get(name, b"") if name in changes else old.read(name)
            if data is not None:
                new.writestr(name, data)
    return target


def with_data(source: Path, target: Path, **changes: object) -> Path:
    """Copy a checkpoint with attributes of its ``data`` changed; bytes are put in as a pickle."""
    data = json.loads(zipfile.ZipFile(source).read("data"))
    for key, value in changes.items():
        pickled = isinstance(value, bytes)
        data[key] = {":type:": "x", ":serialized:": base64.b64encode(value).decode()} if pickled else value
    return rewritten(source, target, data=json.dumps(data).encode())


def global_pickle(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n.".encode()


def rewritten_names(source: Path, target: Path, old: bytes, new: bytes) -> Path:
    """Copy a checkpoint with tensors renamed inside ``policy.pth``."""
    inner = io.BytesIO(zipfile.ZipFile(source).read("policy.pth"))
    stream = io.BytesIO()
    with zipfile.ZipFile(inner) as given, zipfile.ZipFile(stream, "w") as made:
        for name in given.namelist():
            data = given.read(name)
            if name.endswith("data.pkl"):
                data = _rename(data, old, new)
            made.writestr(name, data)
    return rewritten(source, target, policy__pth=stream.getvalue())


def _rename(data: bytes, old: bytes, new: bytes) -> bytes:
    for tail in (b"weight", b"bias"):
        before, after = old + tail, new + tail
        found = b"X" + len(before).to_bytes(4, "little") + before
        assert data.count(found) == 1
        data = data.replace(found, b"X" + len(after).to_bytes(4, "little") + after)
    return data
