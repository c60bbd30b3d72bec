"""Fallback ladders: what is sent after a fault, rung by rung, and at the end nothing.

One ladder for every class of fault. What a rung sends and how the guardian goes down is in ``docs/safety.md``; this
module says what a ladder is and refuses rungs that make no sense where they stand.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from edgerl.canonical import added

MAX_TIME_NS: Final = 3_600_000_000_000
"""An hour: any longer time in a control loop is a mistake in its unit."""
MAX_RUNGS: Final = 4
"""Rungs that the guardian has memory for."""
HOLD_LIMIT_NS: Final = 100_000_000
"""A velocity or torque that is held keeps moving the robot: longer than this, or than one period, needs a reason."""

Do = Literal["hold", "safe", "damp", "standby", "lapse"]
"""What a rung sends: the command written last, the safe command, no stiffness and only damping, the candidate policy's
command, or nothing."""
FaultClass = Literal["policy", "state", "machine"]
"""Who is to blame: the policy; the state, so that no rung may need one; computer, supervisor or operator."""
CLASSES: Final[tuple[FaultClass, ...]] = ("policy", "state", "machine")
"""In the guardian's order."""


@dataclass(frozen=True)
class Rung:
    """One rung of a ladder."""

    do: Do
    for_ns: int


@dataclass(frozen=True)
class Ladder:
    """What is sent after a fault. A class of faults without rungs of its own holds, then sends the safe command."""

    hold_ns: int
    safe_ns: int
    """After this time at the safe command nothing is sent any more and the robot's own time-out acts."""
    hold_reason: str | None
    """Why holding a command that keeps the robot moving is right here; needed beyond :data:`HOLD_LIMIT_NS`."""
    policy: tuple[Rung, ...] | None = added(None)
    """Rungs after a fault of the policy; None: the two above."""
    state: tuple[Rung, ...] | None = added(None)
    machine: tuple[Rung, ...] | None = added(None)

    def rungs(self, fault: FaultClass) -> tuple[Rung, ...]:
        """Return the rungs of a class of faults, those without a time left out."""
        own = {"policy": self.policy, "state": self.state, "machine": self.machine}[fault]
        both = (Rung("hold", self.hold_ns), Rung("safe", self.safe_ns))
        return tuple(rung for rung in (both if own is None else own) if rung.for_ns > 0)

    def does(self, do: Do) -> bool:
        """Return whether any ladder has such a rung."""
        return any(rung.do == do for fault in CLASSES for rung in self.rungs(fault))

    @property
    def longest_ns(self) -> int:
        """The longest time from a fault to the end of its ladder; a fault of the state may follow another one."""
        policy, state, machine = (sum(rung.for_ns for rung in self.rungs(fault)) for fault in CLASSES)
        return max(policy, machine) + state


def hold_limit_ns(period_ns: int) -> int:
    """Return how long a velocity or torque may be held without a reason: 0.1 s, or one period where that is longer."""
    return max(HOLD_LIMIT_NS, period_ns)


def ladder_problems(ladder: Ladder) -> Iterator[str]:
    """Yield what is wrong with a ladder, whatever the policy."""
    for name, value in (("hold_s", ladder.hold_ns), ("safe_s", ladder.safe_ns)):
        yield from _time_problems(f"ladder.{name}", value)
    for fault in CLASSES:
        own = getattr(ladder, fault)
        if own is None:
            continue
        if not 1 <= len(own) <= MAX_RUNGS:
            yield f"ladder.{fault} has {len(own)} rungs, valid is 1 to {MAX_RUNGS}"
        for index, rung in enumerate(own):
            where = f"ladder.{fault}[{index}]"
            yield from _time_problems(f"{where}.for_s", rung.for_ns)
            if rung.do == "standby" and fault == "state":
                yield f"{where} is standby: another policy needs the state, too, and the state is what is at fault"
            if rung.do == "lapse" and index < len(own) - 1:
                yield f"{where} is lapse, and a rung follows: what was let go is not taken up again without a person"


def hold_mismatches(ladder: Ladder, what: str, period_ns: int) -> Iterator[str]:
    """Yield where a ladder holds a command that keeps the robot moving for too long without a reason.

    Args:
        ladder: Already sound in itself.
        what: The meaning of the command, for people.
        period_ns: Control period in [ns].
    """
    limit = hold_limit_ns(period_ns)
    for fault in CLASSES:
        held = sum(rung.for_ns for rung in ladder.rungs(fault) if rung.do == "hold")
        if held > limit and ladder.hold_reason is None:
            held_by = "ladder.hold_s is" if getattr(ladder, fault) is None else f"ladder.{fault} holds for"
            yield (
                f"{held_by} {held / 1e9:g} s for a command that is {what}; beyond {limit / 1e9:g} s ladder.hold_reason "
                "must say why the robot may go on moving"
            )


def _time_problems(name: str, value: int) -> Iterator[str]:
    if not 0 <= value <= MAX_TIME_NS:
        yield f"{name} is {value / 1e9:g} s, valid is 0 to {MAX_TIME_NS / 1e9:g} s"
