"""The driver process: a robot driver of yours behind shared memory, at the pace of the loop or of its robot.

``edgerl run --robot pkg:module:Class`` starts one, connected to it. One that stays, for controllers that come and go,
is started with ``python -m edgerl.runtime.driver_process --serve NAME --robot module:Class``; they say ``shm:NAME``.

The class is imported because its user named it on a command line; nothing from a bundle or a datagram is ever imported.
An exception in it makes the robot lapse, ends the process with one line on stderr, and is a fault to the guardian. What
a driver prints goes to stderr, too: stdout has one line of JSON for each session
(:class:`~edgerl.runtime.driver_lines.SessionEnd`).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgerl import canonical
from edgerl.errors import EdgerlError
from edgerl.runtime.driver_door import DriverDoor
from edgerl.runtime.driver_session import greet
from edgerl.runtime.interrupts import catch_interrupts
from edgerl.runtime.robot_port import load_robot

HELLO_S = 30.0
"""Who started this process says HELLO at once."""
SERVED_HELLO_S = 2.0
"""Nobody holds the place of a controller longer than this without asking for anything."""
FAILED = 1


@dataclass(frozen=True)
class Arguments:
    """What the command line says."""

    robot: str
    """``module:Class``."""
    socket: int | None
    """Descriptor of a socket that is connected to a controller; None: serve those that come."""
    serve: str | None
    """Name under which controllers find it."""
    group: str | None
    """Group whose members may use it, too."""
    priority: int
    """SCHED_FIFO priority that it tries to get; 0 for none."""


def serve(arguments: Arguments, say: Callable[[str], None]) -> None:
    """Drive the robot until its controller has gone, or, where it stays, until this process is told to end.

    Raises:
        DriverError: There is no such driver.
        PortError: Controllers cannot come to it.
        Exception: Whatever the driver raises.
    """
    with catch_interrupts() as interrupts, contextlib.ExitStack() as stack:
        robot = load_robot(arguments.robot)

        def stop() -> bool:
            return interrupts.count > 0

        def live(connection: socket.socket, timeout_s: float, meanwhile: Callable[[], None]) -> None:
            with connection:
                session = greet(connection, robot, timeout_s=timeout_s, stop=stop)
                if session is not None:
                    end = session.live(priority=arguments.priority, stop=stop, meanwhile=meanwhile)
                    say(canonical.dumps(end))

        if arguments.socket is not None:
            live(socket.socket(fileno=arguments.socket), HELLO_S, lambda: None)
            return
        door = stack.enter_context(DriverDoor(str(arguments.serve), arguments.group))
        print(f"{arguments.robot} waits at {door.path}", file=sys.stderr, flush=True)  # noqa: T201
        while not stop():
            connection = door.wait()
            if connection is not None:
                live(connection, SERVED_HELLO_S, door.refuse_others)


def main(arguments: list[str] | None = None) -> int:
    """Drive a robot; returns the exit status."""
    given = _arguments(arguments)
    lines = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    try:
        serve(given, lambda line: print(line, file=lines))
    except EdgerlError as error:
        return _fail(str(error))
    except Exception as error:  # noqa: BLE001  whatever a driver raises, the reason must reach a person
        return _fail(_describe(given.robot, error))
    return 0


def _describe(robot: str, error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno}, in {frames[-1].name})" if frames else ""
    return f"The driver {robot} raised {type(error).__name__}: {error}{where}"


def _fail(reason: str) -> int:
    print(" ".join(reason.split()), file=sys.stderr, flush=True)  # noqa: T201  its only channel for words
    return FAILED


def _arguments(arguments: list[str] | None) -> Arguments:
    parser = argparse.ArgumentParser(prog="python -m edgerl.runtime.driver_process", description=__doc__)
    parser.add_argument("--robot", required=True, help="the driver's class, module:Class")
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--socket", type=int, help="descriptor of a connected socket, from whoever starts this process")
    how.add_argument("--serve", metavar="NAME", help="wait for controllers: edgerl run BUNDLE --robot shm:NAME")
    parser.add_argument("--group", help="with --serve: group whose members may use the driver, too")
    parser.add_argument("--priority", type=int, default=0, help="SCHED_FIFO priority to try for")
    return Arguments(**vars(parser.parse_args(arguments)))


if __name__ == "__main__":
    sys.exit(main())
