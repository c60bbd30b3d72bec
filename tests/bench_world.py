"""Made-up runs of a benchmark: records as the guardian would write them, commands as the robot would."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgerl.bench.fault_trials import Injection, Trials
from edgerl.bench.robot import COMMAND_DTYPE, CommandFlag, value_of
from edgerl.runtime.enums import Event, Mode, Source
from edgerl.runtime.layout import Channel, Layout
from edgerl.runtime.recording import arrays_of, record_dtype

PERIOD, BUDGET, CHANNELS = 1_000_000, 500_000, 12
BEGIN = 10**12
LAYOUT = Layout((Channel("state", "1"),) * 48, (Channel("command", "1"),) * CHANNELS)


class MadeUpRun:
    """Ticks 1 ms apart, each with a state of its own, in ACTIVE and with the policy's answer; then changed at will."""

    def __init__(self, ticks: int = 30) -> None:
        self.records = np.zeros(ticks, record_dtype(arrays_of(LAYOUT)))
        rows = self.records
        rows["tick"] = np.arange(ticks)
        rows["scheduled_ns"] = BEGIN + PERIOD * np.arange(ticks)
        rows["tick_ns"] = rows["scheduled_ns"]
        rows["start_ns"] = rows["scheduled_ns"] + 100
        rows["write_ns"] = rows["scheduled_ns"] + 60_000
        rows["state_sequence"] = np.arange(1, ticks + 1)
        rows["observed"] = 1
        rows["from_mode"] = rows["mode"] = Mode.ACTIVE
        rows["source"], rows["event"], rows["events"] = Source.POLICY, Event.NOMINAL, 1
        rows["command"] = value_of(rows["state_sequence"].astype(np.int64))[:, None]

    def meet(self, tick: int, event: Event, source: Source, mode: Mode, *, written_ns: int = 540_000) -> None:
        """Let a tick meet an event; a held command repeats the one before."""
        row = self.records[tick : tick + 1]
        row["event"], row["events"], row["source"], row["mode"] = event, 1 << event, source, mode
        row["write_ns"] = row["scheduled_ns"] + written_ns
        row["command"] = self.records["command"][tick - 1] if source == Source.HOLD else 0.0

    def commands(self) -> np.ndarray:
        """Return what the robot saw of it."""
        written = self.records[self.records["write_ns"] > 0]
        seen = np.zeros(len(written), COMMAND_DTYPE)
        seen["arrival_ns"] = written["write_ns"] + 1_000
        seen["sequence"] = np.arange(1, len(written) + 1)
        seen["flags"] = CommandFlag.IN_ORDER | CommandFlag.ECHO_MATCHES | CommandFlag.VALID
        seen["count"] = CHANNELS
        seen["valid_for_ns"] = 3 * PERIOD
        for name in ("state_sequence", "mode", "source"):
            seen[name] = written[name]
        seen["values"][:, :CHANNELS] = written["command"]
        return seen

    def trials(self, injections: Sequence[Injection], commands: np.ndarray | None = None) -> Trials:
        """Return it as a run with faults."""
        seen = self.commands() if commands is None else commands
        return Trials(tuple(injections), self.records, seen, BUDGET, PERIOD)
