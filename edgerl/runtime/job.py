"""What a policy process is given: one engine and its golden set, in one sealed memfd.

The supervisor verified the bundle once; the policy process reads these bytes and no file, so nothing can change between
the check and the use. Form: u32 length, canonical JSON of :class:`_Index`, then the contents one after the other.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from edgerl import canonical
from edgerl.backends import Engine
from edgerl.errors import PolicyProcessError
from edgerl.spec import PolicySpec
from edgerl.target import Precision

_LENGTH = struct.Struct("<I")


@dataclass(frozen=True)
class _Content:
    name: str
    size: int


@dataclass(frozen=True)
class _Index:
    backend: str
    target: str
    precision: Precision
    parent: str
    spec: PolicySpec
    files: tuple[_Content, ...]
    golden: int


@dataclass(frozen=True, eq=False)
class Job:
    """One engine and the golden set that it must pass."""

    engine: Engine
    golden: bytes
    """Content of ``golden.npz``."""


def pack_job(job: Job) -> bytes:
    """Return the bytes that :func:`unpack_job` reads."""
    engine = job.engine
    files = tuple(_Content(name, len(data)) for name, data in sorted(engine.files.items()))
    index = _Index(
        engine.backend, engine.target, engine.precision, engine.parent, engine.spec, files, len(job.golden)
    )  # fmt: skip
    text = canonical.dumps(index).encode()
    return b"".join([_LENGTH.pack(len(text)), text, *(engine.files[item.name] for item in files), job.golden])


def unpack_job(data: bytes) -> Job:
    """Return the job in ``data``.

    Raises:
        PolicyProcessError: These are not the bytes of a job.
        SpecError: Its index is of another form.
    """
    size = _LENGTH.unpack_from(data)[0] if len(data) >= _LENGTH.size else 0
    at = _LENGTH.size + size
    index = canonical.loads(_Index, data[_LENGTH.size : at], "the index of the policy's job")
    if len(data) != at + sum(item.size for item in index.files) + index.golden:
        raise PolicyProcessError(f"The policy's job has {len(data)} bytes, its index says another number.")
    files = {}
    for item in index.files:
        files[item.name] = data[at : at + item.size]
        at += item.size
    engine = Engine(index.backend, index.target, index.precision, index.parent, index.spec, files)
    return Job(engine, data[at:])
