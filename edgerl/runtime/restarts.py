"""When a policy that died is started again: bounded, and with longer and longer pauses.

A policy that dies once was unlucky; one that dies again and again is broken, and starting it for ever would only wear
out the machine that the guardian runs on. Pure: time comes from the caller, nothing is started here.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from edgerl.errors import LoopError


@dataclass(frozen=True)
class RestartLimits:
    """How often, and how soon.

    Raises:
        LoopError: A number is out of range.
    """

    count: int = 3
    """Restarts within the window; 0: a policy that died is never started again."""
    window_s: float = 60.0
    delay_s: float = 0.5
    """Pause before the first restart of a window; doubled for each further one."""
    longest_delay_s: float = 10.0

    def __post_init__(self) -> None:
        if not (0 <= self.count <= 1000 and 0.0 < self.window_s < 1e6 and 0.0 <= self.delay_s <= self.longest_delay_s):
            raise LoopError(
                f"A policy cannot be started again {self.count} times in {self.window_s:g} s after {self.delay_s:g} to "
                f"{self.longest_delay_s:g} s. Valid: 0 to 1000 times, a window above 0, and a delay of at most the "
                "longest one."
            )


class Restarts:
    """The deaths of one run's policies, and when the next start is due."""

    def __init__(self, limits: RestartLimits) -> None:
        self._limits = limits
        self._deaths: deque[float] = deque()
        self._due_s: float | None = None
        self.total = 0
        """Starts after a death, in the whole run."""

    @property
    def given_up(self) -> bool:
        """Whether there were more deaths within the window than restarts are allowed."""
        return len(self._deaths) > self._limits.count

    @property
    def waiting(self) -> bool:
        """Whether a restart is to come."""
        return self._due_s is not None

    def died(self, now_s: float) -> None:
        """Note a death."""
        if self.given_up:
            return
        while self._deaths and now_s - self._deaths[0] > self._limits.window_s:
            self._deaths.popleft()
        self._deaths.append(now_s)
        pause_s = min(self._limits.delay_s * 2.0 ** (len(self._deaths) - 1), self._limits.longest_delay_s)
        self._due_s = None if self.given_up else now_s + pause_s

    def due(self, now_s: float) -> bool:
        """Return whether it is time to start again; true once for each death that is followed by a start."""
        if self._due_s is None or now_s < self._due_s:
            return False
        self._due_s = None
        self.total += 1
        return True

    def forgive(self) -> None:
        """Begin anew, because another policy acts now."""
        self._deaths.clear()
        self._due_s = None

    def describe(self) -> str:
        """Return why no start follows any more."""
        if self._limits.count == 0:
            return "it is not started again"
        return f"it died {len(self._deaths)} times within {self._limits.window_s:g} s and is not started again"
