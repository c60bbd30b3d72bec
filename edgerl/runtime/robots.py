"""Robots by name: what ``--robot`` says, and the plant process behind ``gym:``.

``gym:ENV_ID`` starts the Gymnasium plant in a process of its own, ``pkg:module:Class`` a driver of yours;
``udp:HOST:PORT`` and ``shm:NAME`` are robots that are already there. All speak the robot port. This module opens no
session: that is :mod:`edgerl.runtime.connect`.
"""

from __future__ import annotations

import math
import os
import re
import select
import socket
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, TypeAlias

from edgerl import canonical
from edgerl.errors import PortError
from edgerl.runtime.layout import Layout
from edgerl.runtime.plant_lines import EpisodeResult, Listening, PlantEnd, PlantLine, read_line
from edgerl.runtime.processes import Child, environment, python

SUPPORTED = (
    "gym:ENV_ID (a Gymnasium environment as the robot), pkg:module:Class (a driver of yours, started here), shm:NAME "
    "(one that waits) and udp:HOST:PORT"
)
_CLASS = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
MAX_LINE_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class GymRobot:
    """A Gymnasium environment in a process of its own."""

    env_id: str


@dataclass(frozen=True)
class UdpRobot:
    """A robot that listens."""

    host: str
    port: int


@dataclass(frozen=True)
class DriverRobot:
    """A driver class in a process of its own."""

    class_name: str
    """``module:Class``."""


@dataclass(frozen=True)
class ShmRobot:
    """A driver process that somebody else started."""

    name: str
    """Under which it waits, or the path of its socket."""


Robot: TypeAlias = GymRobot | UdpRobot | DriverRobot | ShmRobot


class RobotProcess(Protocol):
    """What a run knows of the process behind its robot."""

    episodes: list[EpisodeResult]

    @property
    def fds(self) -> tuple[int, ...]:
        """Descriptors that become readable when it has something to say."""
        ...

    @property
    def alive(self) -> bool:
        """Whether it is there."""
        ...

    def listen(self) -> None:
        """Take what it has said since the last call; never waits."""
        ...

    def finish(self, *, patience_s: float) -> None:
        """Let it say its last lines after the session has ended."""
        ...

    def obituary(self) -> str:
        """Return how it ended."""
        ...


def parse_robot(text: str) -> Robot:
    """Return the robot that a ``--robot`` text names.

    Raises:
        PortError: It names none of this version.
    """
    kind, _, rest = text.partition(":")
    if kind == "gym" and rest:
        return GymRobot(rest)
    if kind == "udp":
        host, _, port = rest.rpartition(":")
        if host and port.isdecimal() and 0 < int(port) < 65536:
            return UdpRobot(host, int(port))
    if kind == "pkg" and _CLASS.fullmatch(rest):
        return DriverRobot(rest)
    if kind == "shm" and rest:
        return ShmRobot(rest)
    raise PortError(f"--robot {text}: not a robot. Supported: {SUPPORTED}, such as gym:HalfCheetah-v5.")


@dataclass(frozen=True)
class PlantSettings:
    """How a plant runs."""

    seed: int = 0
    episodes: int = 1
    realtime_s: float = math.inf
    budget_fraction: float = 0.9
    priority: int = 0
    """SCHED_FIFO priority that it tries to get in real time; 0 for none."""


class PlantProcess:
    """A running Gymnasium plant and what it has said so far.

    Args:
        env_id: Gymnasium's id, or ``module:id``.
        layout: Names and units of the channels.
        settings: How it runs.
        frames: Sockets over which its images are asked for.
        timeout_s: How long it may take until it listens.
        meanwhile: Called often until then; what it raises ends the wait, and the process.

    Raises:
        PortError: It did not start.
    """

    def __init__(
        self,
        env_id: str,
        layout: Layout,
        settings: PlantSettings,
        *,
        frames: Sequence[socket.socket] = (),
        timeout_s: float = 60.0,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> None:
        self.episodes: list[EpisodeResult] = []
        self.end: PlantEnd | None = None
        self._rest = b""
        self._listening: Listening | None = None
        with tempfile.TemporaryDirectory(prefix="edgerl-") as folder:
            path = Path(folder) / "layout.json"
            path.write_text(canonical.dumps(layout))
            sockets = [one.fileno() for one in frames]
            command = _arguments(env_id, path, settings, sockets)
            self._child = Child("plant", command, fds=sockets, environment=environment(), output=True)
            os.set_blocking(self._child.stdout.fileno(), False)
            try:
                self.address = self._wait_until_it_listens(env_id, timeout_s, meanwhile)
            except BaseException:
                self.close()
                raise

    @property
    def fds(self) -> tuple[int, ...]:
        """Descriptors that become readable when it has something to say."""
        return (self._child.stdout.fileno(), self._child.pidfd) if self._child.alive else ()

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._child.alive

    def listen(self) -> None:
        """Take what it has said since the last call; never waits.

        Raises:
            PortError: It said something that no plant says.
        """
        while True:
            try:
                chunk = os.read(self._child.stdout.fileno(), 1 << 16)
            except BlockingIOError:
                return
            if not chunk:
                return
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            if len(self._rest) > MAX_LINE_BYTES:
                raise PortError(f"The plant printed a line of more than {MAX_LINE_BYTES:,} bytes; no plant does.")
            self._take(read_line(line.decode(errors="replace")) for line in lines)

    def finish(self, *, patience_s: float) -> None:
        """Let it say its last lines after the session has ended."""
        self._child.wait(patience_s)
        self.listen()

    def obituary(self) -> str:
        """Return how the process ended, and its last words on stderr."""
        return self._child.obituary()

    def close(self) -> None:
        """End the process."""
        self._child.close()

    def __enter__(self) -> PlantProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _take(self, lines: Iterable[PlantLine]) -> None:
        for line in lines:
            if isinstance(line, Listening):
                self._listening = line
            elif isinstance(line, EpisodeResult):
                self.episodes.append(line)
            else:
                self.end = line

    def _wait_until_it_listens(self, env_id: str, timeout_s: float, meanwhile: Callable[[], None]) -> tuple[str, int]:
        until = time.monotonic() + timeout_s
        while True:
            meanwhile()
            alive = self._child.alive
            self.listen()
            if self._listening is not None:
                break
            if not alive:
                raise PortError(f"The plant for gym:{env_id} did not start: it {self._child.obituary()}")
            left_s = until - time.monotonic()
            if left_s <= 0:
                raise PortError(f"The plant for gym:{env_id} did not listen within {timeout_s:g} s.")
            select.select([self._child.pidfd], [], [], min(left_s, 0.01))
        return self._listening.host, self._listening.port


def _arguments(env_id: str, layout: Path, settings: PlantSettings, sockets: Iterable[int]) -> list[str]:
    given = {
        "--env": env_id,
        "--layout": str(layout),
        "--seed": str(settings.seed),
        "--episodes": str(settings.episodes),
        "--realtime-seconds": repr(settings.realtime_s),
        "--budget-fraction": repr(settings.budget_fraction),
        "--priority": str(settings.priority),
        "--parent": str(os.getpid()),
    }
    pairs = [*given.items(), *(("--frame-socket", str(number)) for number in sockets)]
    return python("edgerl.hil.plant", [item for pair in pairs for item in pair])
