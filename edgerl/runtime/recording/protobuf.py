"""Protobuf as far as messages of constant size need it: their schema, and names and tags of their fields.

A schema is a serialized ``FileDescriptorSet`` of one proto3 file, which every reader of protobuf can interpret without
our sources. Its messages are written by :mod:`edgerl.runtime.recording.form`: every field is present and has a wire
form of constant length, so that a row of an array is a message.

Reference: https://protobuf.dev/programming-guides/encoding/ and google/protobuf/descriptor.proto.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum


class Kind(IntEnum):
    """Types of ``FieldDescriptorProto`` whose wire form can have a constant length."""

    DOUBLE = 1
    FLOAT = 2
    FIXED64 = 6
    FIXED32 = 7
    UINT32 = 13
    ENUM = 14


class _Wire(IntEnum):
    VARINT = 0
    FIXED64 = 1
    BYTES = 2
    FIXED32 = 5


_WIRES = {
    Kind.DOUBLE: _Wire.FIXED64,
    Kind.FLOAT: _Wire.FIXED32,
    Kind.FIXED64: _Wire.FIXED64,
    Kind.FIXED32: _Wire.FIXED32,
    Kind.UINT32: _Wire.VARINT,
    Kind.ENUM: _Wire.VARINT,
}
_OPTIONAL, _REPEATED = 1, 3
"""Labels of ``FieldDescriptorProto``."""


@dataclass(frozen=True)
class Field:
    """One field of a message."""

    name: str
    kind: Kind
    number: int
    enum: type[IntEnum] | None = None
    """Of a field of kind ENUM."""
    items: int = 0
    """Above 0: repeated and packed, always with so many items of 8 bytes."""

    @property
    def tag(self) -> bytes:
        """What stands before its value."""
        if self.items:
            return _tag(self.number, _Wire.BYTES) + _varint(8 * self.items)
        return _tag(self.number, _WIRES[self.kind])


def schema(package: str, message: str, fields: Iterable[Field]) -> bytes:
    """Return the ``FileDescriptorSet`` of one message."""
    fields = tuple(fields)
    body = _text(1, message) + b"".join(_bytes(2, _field(field, f".{package}.{message}")) for field in fields)
    enums = {field.enum.__name__: field.enum for field in fields if field.enum}
    body += b"".join(_bytes(4, _enum(enum)) for enum in enums.values())
    file = _text(1, f"{package}/{message}.proto") + _text(2, package) + _bytes(4, body) + _text(12, "proto3")
    return _bytes(1, file)


def identifiers(names: Iterable[str]) -> tuple[str, ...]:
    """Return names that protobuf allows for fields, as like the given ones as that permits, each only once.

    Two names that differ in nothing but capitals or underscores have the same name in JSON, which protobuf refuses; so
    the second gets a number.
    """
    taken: set[str] = set()
    found = []
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")[:100] or "channel"
        plain = plain if plain[0].isalpha() else f"channel_{plain}"
        unique, number = plain, 1
        while (key := unique.replace("_", "").lower()) in taken:
            number += 1
            unique = f"{plain}_{number}"
        taken.add(key)
        found.append(unique)
    return tuple(found)


def _field(field: Field, message: str) -> bytes:
    label = _REPEATED if field.items else _OPTIONAL
    told = _text(1, field.name) + _number(3, field.number) + _number(4, label) + _number(5, field.kind)
    return told + (_text(6, f"{message}.{field.enum.__name__}") if field.enum else b"")


def _enum(enum: type[IntEnum]) -> bytes:
    """Values have the enum's name before theirs: protobuf wants them unique beyond their enum."""
    prefix = enum.__name__.upper()
    values = (_text(1, f"{prefix}_{item.name}") + _number(2, item.value) for item in enum)
    return _text(1, enum.__name__) + b"".join(_bytes(2, value) for value in values)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _tag(number: int, wire: _Wire) -> bytes:
    return _varint(number << 3 | wire)


def _number(number: int, value: int) -> bytes:
    return _tag(number, _Wire.VARINT) + _varint(value)


def _bytes(number: int, value: bytes) -> bytes:
    return _tag(number, _Wire.BYTES) + _varint(len(value)) + value


def _text(number: int, value: str) -> bytes:
    return _bytes(number, value.encode())
