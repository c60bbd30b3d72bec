"""Ticks and headers for the tests of recordings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from edgerl.runtime.enums import Clock, Event, Mode, Source
from edgerl.runtime.layout import Channel, Layout
from edgerl.runtime.recording import SCHEMA, Header, Machine, Records, arrays_of, record_dtype

PERIOD_NS = 1_000_000
LAYOUT = Layout(
    tuple(Channel(f"q[{joint}]", "rad") for joint in ("hip", "knee", "ankle")), (Channel("tau[hip]", "N m"),)
)
HEADER = Header(
    schema=SCHEMA,
    bundle="ab" * 32,
    spec="cd" * 32,
    robot="gym:CartPole-v1",
    session="0" * 15 + "7",
    started_unix_ns=1_790_000_000 * 10**9,
    started_monotonic_ns=5 * 10**9,
    machine=Machine("CPU", "6.1", "x86_64", 2, "3.11"),
    guardian={"period_ns": PERIOD_NS},
    same_clock=True,
    arrays=arrays_of(LAYOUT, operator=(Channel("velocity", "m/s"),)),
)


def header(**changes: Any) -> Header:
    return replace(HEADER, **changes)


def ticks(count: int, first: int = 0, told: Header = HEADER) -> Records:
    """Ticks of a policy in charge, one each millisecond."""
    rows = np.zeros(count, record_dtype(told.arrays))
    rows["tick"] = np.arange(first, first + count)
    rows["start_ns"] = told.started_monotonic_ns + rows["tick"] * np.uint64(PERIOD_NS)
    rows["scheduled_ns"] = rows["start_ns"] - np.uint64(7)
    rows["mode"] = rows["from_mode"] = Mode.ACTIVE
    rows["source"], rows["clock"], rows["events"] = Source.POLICY, Clock.GRID, 1
    rows["state"] = rows["tick"][:, np.newaxis]
    return rows


def any_ticks(count: int, seed: int = 0, told: Header = HEADER) -> Records:
    """Ticks whose every bit is random, as far as a guardian could have written them: NaN with payloads included."""
    rows = ticks(count, told=told)
    noise = np.random.default_rng(seed).integers(0, 256, (count, rows.itemsize), np.uint8).view(rows.dtype)[:, 0]
    for name in rows.dtype.names or ():
        if name not in ("tick", "start_ns"):
            rows[name] = noise[name]
    for name, enum in (("from_mode", Mode), ("mode", Mode), ("source", Source), ("event", Event), ("clock", Clock)):
        rows[name] %= len(enum)
    return rows


def fall(rows: Records, place: int, event: Event = Event.POLICY_FAULT, ladder: int = 40) -> Records:
    """Let a fault at ``place`` lead down a ladder of so many ticks."""
    rows["event"][place] = event
    rows["events"][place] = 1 << event
    rows["mode"][place:] = Mode.FALLBACK
    rows["from_mode"][place + 1 :] = Mode.FALLBACK
    rows["source"][place:] = Source.SAFE
    rows["mode"][place + ladder :] = Mode.STOPPED
    rows["from_mode"][place + ladder + 1 :] = Mode.STOPPED
    rows["event"][place + ladder : place + ladder + 1] = Event.LADDER_END
    return rows


def same(found: Records, expected: Records) -> bool:
    """Whether every field of two record arrays has the same bits; padding does not count."""
    names = expected.dtype.names or ()
    return found.dtype.names == names and all(
        np.ascontiguousarray(found[name]).tobytes() == np.ascontiguousarray(expected[name]).tobytes() for name in names
    )
