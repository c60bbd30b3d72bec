"""What a recording measures of a healthy loop: the samples that budgets are learned from.

Only ticks that a clock drove and that the policy was in charge of count. A run with a fault, with a change of policy or
with ticks that nobody recorded is no baseline: what went wrong in it would become the normal thing. An answer that came
too late was never recorded, so it counts as one that took longer than all others.

Nothing is decided here; the thresholds are made in :mod:`edgerl.runtime.budgets`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgerl.errors import NoBaseline
from edgerl.runtime.enums import MAX_WINDOW, Clock, Event, Mode, StateFlag
from edgerl.runtime.recording import Header, Recording, Records

Times = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

_BAD = Event.ACTION_LATE, Event.STATE_LOST, Event.REJECT, Event.OVERRUN
"""Events that the guardian counts in its bucket."""


@dataclass(frozen=True)
class Loop:
    """The configuration that a recorded run had."""

    period_ns: int
    budget_ns: int
    delay: int
    """Base ticks from an observation to its action; 0: within the tick."""
    divider: int
    window: int
    """Ticks that the bucket of bad ticks looks back on."""

    @property
    def has_ns(self) -> int:
        """How long the policy had for an answer."""
        return self.delay * self.period_ns if self.delay else self.budget_ns


@dataclass(frozen=True, eq=False)
class Baseline:
    """Samples of one healthy run; times in [ns], in the order in which they were taken."""

    loop: Loop
    seconds: float
    """That the policy was in charge in real time."""
    ticks: int
    """In which it was."""
    inference: Times
    """Inside the engine."""
    answer: Times
    """From the start of a tick to its action; empty where the policy has a delay."""
    owed: Times
    """From the first observation without an answer to the next action that took effect."""
    rest: Times
    """From the action to the command that was sent."""
    late_answers: int
    """Answers that came after their time, and that no sample holds."""
    lateness: Times
    """Of the tick's start; as the guardian's watchdog counts it, with the periods that were missed."""
    state_gap: Times
    """Between two successive states."""
    bad: Flags
    """Which of the ticks in charge the guardian counted as bad."""
    repeats: tuple[int, int] | None
    """How often the noisy channels were compared with the state before, and the most successive times one was equal;
    None without noisy channels."""


def baseline_of(recording: Recording, noisy: Collection[str] = ()) -> Baseline:
    """Return what a recording measures.

    Args:
        recording: With the array ``state`` where there are noisy channels.
        noisy: Names of the state channels whose sensors are never still.

    Raises:
        NoBaseline: It is none; the message says why and what to do.
    """
    _refuse_gaps(recording)
    rows, loop = recording.records, _loop(recording.header)
    _refuse_trouble(rows)
    real = _real(rows)
    charge = real & (rows["from_mode"] == Mode.ACTIVE) & (rows["mode"] == Mode.ACTIVE)
    if not charge.any():
        raise _nothing_measured(rows, real)
    driving = real & np.isin(rows["from_mode"], (Mode.ACTIVE, Mode.PREPARE))
    taken = rows[charge & (rows["action_ns"] > 0)]
    late = int(np.count_nonzero(_has(rows[charge], Event.ACTION_LATE)))
    written = taken[taken["write_ns"] > 0]
    return Baseline(
        loop=loop,
        seconds=int(np.count_nonzero(charge)) * loop.period_ns * 1e-9,
        ticks=int(np.count_nonzero(charge)),
        inference=taken["infer_ns"].astype(np.int64),
        answer=_since_begin(taken) if loop.delay == 0 else np.empty(0, np.int64),
        owed=_owed(rows, charge, loop),
        rest=_between(written, "action_ns", "write_ns"),
        late_answers=-(-late // loop.divider),
        lateness=_lateness(rows[driving], loop.period_ns),
        state_gap=_gaps(rows, driving),
        bad=_has(rows[real & (rows["from_mode"] == Mode.ACTIVE)], *_BAD),
        repeats=_repeats(recording, noisy) if noisy else None,
    )


def worst_window(flags: Flags, width: int) -> int:
    """Return the most of ``flags`` that are set in any ``width`` successive ones."""
    so_far = np.concatenate([[0], np.cumsum(flags, dtype=np.int64)])
    width = min(width, flags.size)
    return int(np.max(so_far[width:] - so_far[: so_far.size - width]))


def _loop(header: Header) -> Loop:
    told = header.guardian
    names = ("period_ns", "budget_ns", "action_delay", "policy_divider", "bucket_window")
    if missing := [name for name in names if name not in told]:
        raise NoBaseline(f"the recording does not say its {missing[0]}", "Record the run with this version.")
    period_ns, budget_ns, delay, divider, window = (told[name] for name in names)
    return Loop(max(1, period_ns), budget_ns, delay, max(1, divider), min(max(1, window), MAX_WINDOW))


def _refuse_gaps(recording: Recording) -> None:
    if not recording.complete:
        raise NoBaseline("the recording is cut off, and what follows is unknown", "Record a run to its end.")
    if recording.lost:
        raise NoBaseline(
            f"{recording.lost:,} ticks of the run are not in its recording, and they may be the slow ones",
            "Record it onto a faster disk, or on a machine that is less busy.",
        )


def _refuse_trouble(rows: Records) -> None:
    down, was_down = (np.isin(rows[name], (Mode.FALLBACK, Mode.STOPPED)) for name in ("mode", "from_mode"))
    faults = rows[down & ~was_down & (rows["event"] != Event.QUIT)]
    if len(faults):
        event, tick = Event(int(faults["event"][0])).name.lower().replace("_", " "), int(faults["tick"][0])
        raise NoBaseline(
            f"the run had a fault ({event} in tick {tick:,}), and what led to it must not become normal",
            "Find out why, mend it, and run again.",
        )
    switches = rows[_has(rows, Event.SWITCH)]
    if len(switches):
        raise NoBaseline(
            f"another policy took over in tick {int(switches['tick'][0]):,}, and each has times of its own",
            "Run one policy from start to end.",
        )


def _nothing_measured(rows: Records, real: Flags) -> NoBaseline:
    if len(rows) and not real.any() and (rows["clock"] == Clock.LOCKSTEP).any():
        why = "all ticks of the run were in lockstep, where the robot waits and nothing can be late"
        return NoBaseline(why, "Run it in real time: --realtime with a gym: robot, or the robot's own clock.")
    return NoBaseline("the policy was in charge in no tick of real time", "Arm it, and let it drive in real time.")


def _real(rows: Records) -> Flags:
    return np.asarray((rows["clock"] == Clock.GRID) | (rows["clock"] == Clock.ROBOT))


def _has(rows: Records, *events: Event) -> Flags:
    """Return which ticks met any of the events."""
    return np.asarray(rows["events"] & np.uint32(sum(1 << event for event in events)) != 0)


def _between(rows: Records, begin: str, end: str) -> Times:
    return np.asarray(rows[end].astype(np.int64) - rows[begin].astype(np.int64))


def _since_begin(taken: Records) -> Times:
    """From where the guardian counts its budget: the point of its grid, or the arrival of the robot's state."""
    begin = np.where(taken["clock"] == Clock.GRID, taken["scheduled_ns"], taken["start_ns"])
    return np.asarray(taken["action_ns"].astype(np.int64) - begin.astype(np.int64))


