"""The driver process: a robot driver of yours behind shared memory, at the pace of the loop or of its robot.

``edgerl run --robot pkg:module:Class`` starts one, connected to it. The class is imported because its user named it on
a command line; nothing from a bundle or a datagram is ever imported. An exception in it makes the robot lapse, ends the
process with one line on stderr, and is a fault to the guardian. What a driver prints goes to stderr, too: stdout has
one line of JSON for each session (:class:`~edgerl.runtime.driver_lines.SessionEnd`).
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgerl import canonical
from edgerl.errors import EdgerlError
from edgerl.runtime.driver_session import greet
from edgerl.runtime.interrupts import catch_interrupts
from edgerl.runtime.robot_port import load_robot

HELLO_S = 30.0
"""Who started this process says HELLO at once."""
FAILED = 1


@dataclass(frozen=True)
class Arguments:
    """What the command line says."""

    robot: str
    """``module:Class``."""
    socket: int
    """Descriptor of a socket that is connected to a controller."""
    priority: int
    """SCHED_FIFO priority that it tries to get; 0 for none."""


def serve(arguments: Arguments, say: Callable[[str], None]) -> None:
    """Drive the robot until the controller has gone, or this process is told to end.

    Raises:
        DriverError: There is no such driver.
        Exception: Whatever the driver raises.
    """
    with catch_interrupts() as interrupts, socket.socket(fileno=arguments.socket) as connection:
        robot = load_robot(arguments.robot)

        def stop() -> bool:
            return interrupts.count > 0

        session = greet(connection, robot, timeout_s=HELLO_S, stop=stop)
        if session is not None:
            say(canonical.dumps(session.live(priority=arguments.priority, stop=stop)))


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
    parser.add_argument("--socket", type=int, required=True, help="descriptor of a connected socket")
    parser.add_argument("--priority", type=int, default=0, help="SCHED_FIFO priority to try for")
    return Arguments(**vars(parser.parse_args(arguments)))


if __name__ == "__main__":
    sys.exit(main())
