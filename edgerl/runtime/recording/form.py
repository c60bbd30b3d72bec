"""What one tick looks like in the file: one message on each topic, always of the same size, in the same order.

So the messages of many ticks are the rows of an array: constant bytes (opcodes, lengths, tags) that are copied, and
columns that are filled or read for all ticks at once. Nothing is encoded value by value, and nothing is rounded: a
float32 is a protobuf ``float``, an unsigned integer of 32 or 64 bits a ``fixed32`` or ``fixed64``. Integers of 8 bits
are varints written with two bytes, which readers take for any value of 8 bits.
"""

from __future__ import annotations

import ctypes
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from edgerl.runtime.enums import MASK_WORDS, Clock, Event, Mode, Source
from edgerl.runtime.recording import Array, Header, Records, record_dtype
from edgerl.runtime.recording.container import HEAD, INDEX_ENTRY, MESSAGE_HEAD, Op
from edgerl.runtime.recording.protobuf import Field, Kind, identifiers, schema
from edgerl.runtime.structs import TickHeader

PACKAGE = "edgerl"
ENUMS: Mapping[str, type[IntEnum]] = {
    "from_mode": Mode,
    "mode": Mode,
    "source": Source,
    "event": Event,
    "clock": Clock,
}
"""Fields of ``TickHeader`` that have names for their values."""
DERIVED = ("lateness_ns", "answer_ns", "latency_ns")
"""Differences of times in the tick's message, for plots; NaN where a tick has none. They are not read back."""

_FIRST_CHANNEL = 16
"""Number of an array's first field: from here to 2047 every tag has two bytes."""

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Topic:
    """One message of every tick."""

    name: str
    message: str
    schema: bytes
    notes: Mapping[str, str]
    """By field: the unit, and before it the channel's own name, which protobuf may not allow."""
    at: int
    """Offset of its record in a block."""


@dataclass(frozen=True)
class _Column:
    """Where the values of one field of the records stand in a block."""

    source: str
    at: int
    dtype: str
    items: int = 1
    stride: int = 8

    def of(self, blocks: Bytes) -> npt.NDArray[Any]:
        """Return the values in ``blocks``, shape (ticks, items)."""
        shape, strides = (len(blocks), self.items), (blocks.strides[0], self.stride)
        values: npt.NDArray[Any] = np.ndarray(shape, self.dtype, blocks, self.at, strides)
        return values


