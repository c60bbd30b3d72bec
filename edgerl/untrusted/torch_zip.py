"""Reads files that ``torch.save`` wrote, without torch: a zip of one pickle and the raw bytes of its tensors.

Tensors become read-only numpy arrays; a tensor's storage, offset, shape and strides are checked against the bytes
that are there. bfloat16 becomes float32, which loses nothing. Modules and other classes stay inert records.
TorchScript archives and the format before torch 1.6 are recognized and refused.

Reference: torch/serialization.py and torch/_utils.py.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import numpy as np

from edgerl.errors import DamagedCheckpoint, UnsafeCheckpoint
from edgerl.untrusted.foreign import Foreign, Malformed
from edgerl.untrusted.limits import Budget, Limits
from edgerl.untrusted.rebuild import Rebuilders, integers
from edgerl.untrusted.unpickle import Pickled, read_pickle
from edgerl.untrusted.zip_reader import ZipReader, is_zip

Tensor: TypeAlias = np.ndarray[Any, np.dtype[Any]]

_LEGACY_MAGIC = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""The number that every file of the format before torch 1.6 begins with, as a pickle after its two protocol bytes."""
_TYPES = {
    "DoubleStorage": "f8",
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
    "ComplexFloatStorage": "c8",
    "ComplexDoubleStorage": "c16",
    "BFloat16Storage": "bfloat16",
}
_UNTYPED = {"uint16": "u2", "uint32": "u4", "uint64": "u8"}
"""Types that torch 2.3 added; stored without a type of their own, with the type beside the tensor."""
_STORAGES = frozenset(
    {("torch", name) for name in _TYPES}
    | {("torch.storage", "UntypedStorage"), ("torch.storage", "_LegacyStorage")}
    | {("torch", name) for name in _UNTYPED}
)


@dataclass(frozen=True, eq=False)
class _Storage:
    """The values that tensors are views of."""

    values: Tensor | None
    """One axis; ``None`` while the type is not known."""
    raw: bytes


def is_legacy_torch(data: bytes) -> bool:
    """Tell whether bytes begin like a file of the format before torch 1.6."""
    return data[2 : 2 + len(_LEGACY_MAGIC)] == _LEGACY_MAGIC


