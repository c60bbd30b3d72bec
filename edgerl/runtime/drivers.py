"""The driver process of a run, seen from its supervisor: started, connected, watched, and let go.

It is not killed with its supervisor: while the guardian lives, the robot needs its driver to be made safe. It ends when
its socket does and no command comes any more.
"""

from __future__ import annotations

import os
import socket
from types import TracebackType

from edgerl import canonical
from edgerl.errors import DriverError, PortError
from edgerl.runtime.driver_lines import SessionEnd
from edgerl.runtime.plant_lines import EpisodeResult
from edgerl.runtime.processes import Child, environment, python

MAX_LINE_BYTES = 65536
_LAST_WORDS_S = 1.0


class DriverProcess:
    """A started driver process.

    Args:
        class_name: ``module:Class``, imported by the process from the present folder.
        priority: SCHED_FIFO priority that it tries to get; 0 for none.

    Attributes:
        connection: Our end of the socket, for the handshake.
        end: Its own account of the session, once it has ended in order.
    """

    def __init__(self, class_name: str, *, priority: int = 0) -> None:
        self.name = f"The driver {class_name}"
        self.episodes: list[EpisodeResult] = []
        self.end: SessionEnd | None = None
        self._said = b""
        self.connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            arguments = ["--robot", class_name, "--socket", str(theirs.fileno()), "--priority", str(priority)]
            try:
                self._child = Child(
                    "driver", python("edgerl.runtime.driver_process", arguments),
                    fds=(theirs.fileno(),), environment=environment(), output=True,
                )  # fmt: skip
            except BaseException:
                self.connection.close()
                raise
        os.set_blocking(self._child.stdout.fileno(), False)

    @property
    def fds(self) -> tuple[int, ...]:
        """Descriptors that become readable when it has something to say."""
        return (self._child.pidfd,) if self._child.alive else ()

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._child.alive

    def check(self) -> None:
        """Say that it died, where it did before the session was open.

        Raises:
            DriverError: It did.
        """
        if not self._child.alive:
            raise DriverError(f"{self.name} did not start: it {self._child.obituary()}")

    def check_failed(self) -> None:
        """Say that it ended with an error, where it is about to.

        Raises:
            DriverError: It did.
        """
        if self._child.wait(_LAST_WORDS_S) and self._child.failed:
            self.check()

    def listen(self) -> None:
        """Take what it has said since the last call; never waits.

        Raises:
            PortError: It said something that no driver process says.
        """
        while len(self._said) <= MAX_LINE_BYTES:
            try:
                chunk = os.read(self._child.stdout.fileno(), 4096)
            except BlockingIOError:
                break
            if not chunk:
                break
            self._said += chunk
        if b"\n" in self._said:
            line, _, self._said = self._said.partition(b"\n")
            self.end = canonical.loads(SessionEnd, line, f"{self.name}'s account")
        elif len(self._said) > MAX_LINE_BYTES:
            raise PortError(
                f"{self.name} printed a line of more than {MAX_LINE_BYTES:,} bytes; no driver process does."
            )

    def finish(self, *, patience_s: float) -> None:
        """Let it close its robot and say its last line after the session has ended."""
        self._child.end(patience_s=patience_s)
        self.listen()

    def obituary(self) -> str:
        """Return how the process ended, and its last words on stderr."""
        return self._child.obituary()

    def close(self) -> None:
        """End the process: it gets a moment to make its robot safe."""
        self.connection.close()
        self._child.end(patience_s=0.0)
        self._child.close()

    def __enter__(self) -> DriverProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
