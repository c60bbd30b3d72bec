"""What the recorded ticks of a run say: times, stretches of one mode, events.

Real time and lockstep are kept apart. Lateness and latency exist only where a clock drives the ticks: in lockstep the
robot waits for its command, and calls follow each other with warm caches, as they never do on a robot.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgerl.report.run_report import RunReport
from edgerl.runtime.enums import Clock, Event, Mode
from edgerl.runtime.quantiles import Summary, summarize
from edgerl.runtime.recording import Records

Times = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Timing:
    """One measured time of many ticks."""

    name: str
    meaning: str
    values_ns: Times
    summary: Summary


@dataclass(frozen=True)
class Incident:
    """Successive ticks that met the same events in the same mode."""

    first_tick: int
    last_tick: int
    ticks: int
    time_s: float
    """Since the first recorded tick began."""
    events: tuple[Event, ...]
    missed_periods: int
    """Of all its ticks together."""
    from_mode: int
    mode: int
    source: int
    rejected: tuple[int, ...]
    """Channels that the envelope refused."""
    causes: int
    """Bits of :class:`edgerl.runtime.enums.Verdict`, of all channels."""


def real_time(ticks: Records) -> Flags:
    """Return which ticks a clock drove, shape (n,)."""
    return np.asarray((ticks["clock"] == Clock.GRID) | (ticks["clock"] == Clock.ROBOT))


def column(ticks: Records, name: str) -> Times:
    """Return a field of the tick headers as signed integers, so that differences can be negative."""
    return ticks[name].astype(np.int64)


def has_event(ticks: Records, event: Event) -> Flags:
    """Return which ticks met an event, shape (n,)."""
    return np.asarray(ticks["events"] & (1 << event) != 0)


def masks(words: NDArray[np.uint64], channels: int) -> Flags:
    """Return per tick and channel whether its bit is set, shape (n, channels).

    Args:
        words: Bits of channel 64 w + b in word w, shape (n, 4).
        channels: How many of them are channels.
    """
    indices = np.arange(channels)
    bits = (words[:, indices // 64] >> (indices % 64).astype(np.uint64)) & np.uint64(1)
    return np.asarray(bits.astype(bool))


def lateness(ticks: Records) -> Times:
    """Return tick start minus scheduled start of every tick in [ns]; it means something only in real time."""
    return column(ticks, "start_ns") - column(ticks, "scheduled_ns")


def timings(report: RunReport) -> tuple[Timing, ...]:
    """Return the times of the real-time part, lateness and latency first."""
    ticks = report.recording.records
    real = real_time(ticks)
    written = real & (ticks["write_ns"] > 0)
    taken = real & (ticks["action_ns"] > 0)
    at_once = taken & (
        ticks["action_sequence"] == ticks["tick"]
    )  # not with a delay: the answer lies there till it is due
    rows = [_timing("lateness", "tick start minus scheduled start", lateness(ticks)[real])]
    if report.recording.header.same_clock:
        answered = written & (ticks["observed"] > 0)
        rows.append(_between("latency", "state stamp → command written", ticks[answered], "stamp_ns", "write_ns"))
    rows += [
        _timing("inference", "inside the engine's infer", column(ticks, "infer_ns")[taken]),
        *(
            [_between("policy's answer", "observation posted → action taken", ticks[at_once], "post_ns", "action_ns")]
            if at_once.any()
            else []
        ),
        _between("whole tick", "tick start → command written", ticks[written], "start_ns", "write_ns"),
    ]
    answers = [value for episode in report.result.episodes for value in episode.latency_ns]
    if answers:
        rows.append(
            _timing("round trip", "by the robot: state published → command arrived", np.array(answers, np.int64))
        )
    return tuple(rows)


def lockstep_timings(report: RunReport) -> tuple[Timing, ...]:
    """Return the times of the part in which the robot waited."""
    ticks = report.recording.records
    lockstep = np.asarray(ticks["clock"] == Clock.LOCKSTEP)
    if not lockstep.any():
        return ()
    taken = lockstep & (ticks["action_ns"] > 0)
    written = lockstep & (ticks["write_ns"] > 0)
    return (
        _timing("inference", "inside the engine's infer, back to back", column(ticks, "infer_ns")[taken]),
        _between("whole tick", "state arrived → command written", ticks[written], "start_ns", "write_ns"),
    )


def incidents(header: Records, channels: int) -> Iterator[Incident]:
    """Yield everything but nominal ticks, oldest first; successive ticks with the same content are one."""
    noted = (header["events"] & ~np.uint32(1)) | header["missed_periods"] | (header["mode"] != header["from_mode"])
    rows = np.flatnonzero(noted)
    if not rows.size:
        return
    rejected = masks(header["rejected"][rows], channels)
    begin = int(header["start_ns"][0])
    group: list[int] = []
    for place in range(rows.size):
        if group and not _continues(header, rejected, rows, group[-1], place):
            yield _incident(header, rejected, rows, group, begin)
            group = []
        group.append(place)
    yield _incident(header, rejected, rows, group, begin)


def _continues(header: Records, rejected: Flags, rows: Times, last: int, place: int) -> bool:
    before, now = header[rows[last]], header[rows[place]]
    same = ("events", "from_mode", "mode", "source", "causes")
    return bool(
        now["tick"] == before["tick"] + 1
        and all(now[name] == before[name] for name in same)
        and (rejected[place] == rejected[last]).all()
    )


def _incident(header: Records, rejected: Flags, rows: Times, group: list[int], begin: int) -> Incident:
    first, last = header[rows[group[0]]], header[rows[group[-1]]]
    bits = int(first["events"])
    return Incident(
        first_tick=int(first["tick"]),
        last_tick=int(last["tick"]),
        ticks=len(group),
        time_s=(int(first["start_ns"]) - begin) / 1e9,
        events=tuple(event for event in Event if event and bits >> event & 1),
        missed_periods=int(header["missed_periods"][rows[group]].sum()),
        from_mode=int(first["from_mode"]),
        mode=int(last["mode"]),
        source=int(first["source"]),
        rejected=tuple(np.flatnonzero(rejected[group[0]]).tolist()),
        causes=int(first["causes"]),
    )


def drove(ticks: Records) -> int:
    """Return the number of ticks in which the policy's own action was sent in mode ACTIVE."""
    return int(np.count_nonzero((ticks["mode"] == Mode.ACTIVE) & (ticks["source"] == 0)))


def _timing(name: str, meaning: str, values_ns: Times) -> Timing:
    return Timing(name, meaning, values_ns, summarize(values_ns))


def _between(name: str, meaning: str, ticks: Records, begin: str, end: str) -> Timing:
    return _timing(name, meaning, column(ticks, end) - column(ticks, begin))
