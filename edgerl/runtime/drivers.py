"""The driver process of a run, seen from its supervisor: started or found, watched, and let go.

One that was started is not killed with its supervisor: while the guardian lives, the robot needs its driver to be made
safe. It ends when its socket does and no command comes any more.
"""

from __future__ import annotations

import os
import socket
from types import TracebackType

from edgerl import canonical
from edgerl.errors import DriverError, PortError
from edgerl.runtime.control.places import dial, folders
from edgerl.runtime.driver_door import DRIVER_SUFFIX
from edgerl.runtime.driver_lines import SessionEnd
from edgerl.runtime.enums import MAX_DATAGRAM
from edgerl.runtime.plant_lines import EpisodeResult
from edgerl.runtime.processes import Child, environment, python
from edgerl.runtime.unix_port import peer_uid
from edgerl.runtime.wire import Kind

MAX_LINE_BYTES = 65536
_BYE = Kind.BYE.to_bytes(2, "little")
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


class AttachedDriver:
    """A driver process that somebody else started.

    Args:
        name: Under which it waits, or the path of its socket.

    Attributes:
        connection: Our end of the socket, for the handshake; then the session's.

    Raises:
        PortError: None waits there, or it is another user's.
    """

    def __init__(self, name: str) -> None:
        self.name = f"The driver shm:{name}"
        self.episodes: list[EpisodeResult] = []
        self.connection = _dial(name)
        self._gone = ""

    @property
    def fds(self) -> tuple[int, ...]:
        """Descriptors that become readable when it goes."""
        return () if self._gone or self.connection.fileno() < 0 else (self.connection.fileno(),)

    @property
    def alive(self) -> bool:
        """Whether it is there."""
        return not self._gone

    def listen(self) -> None:
        """Hear whether it goes; never waits."""
        if not self.fds:
            return
        try:
            data = self.connection.recv(MAX_DATAGRAM + 1, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._gone = "closed its connection; see what it printed"
        elif data[6:8] == _BYE:
            self._gone = "said BYE; see what it printed"

    def finish(self, *, patience_s: float) -> None:
        """It stays."""

    def obituary(self) -> str:
        """Return how it went."""
        return self._gone


def _dial(name: str) -> socket.socket:
    paths = [name] if "/" in name else [f"{folder}/{name}{DRIVER_SUFFIX}" for folder in folders()]
    for path in paths:
        try:
            connected = dial(path)
        except OSError as error:
            raise PortError(
                f"The driver at {path} takes no controller ({error.strerror or error}). Start it as this user, "
                "or with --group and a group of this user's."
            ) from error
        if connected is None:
            continue
        if "/" not in name and peer_uid(connected) not in (0, os.geteuid()):
            connected.close()
            raise PortError(f"The driver at {path} is another user's. Name it by its path if it is the right one.")
        return connected
    raise PortError(
        f"No driver waits at {', '.join(paths)}. Start one: python -m edgerl.runtime.driver_process --serve {name} "
        "--robot module:Class"
    )