class Form:
    """The form of a file's blocks; a block is what is written for one tick.

    Args:
        arrays: Of the records.
        same_clock: Whether latency can be computed.
        to_unix_ns: CLOCK_REALTIME less CLOCK_MONOTONIC.

    Attributes:
        topics: In the order of a block; an array without channels has none.
        block_bytes: Size of a block.
        tick_bytes: What a tick takes in the file.
        dtype: Of the records, as the ring has them.
    """

    def __init__(self, arrays: Collection[Array], *, same_clock: bool = False, to_unix_ns: int = 0) -> None:
        self._same_clock = same_clock
        self._to_unix = np.uint64(to_unix_ns % 2**64)
        self.dtype = record_dtype(arrays)
        self._columns: list[_Column] = []
        self._frames: list[tuple[int, bytes]] = []
        self._template = b""
        self.topics = (self._tick_topic(), *(self._array_topic(one) for one in arrays if one.channels))
        self.block_bytes = len(self._template)
        self.tick_bytes = self.block_bytes + INDEX_ENTRY.itemsize * len(self.topics)

    @classmethod
    def of(cls, header: Header) -> Form:
        """Return the form of a file with this header."""
        to_unix_ns = header.started_unix_ns - header.started_monotonic_ns
        return cls(header.arrays, same_clock=header.same_clock, to_unix_ns=to_unix_ns)

    def log_times(self, rows: Records) -> npt.NDArray[np.uint64]:
        """Return when each tick began in [ns] since 1970."""
        return np.asarray(rows["start_ns"] + self._to_unix, np.uint64)

    def blocks(self, rows: Records) -> Bytes:
        """Return what is written for ``rows``, shape (ticks, block_bytes)."""
        blocks = np.empty((len(rows), self.block_bytes), np.uint8)
        blocks[:] = np.frombuffer(self._template, np.uint8)
        times, derived = self.log_times(rows), self._derived(rows)
        for column in self._columns:
            out = column.of(blocks)
            if column.source == "log_time":
                out[:, 0] = times
            elif column.source == "sequence":
                out[:, 0] = rows["tick"]  # modulo 2**32
            elif column.source in DERIVED:
                out[:, 0] = derived[column.source]
            else:
                values = rows[column.source]
                out[:] = _two_bytes(values) if column.dtype == "<u2" else values.reshape(len(rows), column.items)
        return blocks

    def rows(self, blocks: Bytes, out: Records) -> None:
        """Read ``out`` from as many blocks; fields that ``out`` has not are passed over."""
        wanted = out.dtype.names or ()
        for column in self._columns:
            if column.source in wanted:
                values = column.of(blocks)
                values = _one_byte(values) if column.dtype == "<u2" else values
                out[column.source] = values.reshape(out[column.source].shape)

    def framed(self, blocks: Bytes) -> int:
        """Return how many of the leading blocks consist of the messages that they should."""
        good = np.ones(len(blocks), bool)
        for at, frame in self._frames:
            good &= (blocks[:, at : at + len(frame)] == np.frombuffer(frame, np.uint8)).all(axis=1)
        return len(good) if good.all() else int(np.argmin(good))

    def _derived(self, rows: Records) -> dict[str, npt.NDArray[np.float64]]:
        has_answer = (rows["action_ns"] > 0) & (rows["action_sequence"] == rows["tick"])
        has_latency = (rows["observed"] > 0) & (rows["write_ns"] > 0)
        return {
            "lateness_ns": _difference(rows, "start_ns", "scheduled_ns"),
            "answer_ns": np.where(has_answer, _difference(rows, "action_ns", "post_ns"), np.nan),
            "latency_ns": np.where(has_latency & self._same_clock, _difference(rows, "write_ns", "stamp_ns"), np.nan),
        }

    def _tick_topic(self) -> Topic:
        fields = list(_tick_fields())
        notes = {field.name: "ns" for field in fields if field.name.endswith("_ns")}
        return self._topic("tick", fields, notes)

    def _array_topic(self, array: Array) -> Topic:
        names = identifiers(channel.name for channel in array.channels)
        fields = [Field(name, Kind.FLOAT, _FIRST_CHANNEL + place) for place, name in enumerate(names)]
        told = (f"{one.name} [{one.unit}]" for one in array.channels)
        at = len(self._template)
        topic = self._topic(array.name, fields, dict(zip(names, told, strict=True)), columns=False)
        tag = len(fields[0].tag)
        self._columns.append(_Column(array.name, at + HEAD.size + MESSAGE_HEAD.size + tag, "<f4", len(fields), tag + 4))
        return topic

    def _topic(self, name: str, fields: list[Field], notes: Mapping[str, str], *, columns: bool = True) -> Topic:
        """Append one message to the template."""
        at = len(self._template)
        number = len(self._frames) + 1
        body, begin = b"", at + HEAD.size + MESSAGE_HEAD.size
        for field in fields:
            dtype, size = _WIRE_FORMS[field.kind]
            items = field.items or 1
            body += field.tag
            if columns:
                self._columns.append(_Column(field.name, begin + len(body), dtype, items))
            body += bytes(size * items)
        frame = HEAD.pack(Op.MESSAGE, MESSAGE_HEAD.size + len(body)) + MESSAGE_HEAD.pack(number, 0, 0, 0)[:2]
        self._frames.append((at, frame))
        for source, place, form in (("sequence", 2, "<u4"), ("log_time", 6, "<u8"), ("log_time", 14, "<u8")):
            self._columns.append(_Column(source, at + HEAD.size + place, form))
        self._template += frame + bytes(MESSAGE_HEAD.size - 2) + body
        message = name.capitalize()
        return Topic(f"/edgerl/{name}", f"{PACKAGE}.{message}", schema(PACKAGE, message, fields), notes, at)


_WIRE_FORMS = {
    Kind.DOUBLE: ("<f8", 8),
    Kind.FLOAT: ("<f4", 4),
    Kind.FIXED64: ("<u8", 8),
    Kind.FIXED32: ("<u4", 4),
    Kind.UINT32: ("<u2", 2),
    Kind.ENUM: ("<u2", 2),
}
"""numpy's type of each kind, and its size in a message."""


def _tick_fields() -> Iterator[Field]:
    number = 0
    for name, kind in ((field[0], field[1]) for field in TickHeader._fields_ if field[0] != "reserved"):
        number += 1
        if issubclass(kind, ctypes.Array):
            yield Field(name, Kind.FIXED64, number, items=MASK_WORDS)
        elif kind is ctypes.c_uint64:
            yield Field(name, Kind.FIXED64, number)
        elif kind is ctypes.c_uint32:
            yield Field(name, Kind.FIXED32, number)
        elif name in ENUMS:
            yield Field(name, Kind.ENUM, number, ENUMS[name])
        else:
            yield Field(name, Kind.UINT32, number)
    for name in DERIVED:
        number += 1
        yield Field(name, Kind.DOUBLE, number)


def _two_bytes(values: npt.NDArray[Any]) -> npt.NDArray[np.uint16]:
    """Return the varints of integers of 8 bits, in two bytes each, shape (ticks, 1)."""
    wide = values.astype(np.uint16)
    return np.asarray((wide & 0x7F) | 0x80 | (wide & 0x80) << 1, np.uint16)[:, np.newaxis]


def _one_byte(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    return ((values & 0x7F) | (values >> 1 & 0x80)).astype(np.uint8)


def _difference(rows: Records, end: str, begin: str) -> npt.NDArray[np.float64]:
    return np.asarray((rows[end] - rows[begin]).view(np.int64), np.float64)
