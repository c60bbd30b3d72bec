"""Where a policy's images come from: the controller's side of the frame port.

For each frame that the policy observes there is one mailbox, made here, and one process that writes it, asked here over
a Unix socket. When that process ends, its connection does; it is then looked for again, and a new one goes on in the
same mailbox with the next epoch. Until then the policy has no image that is young enough, and does not answer.
"""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Callable, Mapping, Sequence

from edgerl.errors import FrameError
from edgerl.runtime.frame_mailbox import FrameMemory
from edgerl.runtime.frame_packets import (
    MAX_PACKET,
    BadPacket,
    FrameHello,
    FrameRefused,
    FrameWelcome,
    decode,
    encode,
)
from edgerl.runtime.layout import FrameChannel
from edgerl.runtime.unix_port import send_with

RETRY_S = 0.5
"""A process that has gone is looked for this often."""
_LOOK_S = 0.05
_KIND = "shm:"


def parse_frame_sources(texts: Sequence[str]) -> dict[str, str]:
    """Return the socket of each frame, from texts such as ``observation.image=shm:/run/robot/camera.sock``.

    Raises:
        FrameError: One is of another form, or a frame is named twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, _, address = text.partition("=")
        if not name or not address.startswith(_KIND) or address == _KIND:
            raise FrameError(
                f"--frames {text}: no source of images. Expected NAME=shm:PATH with an input of the policy and the "
                "socket of a camera's process, such as observation.image=shm:/run/robot/camera.sock."
            )
        if name in found:
            raise FrameError(f"--frames names {name} twice. Give each image one source.")
        found[name] = address.removeprefix(_KIND)
    return found


class FrameSource:
    """One frame: its mailbox and whoever writes it.

    Args:
        memory: Its mailbox.
        path: Socket of the camera's process; empty where the connection is given.
        connection: To the robot's own process, which is not looked for again.
    """

    def __init__(self, memory: FrameMemory, path: str, connection: socket.socket | None = None) -> None:
        self._memory = memory
        self._path = path
        self._given = connection
        self._connection: socket.socket | None = None
        self._epoch = 0
        self._tried = 0.0
        self.attached = False
        """Whether a process has promised frames, and is there."""
        self.refused = False
        """Whether it said that it has none, or others."""
        self.trouble = f"nobody gives {memory.channel.name} yet"
        """Why not, where none is."""

    @property
    def name(self) -> str:
        """The policy's input."""
        return self._memory.channel.name

    @property
    def fileno(self) -> int | None:
        """Descriptor that becomes readable when the process answers or goes."""
        return None if self._connection is None else self._connection.fileno()

    def attend(self) -> None:
        """Take its answer, notice its end, look for it again when it is time; never waits."""
        if self._connection is None:
            now = time.monotonic()
            if now - self._tried >= RETRY_S:
                self._tried = now
                self._ask()
        if self._connection is not None:
            self._hear(self._connection)

    def close(self) -> None:
        """Tell the process that nobody reads its frames any more."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self.attached = False

    def _ask(self) -> None:
        connection, self._given = self._given or self._dial(), None
        if connection is None:
            return
        connection.setblocking(False)  # noqa: FBT003
        self._epoch += 1
        self._memory.admit(self._epoch)
        hello = encode(FrameHello(self._epoch, self._memory.channel))
        try:
            send_with(connection, hello, [self._memory.fd])
        except OSError as error:
            self.trouble = f"{self._who} went away ({error.strerror})"
            connection.close()
            return
        self.trouble = f"{self._who} has not answered"
        self._connection = connection

    @property
    def _who(self) -> str:
        return f"the process at {self._path}" if self._path else "the robot's process"

    def _dial(self) -> socket.socket | None:
        if not self._path:
            return None
        dialled = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        dialled.setblocking(False)  # noqa: FBT003
        try:
            dialled.connect(self._path)
        except OSError as error:
            self.trouble = f"nobody listens at {self._path} ({error.strerror or error})"
            dialled.close()
            return None
        return dialled

    def _hear(self, connection: socket.socket) -> None:
        try:
            data = connection.recv(MAX_PACKET)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        try:
            packet = decode(data) if data else None
        except BadPacket as error:
            self._drop(f"{self._who} answered with what is no packet ({error})")
            return
        if packet is None:
            self._drop(f"{self._who} has ended")
        elif isinstance(packet, FrameWelcome) and packet.epoch == self._epoch:
            self.attached, self.refused = True, False
        elif isinstance(packet, FrameRefused):
            self.refused = True
            self._drop(f"{self._who} refused: {packet.reason}")
        else:
            self._drop(f"{self._who} answered with {packet}")

    def _drop(self, trouble: str) -> None:
        self.trouble = trouble
        self.close()


class FrameSources:
    """All frames of a policy.

    Args:
        stack: Ends it: connections and descriptors.
        channels: What the policy observes.
        paths: Socket of the process that gives each frame, by name.
        max_age_ns: Of a frame that the policy may act on.
        from_robot: Whether the robot's own process gives those that no path is named for, over ``robots_ends``.

    Attributes:
        max_age_ns: As given.
        robots_ends: Sockets for the robot's process; closed here by :meth:`handed_over`.

    Raises:
        FrameError: A frame has no source, or a source no frame.
        PlatformError: This kernel has no sealed memory.
    """

    def __init__(
        self,
        stack: contextlib.ExitStack,
        channels: Sequence[FrameChannel],
        paths: Mapping[str, str],
        *,
        max_age_ns: int,
        from_robot: bool = False,
    ) -> None:
        _check_names([channel.name for channel in channels], paths, from_robot=from_robot)
        self.max_age_ns = max_age_ns
        self.robots_ends: list[socket.socket] = []
        self._memories = [FrameMemory(stack, channel) for channel in channels]
        self.sources = tuple(self._source(memory, paths.get(memory.channel.name)) for memory in self._memories)
        for source in self.sources:
            stack.callback(source.close)
        stack.callback(self.handed_over)
        self.attend()

    def _source(self, memory: FrameMemory, path: str | None) -> FrameSource:
        if path is not None:
            return FrameSource(memory, path)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.robots_ends.append(theirs)
        return FrameSource(memory, "", ours)

    def handed_over(self) -> None:
        """Close our copies of the robot's ends, so that its death shows."""
        while self.robots_ends:
            self.robots_ends.pop().close()

    @property
    def fds(self) -> tuple[int, ...]:
        """Descriptors for the policy process, in the order of its frames; they can only be read."""
        return tuple(memory.read_only for memory in self._memories)

    @property
    def watched(self) -> tuple[int, ...]:
        """Descriptors that become readable when a source answers or goes."""
        return tuple(source.fileno for source in self.sources if source.fileno is not None)

    @property
    def trouble(self) -> str:
        """Which frames nobody gives, and why, as one phrase; empty where all are given."""
        return "; ".join(f"{source.name}: {source.trouble}" for source in self.sources if not source.attached)

    def attend(self) -> None:
        """Take answers, notice ends, look again; never waits."""
        for source in self.sources:
            source.attend()

    def attach(self, *, timeout_s: float, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Wait until every frame has a process that gives it.

        Args:
            timeout_s: How long they may take.
            meanwhile: Called about every 50 ms; what it raises ends the wait.

        Raises:
            FrameError: One refused or did not answer in time.
        """
        until = time.monotonic() + timeout_s
        while True:
            self.attend()
            if not self.trouble:
                return
            left_s = until - time.monotonic()
            if left_s <= 0 or any(source.refused for source in self.sources):
                raise FrameError(
                    f"Not every image has a process that gives it: {self.trouble}. Start it, or name another with "
                    "--frames NAME=shm:PATH."
                )
            meanwhile()
            select.select(self.watched, [], [], min(left_s, _LOOK_S))


def _check_names(names: Sequence[str], paths: Mapping[str, str], *, from_robot: bool) -> None:
    for name in paths:
        if name not in names:
            observed = f"It observes {', '.join(names)}" if names else "It observes none"
            raise FrameError(f"--frames {name}: the policy observes no image of this name. {observed}.")
    for name in names:
        if name not in paths and not from_robot:
            raise FrameError(
                f"The policy observes {name}, and nothing says where these images come from. Name the socket of the "
                f"process that gives them: --frames {name}=shm:PATH (docs/frame-port.md)."
            )
