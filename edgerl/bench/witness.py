"""Was every command the one that the mode table names? Judged from what the robot wrote down.

The guardian's record says what a tick met; the table says what follows from that; the robot says what arrived. A
command is *unsafe* where it is not finite, outside the limits, or not what the table names, and *stale* where it claims
to be the policy's and is not its answer to the state that it echoes (every state of the bench's robot has its own).
Nothing here measures time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgerl.bench.robot import CommandFlag, Commands, value_of
from edgerl.runtime.core import modes_table
from edgerl.runtime.enums import Event, Mode, Source
from edgerl.runtime.recording import Records

LADDER = (Source.HOLD, Source.SAFE, Source.LAPSE)
"""The rungs of a benchmark's ladder, in order."""
_NAMED = {
    "policy": (Source.POLICY,), "hold": (Source.HOLD,), "safe": (Source.SAFE,), "lapse": (Source.LAPSE,),
    "ramp": (Source.RAMP,), "on-reject": (Source.HOLD,), "ladder": LADDER,
}  # fmt: skip


@dataclass(frozen=True)
class Testimony:
    """What was wrong in a run; all 0 where nothing was."""

    commands: int
    """That were looked at."""
    unsafe: int
    stale: int
    out_of_order: int
    """Or with an echo that belongs to no state."""
    missing: int
    """Written by the guardian, not seen by the robot."""
    first: str
    """The first thing that was wrong, in words."""


def cells() -> dict[tuple[int, int], tuple[tuple[Source, ...], Mode]]:
    """Return the sources and the next mode that the table allows, by mode and event."""
    return {
        (Mode[row.mode.upper()], Event[row.event.upper().replace("-", "_")]): (
            _NAMED[row.source],
            Mode[row.next_mode.upper()],
        )
        for row in modes_table()
    }


def examine(
    records: Records, commands: Commands, *, low: float, high: float, frozen: Sequence[tuple[int, int]] = ()
) -> Testimony:
    """Compare every command that arrived with the table.

    Args:
        records: The guardian's, of one run without gaps.
        commands: The robot's, of the same run.
        low: Limits of every channel.
        high: As ``low``.
        frozen: First and last sequence of states that the robot left as the one before them was.
    """
    table = cells()
    written = records[records["write_ns"] > 0]
    wrong: list[str] = []
    unsafe = sum(not _as_named(row, table, wrong) for row in records)
    count = min(len(written), len(commands))
    missing = abs(len(written) - len(commands))
    bad = _bad_values(records, written[:count], commands[:count], low, high)
    stale = _stale(commands[:count], frozen)
    order = (commands["flags"] & (CommandFlag.IN_ORDER | CommandFlag.ECHO_MATCHES)) != (
        CommandFlag.IN_ORDER | CommandFlag.ECHO_MATCHES
    )
    for name, found in (("unsafe", bad), ("stale", stale), ("out of order", order)):
        wrong += [f"{name}: command {commands['sequence'][at]}" for at in np.flatnonzero(found)[:1]]
    return Testimony(
        len(commands), unsafe + int(bad.sum()), int(stale.sum()), int(order.sum()), missing, (wrong or [""])[0]
    )


def _as_named(row: np.void, table: dict[tuple[int, int], tuple[tuple[Source, ...], Mode]], wrong: list[str]) -> bool:
    sources, following = table[int(row["from_mode"]), int(row["event"])]
    source = Source(int(row["source"]))
    # Before the first state there is nobody to send to; HOLD of nothing is SAFE.
    named = source in sources or int(row["state_sequence"]) == 0
    if named and int(row["mode"]) == following:
        return True
    event = Event(int(row["event"])).name
    wrong.append(f"tick {row['tick']}: {event} in {Mode(int(row['from_mode'])).name} gave {source.name}")
    return False


def _bad_values(
    records: Records, written: Records, commands: Commands, low: float, high: float
) -> npt.NDArray[np.bool_]:
    """Which commands are not as written, not within the limits, or not what their source means."""
    channels = written["command"].shape[1]
    values = commands["values"][:, :channels]
    finite = np.isfinite(values).all(axis=1) & (values >= low).all(axis=1) & (values <= high).all(axis=1)
    same = (values == written["command"]).all(axis=1) & (commands["state_sequence"] == written["state_sequence"])
    same &= (commands["mode"] == written["mode"]) & (commands["source"] == written["source"])
    before = np.vstack([np.zeros((1, channels), np.float32), values[:-1]])
    # What has lapsed cannot be held: these channels then stand at their safe value.
    before[lapsed(records, written, commands)] = 0
    hold = (commands["source"] != Source.HOLD) | (values == before).all(axis=1)
    safe = (commands["source"] != Source.SAFE) | (values == 0).all(axis=1)
    return np.asarray(~(finite & same & hold & safe))


def lapsed(records: Records, written: Records, commands: Commands) -> npt.NDArray[np.bool_]:
    """Return before which commands the one before was valid no more, shape (commands,).

    A command's time runs from the tick that took the state that it answers, so that commands which answer one old
    state again and again run out with it.
    """
    sequences, first = np.unique(records["state_sequence"], return_index=True)
    taken = records["tick_ns"][first][np.searchsorted(sequences, written["state_sequence"])].astype(np.int64)
    times = written["tick_ns"].astype(np.int64)
    return np.asarray(times - np.concatenate([times[:1], taken[:-1]]) > commands["valid_for_ns"])


def _stale(commands: Commands, frozen: Sequence[tuple[int, int]]) -> npt.NDArray[np.bool_]:
    sequences = commands["state_sequence"].copy()
    for first, last in frozen:
        sequences[(sequences >= first) & (sequences <= last)] = first - 1
    own = value_of(sequences)[:, None]
    channels = int(commands["count"][0]) if len(commands) else 0
    answers = (commands["values"][:, :channels] == own).all(axis=1)
    return np.asarray((commands["source"] == Source.POLICY) & ~answers)
