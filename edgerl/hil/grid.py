"""The plant's time: an absolute grid on a clock that tests can replace."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """A monotonic clock."""

    def now_ns(self) -> int:
        """Return the time."""

    def sleep_until(self, at_ns: int) -> None:
        """Return at ``at_ns`` or a little later, never earlier."""


class MonotonicClock:
    """The machine's."""

    def now_ns(self) -> int:
        """Return ``time.monotonic_ns()``."""
        return time.monotonic_ns()

    def sleep_until(self, at_ns: int) -> None:
        """Sleep in the kernel until then."""
        while (left_ns := at_ns - time.monotonic_ns()) > 0:
            time.sleep(left_ns * 1e-9)


class Grid:
    """Points one period apart; a late caller goes on at the next free one, lost ones are counted, never replayed."""

    def __init__(self, clock: Clock, period_ns: int) -> None:
        self._clock = clock
        self._period_ns = period_ns
        self.at_ns = clock.now_ns()
        """The last point given out."""
        self.missed = 0

    def wait(self) -> int:
        """Sleep to the next point and return it.

        A caller less than one period late gets its point at once, so that its lateness shows; a later one loses points.
        """
        self.at_ns += self._period_ns
        lost = max(0, (self._clock.now_ns() - self.at_ns) // self._period_ns)
        self.missed += lost
        self.at_ns += lost * self._period_ns
        self._clock.sleep_until(self.at_ns)
        return self.at_ns
