"""The recording of a run: every tick as the guardian wrote it, in an MCAP file that other programs open as well.

This module says what a recording is: the header, the form of a record, and a recording that was read. ``write`` and
``read`` are the file, ``form`` is what one tick looks like in it, ``container`` and ``protobuf`` are the two formats it
is made of, ``recorder`` runs beside the supervisor and keeps disks and faults away from it. docs/recording.md is the
description for people.
"""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from edgerl.runtime.layout import Channel, Layout, action_channels, operator_channels
from edgerl.runtime.structs import TickHeader
from edgerl.spec import PolicySpec

SCHEMA = 1
"""Of the header and of the topics; another one for every change of either."""
SUFFIX = ".mcap"

Records = npt.NDArray[Any]
"""Structured array, one row a tick: the fields of ``TickHeader``, then one array of float32 for each :class:`Array`."""


@dataclass(frozen=True)
class Machine:
    """What ran the loop."""

    processor: str
    """Model, as the kernel names it; empty where it does not."""
    kernel: str
    architecture: str
    cpus: int
    python: str


@dataclass(frozen=True)
class Array:
    """Values of one kind in every record, float32."""

    name: str
    """Name of the records' field; the topic is ``/edgerl/<name>``."""
    channels: tuple[Channel, ...]


@dataclass(frozen=True)
class Header:
    """What the records mean and where they come from."""

    schema: int
    bundle: str
    """SHA-256 of the bundle that was run."""
    spec: str
    """SHA-256 of the policy's canonical spec."""
    robot: str
    """As given to ``--robot``."""
    session: str
    """The robot port's session, 16 hexadecimal digits."""
    started_unix_ns: int
    started_monotonic_ns: int
    """CLOCK_MONOTONIC at the same moment; the difference turns the records' times into dates."""
    machine: Machine
    guardian: Mapping[str, int]
    """The guardian's configuration, times in [ns]."""
    same_clock: bool
    """Whether the robot's stamps and the guardian's times are of one clock, so that latency can be computed."""
    arrays: tuple[Array, ...]
    """In the order of the ring's records."""
    fault: str | None = None
    """What this file is the dump of; None: it is the recording of a whole run."""

    def channels(self, name: str) -> tuple[Channel, ...]:
        """Return the channels of an array; none where there is no such array."""
        return next((array.channels for array in self.arrays if array.name == name), ())


@dataclass(frozen=True, eq=False)
class Recording:
    """A recording that was read."""

    header: Header
    records: Records
    complete: bool
    """False: the file was cut off, or its run was not ended in order; later ticks are missing."""

    @cached_property
    def lost(self) -> int:
        """Ticks that the guardian made and the supervisor could not save in time."""
        ticks = self.records["tick"]
        if not len(ticks):
            return 0
        first = 0 if self.header.fault is None else int(ticks[0])
        return int(ticks[-1]) + 1 - first - len(ticks)


def arrays_of(
    layout: Layout, actions: tuple[Channel, ...] | None = None, operator: tuple[Channel, ...] = ()
) -> tuple[Array, ...]:
    """Return the arrays of a ring record, in its order.

    Args:
        layout: Of the robot.
        actions: What the policy says; None: one action for each command channel.
        operator: What people command.
    """
    actions = layout.command if actions is None else actions
    return (
        Array("state", layout.state),
        Array("action", actions),
        Array("command", layout.command),
        Array("shadow", actions),
        Array("operator", operator),
    )


def policy_arrays(layout: Layout, spec: PolicySpec) -> tuple[Array, ...]:
    """Return the arrays of a ring record of a guardian that runs this policy on a robot with this layout."""
    return arrays_of(layout, action_channels(spec), operator_channels(spec))


def record_bytes(arrays: Iterable[Array]) -> int:
    """Return the size of one ring record."""
    return -(-(ctypes.sizeof(TickHeader) + 4 * sum(len(array.channels) for array in arrays)) // 8) * 8


def record_dtype(arrays: Collection[Array]) -> np.dtype[Any]:
    """Return the structured dtype of one ring record."""
    columns = [
        (name, column[0], int(column[1]))
        for name, column in (np.dtype(TickHeader).fields or {}).items()
        if name != "reserved"
    ]
    at = ctypes.sizeof(TickHeader)
    for array in arrays:
        columns.append((array.name, np.dtype((np.float32, (len(array.channels),))), at))
        at += 4 * len(array.channels)
    names, formats, offsets = (list(column) for column in zip(*columns, strict=True))
    form: Any = {"names": names, "formats": formats, "offsets": offsets, "itemsize": record_bytes(arrays)}
    return cast("np.dtype[Any]", np.dtype(form))


def this_machine() -> Machine:
    """Return what is known of this machine."""
    system = platform.release(), platform.machine(), os.cpu_count() or 0
    return Machine(_processor(), *system, platform.python_version())


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return ""
    named = (line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model", "Hardware")))
    return next(named, "")[:256]
