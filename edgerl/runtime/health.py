"""Says to those who would act on silence that all is well: systemd's watchdog and the machine's. Only while it is.

Well means: the guardian lives, and what it says of itself is fresh. Whether the robot is being driven, waits, or was
stopped by a fault is another matter; that is in the words that go with it.
"""

from __future__ import annotations

import time
from types import TracebackType

from edgerl.errors import EdgerlError, GuardianError
from edgerl.runtime.control.messages import Stage
from edgerl.runtime.enums import Phase
from edgerl.runtime.notify import Notifier
from edgerl.runtime.structs import Status
from edgerl.runtime.watchdog import Watchdog

LEAST_FRESH_NS = 500_000_000
_WORKING = ("waiting", "arming", "running", "stopped")


def fresh_ns(period_ns: int, state_timeout_ns: int) -> int:
    """Return how old the guardian's status may be: it tells after every tick, and a tick may wait for a state."""
    return max(LEAST_FRESH_NS, 10 * period_ns, 3 * state_timeout_ns)


class Health:
    """What the watchdogs of one run are told.

    Args:
        notifier: The line to systemd.
        watchdog: The machine's, open; None: it has none, or is not to be used.
        fresh_ns: How old the guardian's status may be.
    """

    def __init__(self, notifier: Notifier, watchdog: Watchdog | None, fresh_ns: int) -> None:
        self._notifier = notifier
        self._watchdog = watchdog
        self._fresh_ns = fresh_ns
        self.orderly = False
        """Whether the run has ended with a guardian that worked; otherwise the machine's watchdog outlives it, except
        where an error was said to the user."""

    def tell(self, stage: Stage, status: Status, text: str) -> None:
        """Say how the run stands; called after every look at the guardian, which is alive then."""
        now_ns = time.monotonic_ns()
        if stage in _WORKING:
            self._notifier.ready()
        elif stage == "stopping":
            self._notifier.stopping()
        self._notifier.say(text, now_ns)
        if self.is_well(status, now_ns):
            self._notifier.stroke(now_ns)
            if self._watchdog is not None:
                self._watchdog.stroke(now_ns)

    def is_well(self, status: Status, now_ns: int) -> bool:
        """Return whether the guardian works and has said so lately."""
        return status.phase in (Phase.READY, Phase.RUNNING) and now_ns - status.time_ns < self._fresh_ns

    def __enter__(self) -> Health:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._notifier.stopping()
        self._notifier.close()
        if self._watchdog is not None:
            said = isinstance(error, (EdgerlError, KeyboardInterrupt)) and not isinstance(error, GuardianError)
            self._watchdog.close(orderly=self.orderly or said)