def read_torch(data: bytes, where: str, limits: Limits | None = None) -> Pickled:
    """Read a file of ``torch.save`` with numpy only.

    Args:
        data: The file.
        where: Names it in errors.
        limits: What is accepted.

    Raises:
        UnsafeCheckpoint: TorchScript or the format before torch 1.6, which would need torch itself.
        DamagedCheckpoint: Not a complete file of ``torch.save``, or tensors outside their storage.
        CheckpointTooLarge: Past a limit.
    """
    if is_legacy_torch(data):
        raise UnsafeCheckpoint(
            where,
            "this is the format that torch wrote before version 1.6",
            "Load it once with torch in a place that you trust, and torch.save it again.",
        )
    if not is_zip(data):
        raise DamagedCheckpoint(where, "not a file of torch.save (neither a zip archive nor the older format)")
    archive = ZipReader(data, where, limits)
    pickles = [name for name in archive.names if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(pickles) != 1:
        raise DamagedCheckpoint(where, "the archive does not hold exactly one data.pkl, as torch.save writes it")
    root = pickles[0].removesuffix("data.pkl")
    if any(name.startswith(root + "code/") or name == root + "constants.pkl" for name in archive.names):
        raise UnsafeCheckpoint(
            where,
            "this is a TorchScript archive, which holds a program",
            "Save the state_dict of the policy instead, or load it in Python and call edgerl.export_module.",
        )
    budget = Budget(archive.limits, f"{where}:data.pkl", len(data))
    tensors = _Tensors(archive, root, budget)
    return read_pickle(
        archive.read(pickles[0]),
        f"{where}:data.pkl",
        budget,
        rebuilders=tensors.rebuilders,
        persistent=tensors.storage,
    )


class _Tensors:
    """Makes the storages and tensors of one archive."""

    def __init__(self, archive: ZipReader, root: str, budget: Budget) -> None:
        self._archive = archive
        self._budget = budget
        self._root = root
        self._made: dict[tuple[str, str], _Storage] = {}
        order = archive.read(root + "byteorder").strip() if root + "byteorder" in archive else b"little"
        if order not in (b"little", b"big"):
            raise DamagedCheckpoint(archive.where, f"the byte order {order[:20]!r} is neither little nor big")
        self._order = "<" if order == b"little" else ">"
        tensor = self._tensor
        self.rebuilders: Rebuilders = {
            ("torch._utils", "_rebuild_tensor"): lambda budget, args: tensor(budget, args, None),
            ("torch._utils", "_rebuild_tensor_v2"): lambda budget, args: tensor(budget, args, None),
            ("torch._utils", "_rebuild_tensor_v3"): self._tensor_with_type,
            ("torch._utils", "_rebuild_parameter"): _parameter,
            ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
            **dict.fromkeys(_STORAGES, _inert),
        }

    def storage(self, key: object) -> object:
        """Return the storage that a persistent id ``('storage', type, name, device, size)`` names."""
        if not isinstance(key, tuple) or len(key) < 5 or key[0] != "storage":
            raise Malformed("a persistent id is not that of a storage")
        kind, name, count = key[1], key[2], key[4]
        if not isinstance(kind, Foreign) or not isinstance(name, str) or type(count) is not int or count < 0:
            raise Malformed("a persistent id is not that of a storage")
        found = (kind.name, name)
        if found not in self._made:
            self._made[found] = self._read(kind.name, name, count)
        return self._made[found]

    def _read(self, kind: str, name: str, count: int) -> _Storage:
        member = f"{self._root}data/{name}"
        if member not in self._archive:
            raise Malformed(f"the storage {name[:40]!r} is not in the archive")
        raw = self._archive.read(member)
        if kind == "UntypedStorage":
            return _Storage(None, raw)
        if kind not in _TYPES:
            raise Malformed(f"a storage of type {kind[:60]}")
        values = self._typed(raw, _TYPES[kind])
        if len(values) != count:
            raise Malformed(f"the storage {name[:40]!r} has {len(values)} values, not {count}")
        return _Storage(values, raw)

    def _typed(self, raw: bytes, code: str) -> Tensor:
        width = 2 if code == "bfloat16" else np.dtype(code).itemsize
        if len(raw) % width:
            raise Malformed(f"a storage of {len(raw)} bytes does not hold whole values of {code}")
        self._budget.spend_elements(len(raw) // width)
        if code == "bfloat16":  # the upper half of a float32
            halves = np.frombuffer(raw, self._order + "u2").astype(np.uint32)
            widened: Tensor = (halves << np.uint32(16)).view(np.float32)
            return widened
        values = np.frombuffer(raw, np.dtype(code).newbyteorder(cast("Any", self._order)))
        if (self._order == "<") != (sys.byteorder == "little"):
            values = values.astype(values.dtype.newbyteorder("="))
        return values

    def _tensor_with_type(self, budget: Budget, args: tuple[object, ...]) -> object:
        kind = args[6] if len(args) > 6 else None
        if not isinstance(kind, Foreign) or kind.name not in _UNTYPED:
            raise Malformed(f"a tensor of type {getattr(kind, 'name', kind)!s:.60}, which is not read")
        return self._tensor(budget, args, _UNTYPED[kind.name])

    def _tensor(self, budget: Budget, args: tuple[object, ...], code: str | None) -> object:
        if len(args) < 4 or not isinstance(args[0], _Storage) or type(args[1]) is not int:
            raise Malformed("a tensor is not made of storage, offset, shape and strides")
        storage, offset, shape, strides = args[0], args[1], integers(args[2]), integers(args[3])
        values = storage.values if code is None else self._typed(storage.raw, code)
        if values is None or len(shape) != len(strides) or offset < 0:
            raise Malformed("a tensor is not made of storage, offset, shape and strides")
        last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
        count = math.prod(shape)
        if count and last >= len(values):
            raise Malformed(f"a tensor of shape {shape} reaches value {last} of a storage of {len(values)}")
        budget.spend_elements(count)
        if count:
            steps = [stride * values.itemsize for stride in strides]
            array = np.array(np.lib.stride_tricks.as_strided(values[offset:], shape, steps), order="C")
        else:
            array = np.empty(shape, values.dtype)
        array.flags.writeable = False
        return array


def _parameter(_budget: Budget, args: tuple[object, ...]) -> object:
    """A parameter is its tensor; whether it was trained does not matter here."""
    if not args or not isinstance(args[0], np.ndarray):
        raise Malformed("a parameter is not made of a tensor")
    return args[0]


def _inert(_budget: Budget, args: tuple[object, ...]) -> object:
    return Foreign("torch", "Storage", args)
