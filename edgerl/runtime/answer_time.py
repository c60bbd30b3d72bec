"""Whether a policy can answer in the time that its envelope leaves it, by what it measured of itself while warming up.

A policy whose usual inference is too long would be late in every tick: that is known before the robot moves, so it is
never armed. Where twice the usual inference is too long that is said, and refused by the production profile: the
measurement was made back to back, and paced as on a robot, with cold caches, an inference takes at least twice as long.
Where only the longest was too long it is said, too: it was measured at ordinary priority, so it may be the machine's
other business. What a run really takes is learned from its recording (:func:`edgerl.runtime.budgets.learn_budgets`).
"""

from __future__ import annotations

from dataclasses import dataclass

from edgerl.errors import PolicyTooSlow
from edgerl.runtime.policies import InferenceTimes
from edgerl.runtime.quantiles import time_text
from edgerl.runtime.structs import Config

ROOM = 2
"""Back to back 9 to 11 µs, at 1 kHz 46 µs, at 50 Hz 180 µs: that much an inference in ONNX Runtime took where the
project measured it. Slower policies lose less."""


@dataclass(frozen=True)
class AnswerTime:
    """What an envelope leaves a policy for one answer, in [ns]."""

    period_ns: int
    """Base tick."""
    delay: int
    """Base ticks from an observation to the tick in which its action takes effect; 0: within the same one."""
    divider: int
    """Base ticks from one observation to the next."""
    budget_ns: int

    @property
    def allowed_ns(self) -> int:
        """How long the policy has."""
        return self.delay * self.period_ns if self.delay else self.budget_ns

    def describe(self) -> str:
        """Return the same as a phrase, with its cause."""
        if self.delay:
            ticks = f"{self.delay} base ticks" if self.delay > 1 else "one base tick"
            return f"the envelope leaves it {time_text(self.allowed_ns)} (an action_delay of {ticks})"
        return f"the envelope leaves it {time_text(self.allowed_ns)} (budget_s)"


def answer_time_of(config: Config) -> AnswerTime:
    """Return what a guardian's configuration leaves its policy."""
    return AnswerTime(config.period_ns, config.action_delay, config.policy_divider, config.budget_ns)


def judge_speed(times: InferenceTimes, allowed: AnswerTime, *, production: bool = False) -> str:
    """Return a warning where a policy may be late now and then; empty where nothing says so.

    Args:
        times: What it measured of itself.
        allowed: What it has.
        production: Refuse a policy that has less than :data:`ROOM` times its usual inference.

    Raises:
        PolicyTooSlow: It would be late most of the time, or in production more often than can be answered for.
    """
    has_ns = allowed.allowed_ns
    took = (
        f"one inference took {time_text(times.median_ns)} on this machine (the median of {times.n:,} while it "
        f"warmed up; the longest took {time_text(times.worst_ns)})"
    )
    if times.median_ns > has_ns:
        raise PolicyTooSlow(took, allowed.describe(), _remedy(times.median_ns, allowed))
    if ROOM * times.median_ns > has_ns and production:
        leaves = f"{allowed.describe()}, which is less than the {ROOM} times as much that production asks for"
        raise PolicyTooSlow(took, leaves, _remedy(times.median_ns, allowed))
    if ROOM * times.median_ns > has_ns or times.worst_ns > has_ns:
        return f"The policy may be late now and then: {took}, and {allowed.describe()}."
    return ""


def _remedy(took_ns: int, allowed: AnswerTime) -> str:
    ticks = -(-ROOM * took_ns // allowed.period_ns)
    more = []
    if not allowed.delay and took_ns < allowed.period_ns:
        more.append(f"raise budget_s, below the control period of {time_text(allowed.period_ns)}")
    divider = max(ticks, allowed.divider)
    spec = f"policy_divider = {divider} in its spec and " if divider > allowed.divider else ""
    more.append(
        f"let its actions take effect later: {spec}action_delay = {ticks} in the envelope leave it "
        f"{time_text(ticks * allowed.period_ns)}; use what it was trained with"
    )
    return f"Run it on a faster target or make it smaller (quantize it); or {', or '.join(more)}."
