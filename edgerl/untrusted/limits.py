"""Limits on files that nobody has vouched for.

A hostile file can ask for more memory or time than a machine has with very few bytes. Every reader of such files
counts what it makes against one :class:`Budget` and stops with one clear error. The defaults are an order of magnitude
above the largest real checkpoint that we know; whoever has a larger one passes larger :class:`Limits`.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgerl.errors import CheckpointTooLarge

CONTAINER_COST = 4
"""Operations charged for a container: one byte of a pickle makes an empty set, which takes 220 bytes."""


FREE_ELEMENTS, ELEMENTS_PER_BYTE = 1 << 20, 2
"""Array elements that any file may make, and how many more for each of its bytes: tensors can share a storage."""

FREE_UNPACKED = 32 << 20
"""Bytes that a zip archive of any size may unpack to; recorded images of one colour are nearly nothing when packed."""


@dataclass(frozen=True)
class Limits:
    """How much a reader of an untrusted file accepts."""

    file_bytes: int = 2 << 30
    """Size of a file as it lies on disk, in bytes."""
    member_bytes: int = 1 << 30
    """Unpacked size of one member of a zip archive, in bytes."""
    archive_bytes: int = 2 << 30
    """Unpacked size of all members of a zip archive together, in bytes."""
    archive_members: int = 20_000
    compression_ratio: int = 32
    """Unpacked over packed size of a zip archive that unpacks to more than :data:`FREE_UNPACKED`; weights have 1.1."""
    pickle_operations: int = 400_000
    """Opcodes of one pickle, items that they copy, and :data:`CONTAINER_COST` for each container that they make."""
    depth: int = 200
    """Containers inside containers."""
    array_elements: int = 1 << 27
    """Elements of all arrays of one file together."""
    json_bytes: int = 16 << 20
    """Size of a JSON text, in bytes; Stable-Baselines3 writes a tenth of a megabyte."""
    json_values: int = 400_000
    """Values of a JSON text, judged by its commas and brackets."""


class Budget:
    """What is left of the limits while one file is read.

    Args:
        limits: What is accepted.
        where: Names the file in errors.
        size: Of the file in bytes, which limits the elements of its arrays, too; None: not that.
    """

    def __init__(self, limits: Limits, where: str, size: int | None = None) -> None:
        self.limits = limits
        self.where = where
        own = FREE_ELEMENTS + ELEMENTS_PER_BYTE * size if size is not None else limits.array_elements
        self._most_elements = min(limits.array_elements, own)
        self._operations = 0
        self._elements = 0

    def spend_operations(self, count: int) -> None:
        """Count opcodes, or items that an opcode copies.

        Raises:
            CheckpointTooLarge: More than ``limits.pickle_operations``.
        """
        self._operations += count
        if self._operations > self.limits.pickle_operations:
            raise CheckpointTooLarge(
                self.where, "number of pickle operations", self._operations, self.limits.pickle_operations
            )

    def spend_elements(self, count: int) -> None:
        """Count elements of arrays, before they are allocated.

        Raises:
            CheckpointTooLarge: More than ``limits.array_elements``, or than a file of this size could hold.
        """
        self._elements += count
        if self._elements > self._most_elements:
            raise CheckpointTooLarge(self.where, "number of array elements", self._elements, self._most_elements)

    def check_depth(self, depth: int) -> None:
        """Refuse containers nested too deeply.

        Raises:
            CheckpointTooLarge: ``depth`` is more than ``limits.depth``.
        """
        if depth > self.limits.depth:
            raise CheckpointTooLarge(self.where, "depth of nested objects", depth, self.limits.depth)
