"""The faults of the benchmark: how each is made, which event it must be met with, and which tick it falls into."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgerl.bench.backends import PolicyFault
from edgerl.bench.robot import RobotFault
from edgerl.runtime.enums import Event

How = Literal["robot", "signal", "restart", "supervisor", "driver"]


@dataclass(frozen=True)
class FaultKind:
    """One fault."""

    name: str
    how: How
    """``robot``: asked of the robot, which may hand it on to the policy. ``signal``: sent to the policy process.
    ``restart``: the policy does not survive it, so each trial has a run of its own. ``supervisor`` and
    ``driver``: likewise, and that is what is killed."""
    events: tuple[str, ...]
    """Names of the events that may meet it first."""
    code: int = 0
    """What the robot is asked for."""
    states: int = 1
    """In so many successive states."""
    latches: bool = True
    """Whether the loop leaves ACTIVE over it."""
    recognized_after: int = 0
    """States after the first one that are needed to recognize it."""


FROZEN_TICKS = 5
"""So many states in a row that are all the same are a fault."""
FROZEN = FaultKind(
    "frozen state",
    "robot",
    ("STATE_FROZEN",),
    RobotFault.FROZEN,
    states=3 * FROZEN_TICKS,
    recognized_after=FROZEN_TICKS - 1,
)
LATE = ("ACTION_LATE", "POLICY_FAULT")
KINDS = (
    FaultKind("sleep", "robot", LATE[:1], PolicyFault.SLEEP),
    FaultKind("busy loop", "robot", LATE[:1], PolicyFault.BUSY),
    FaultKind("GIL held", "robot", LATE[:1], PolicyFault.GIL),
    FaultKind("SIGSTOP", "signal", LATE[:1]),
    # An answer that the machine made late is thrown away unread, whatever it holds.
    FaultKind("NaN action", "robot", ("REJECT", "ACTION_LATE"), PolicyFault.NAN, latches=False),
    FaultKind("NaN state", "robot", ("STATE_FAULT",), RobotFault.NAN),
    FROZEN,
    FaultKind("lost datagrams", "robot", ("STATE_LOST",), RobotFault.LOST, latches=False),
    FaultKind("SIGKILL", "restart", LATE),
    FaultKind("SIGSEGV", "restart", LATE, PolicyFault.SEGFAULT),
    FaultKind("driver killed", "driver", ("STATE_LOST",)),
    FaultKind("supervisor killed", "supervisor", (*LATE, "SUPERVISOR_FAULT")),
)


def events_of(kind: FaultKind) -> int:
    """Return the mask of the events that may meet a fault first."""
    return sum(1 << Event[name] for name in kind.events)
