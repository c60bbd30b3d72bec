"""What the ticks of a run come to, counted while they come: a run's result needs neither its recording nor memory.

Counts are exact. Quantiles of times are exact up to :data:`SAMPLES` values of a kind, beyond that of a random sample of
so many; the largest value is always the largest of all.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from edgerl.runtime.enums import Clock, Event, Mode, Source
from edgerl.runtime.quantiles import Summary, summarize
from edgerl.runtime.recording import Recording, Records
from edgerl.runtime.result import Misses, ModeSpan, Timing

SAMPLES = 262_144
"""Four minutes at 1 kHz; carries a quantile of 0.99999."""
SPANS = 10_000
"""The last so many are kept: a source that changes in every tick must not fill the memory."""

Times = npt.NDArray[np.int64]


class Tally:
    """Counts ticks.

    Args:
        channels: Command channels.
        same_clock: Whether the robot's stamps and the guardian's times are of one clock.

    Attributes:
        ticks: That were counted.
        realtime_ticks: Of these, on the guardian's or the robot's clock.
        lockstep_ticks: Of these, in simulated time.
        rejected: How often each channel was rejected.
        saturated: How often each channel was brought to a limit.
        misses: What went wrong in ticks that began in mode ACTIVE.
    """

    def __init__(self, channels: int, *, same_clock: bool) -> None:
        self.ticks = 0
        self.realtime_ticks = 0
        self.lockstep_ticks = 0
        self.rejected = np.zeros(channels, np.int64)
        self.saturated = np.zeros(channels, np.int64)
        self.misses = Misses(0, 0, 0, 0, 0, 0)
        self._same_clock = same_clock
        self._spans: deque[ModeSpan] = deque(maxlen=SPANS)
        self._lateness, self._latency, self._answer, self._inference, self._lockstep = (_Sample() for _ in range(5))

    @property
    def modes(self) -> tuple[ModeSpan, ...]:
        """The run as spans of one mode and source, oldest first; the last :data:`SPANS`."""
        return tuple(self._spans)

    @property
    def timing(self) -> Timing:
        """The measured times."""
        return Timing(
            self._lateness.summary(),
            self._latency.summary() if self._same_clock else None,
            self._answer.summary(),
            self._inference.summary(),
            self._lockstep.summary(),
        )

    def add(self, rows: Records) -> None:
        """Count the next ticks."""
        if not len(rows):
            return
        self.ticks += len(rows)
        for masks, counts in ((rows["rejected"], self.rejected), (rows["saturated"], self.saturated)):
            if masks.any():
                np.add(counts, _per_channel(masks, len(counts)), out=counts)
        self._add_misses(rows)
        self._add_spans(rows)
        lockstep = rows["clock"] == Clock.LOCKSTEP
        real = (rows["clock"] == Clock.GRID) | (rows["clock"] == Clock.ROBOT)
        self.realtime_ticks += int(np.count_nonzero(real))
        self.lockstep_ticks += int(np.count_nonzero(lockstep))
        taken = rows["action_ns"] > 0
        infer = rows["infer_ns"].astype(np.int64)
        self._lateness.add(_between(rows, "scheduled_ns", "start_ns")[real])
        at_once = taken & (
            rows["action_sequence"] == rows["tick"]
        )  # with a delay the answer lies there until it is due
        self._answer.add(_between(rows, "post_ns", "action_ns")[real & at_once])
        self._inference.add(infer[real & taken])
        self._lockstep.add(infer[lockstep & taken])
        if self._same_clock:
            answered = real & (rows["observed"] > 0) & (rows["write_ns"] > 0)
            self._latency.add(_between(rows, "stamp_ns", "write_ns")[answered])

    def _add_misses(self, rows: Records) -> None:
        so_far, active = self.misses, rows["from_mode"] == Mode.ACTIVE
        events = rows["events"][active]
        self.misses = Misses(
            so_far.ticks + len(events),
            so_far.actions_late + _count(events, Event.ACTION_LATE),
            so_far.states_lost + _count(events, Event.STATE_LOST),
            so_far.rejected + int(np.count_nonzero(rows["rejected"].any(axis=1) & active)),
            so_far.saturated + int(np.count_nonzero(rows["saturated"].any(axis=1) & active)),
            so_far.missed_periods + int(rows["missed_periods"][active].sum(dtype=np.uint64)),
        )

    def _add_spans(self, rows: Records) -> None:
        pairs = rows["mode"].astype(np.int32) * 256 + rows["source"]
        starts = [0, *(np.flatnonzero(np.diff(pairs)) + 1).tolist()]
        for first, stop in zip(starts, [*starts[1:], len(rows)], strict=True):
            names = Mode(rows["mode"][first]).name, Source(rows["source"][first]).name.lower()
            last = self._spans[-1] if self._spans else None
            if last is not None and (last.mode, last.source) == names:
                self._spans[-1] = replace(last, ticks=last.ticks + stop - first)
            else:
                self._spans.append(ModeSpan(*names, int(rows["tick"][first]), stop - first))


def tally_of(recording: Recording) -> Tally:
    """Return what the ticks of a recording come to."""
    tally = Tally(len(recording.header.channels("command")), same_clock=recording.header.same_clock)
    tally.add(recording.records)
    return tally


class _Sample:
    """Values of one kind: all of them, or a random sample in which each has had the same chance."""

    def __init__(self) -> None:
        self._values = np.empty(1024, np.int64)
        self._count = 0
        self._maximum: int | None = None
        self._random = np.random.default_rng(0)

    def add(self, values: Times) -> None:
        if not values.size:
            return
        self._maximum = max(int(values.max()), self._maximum if self._maximum is not None else int(values[0]))
        room = min(values.size, max(0, SAMPLES - self._count))
        if self._count + room > self._values.size:
            self._values = np.resize(self._values, min(SAMPLES, 2 * (self._count + room)))
        self._values[self._count : self._count + room] = values[:room]
        if room < values.size:  # each later value takes the place of a random one, ever more seldom
            numbers = np.arange(max(self._count, SAMPLES), self._count + values.size)
            places = self._random.integers(0, numbers + 1)
            chosen = places < SAMPLES
            self._values[places[chosen]] = values[room:][chosen]
        self._count += values.size

    def summary(self) -> Summary:
        sample = self._values[: min(self._count, SAMPLES)]
        return replace(summarize(sample), n=self._count, maximum=self._maximum)


def _per_channel(masks: npt.NDArray[np.uint64], channels: int) -> Times:
    """Return how many rows have the bit of each channel set; channel 64 w + b is bit b of word w."""
    bits = np.unpackbits(np.ascontiguousarray(masks).view(np.uint8), axis=1, bitorder="little")
    return np.asarray(bits[:, :channels].sum(axis=0), np.int64)


def _count(events: npt.NDArray[np.uint32], event: Event) -> int:
    return int(np.count_nonzero(events & np.uint32(1 << event)))


def _between(rows: Records, begin: str, end: str) -> Times:
    return rows[end].astype(np.int64) - rows[begin].astype(np.int64)
