"""Where a driver that stays waits for controllers: a Unix socket with a name, and one controller at a time.

Its folder and its rights are those of a run's control socket: only its user, root, and who is in the group that was
named can connect. Others that come while there is a controller are told so; that is looked after ten times a second, so
that they cannot keep the driver from its robot.
"""

from __future__ import annotations

import select
import socket
import time
from types import TracebackType

from edgerl.errors import ControlError, PortError
from edgerl.runtime.control.listener import ControlOptions, Listener
from edgerl.runtime.driver_session import refuse_busy

DRIVER_SUFFIX = ".driver"
LOOK_NS = 100_000_000
_WAIT_S = 0.2


class DriverDoor:
    """A listening socket.

    Args:
        name: What follows ``shm:``, or a path.
        group: Group whose members may connect, too.

    Raises:
        PortError: Somebody has the name, or there is no place for the socket.
    """

    def __init__(self, name: str, group: str | None = None) -> None:
        path = name if "/" in name else None
        options = ControlOptions(name=name, exact=True, path=path, group=group)
        remedy = "End that driver, or give this one another name."
        try:
            self._listener = Listener(options, suffix=DRIVER_SUFFIX, remedy=remedy)
        except ControlError as error:
            raise PortError(f"No driver can wait as shm:{name}: {error}") from error
        self.path = self._listener.path
        self._looked_ns = 0
        self._other: socket.socket | None = None

    def wait(self) -> socket.socket | None:
        """Return the next controller's connection; None where none came for a moment."""
        if self._other is not None:  # it came while there was another, and that one has gone meanwhile
            connection, self._other = self._other, None
            return connection
        return self._accept() if select.select([self._listener.socket], [], [], _WAIT_S)[0] else None

    def refuse_others(self) -> None:
        """Tell a controller that came in the meantime that there is one; never waits."""
        now_ns = time.monotonic_ns()
        if now_ns - self._looked_ns < LOOK_NS:
            return
        self._looked_ns = now_ns
        if self._other is None:
            self._other = self._accept()  # its HELLO is there when this looks again
            return
        with self._other as connection:
            self._other = None
            refuse_busy(connection)

    def close(self) -> None:
        """Stop waiting."""
        if self._other is not None:
            self._other.close()
        self._listener.close()

    def _accept(self) -> socket.socket | None:
        try:
            connection, _ = self._listener.socket.accept()
        except OSError:  # nobody is there, or is there no more
            return None
        return connection

    def __enter__(self) -> DriverDoor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
