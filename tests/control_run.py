"""What the run of the control socket's tests says of itself, and where its guardian would be."""

from __future__ import annotations

import os
import time

from edgerl.runtime.control.messages import (
    LoopStatus,
    OperatorStatus,
    OperatorValueStatus,
    RunStatus,
)

OPERATOR = OperatorStatus((OperatorValueStatus("speed", "m/s", -1.0, 1.0, 0.0),), 0.5, dead_man=True)
ABOUT = RunStatus("", os.getpid(), "udp:robot:1", "ab" * 32, "run.mcap", 1, OPERATOR, None, 0, LoopStatus(0))


class Wires:
    """Where a guardian would be."""

    def __init__(self) -> None:
        self.stops: list[float] = []
        self.said: list[tuple[tuple[float, ...], bool, int]] = []

    def estop(self) -> None:
        self.stops.append(time.monotonic())

    def operate(self, values: tuple[float, ...], *, dead_man: bool, at_ns: int) -> None:
        self.said.append((values, dead_man, at_ns))