def _lateness(rows: Records, period_ns: int) -> Times:
    """The tick's schedule is the newest point of the grid, so the missed ones are added; the robot's clock has them."""
    missed = np.where(rows["clock"] == Clock.GRID, rows["missed_periods"].astype(np.int64) * period_ns, 0)
    return np.asarray(_between(rows, "scheduled_ns", "start_ns") + missed)


def _owed(rows: Records, charge: Flags, loop: Loop) -> Times:
    """With a delay the action lies there until it is due, so that this is more than the policy took."""
    taken, posts = np.flatnonzero(rows["action_ns"] > 0), np.flatnonzero(rows["post_ns"] > 0)
    if not posts.size:
        return np.empty(0, np.int64)
    # Without a delay a tick's answer follows its observation; with one, what was due is taken before the next is made.
    after = np.concatenate([[0], taken[:-1] + (loop.delay == 0)]).astype(np.int64)
    first = posts[np.minimum(np.searchsorted(posts, after), posts.size - 1)]
    owed = rows["action_ns"][taken].astype(np.int64) - rows["post_ns"][first].astype(np.int64)
    return np.asarray(owed[charge[taken] & (first >= after) & (first <= taken)])


def _gaps(rows: Records, driving: Flags) -> Times:
    """Never across ticks in which nobody drove: the robot may have been told to wait."""
    seen = np.flatnonzero(driving & (rows["observed"] > 0))
    stretch = np.cumsum(~driving)[seen]
    gaps = np.diff(rows["start_ns"][seen].astype(np.int64))
    return np.asarray(gaps[np.diff(stretch) == 0])


def _repeats(recording: Recording, noisy: Collection[str]) -> tuple[int, int]:
    rows = recording.records
    names = [channel.name for channel in recording.header.channels("state")]
    if unknown := sorted(set(noisy) - set(names)):
        listed = ", ".join(names) or "none"
        raise NoBaseline(f"the robot has no state channel {unknown[0]!r}", f"Its channels: {listed}.")
    seen = rows[rows["observed"] > 0]
    values = seen["state"][:, [names.index(name) for name in noisy]]
    comparable = (seen["state_flags"][1:] & StateFlag.WAITING) == 0
    equal = (values[1:] == values[:-1]) & comparable[:, np.newaxis]  # NaN equals nothing
    longest = max((_longest_run(equal[:, place]) for place in range(equal.shape[1])), default=0)
    return len(equal), longest


def _longest_run(flags: Flags) -> int:
    ends = np.flatnonzero(~np.concatenate([[False], flags, [False]]))
    return int(np.max(np.diff(ends))) - 1
