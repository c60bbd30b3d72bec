"""A robot with its session open, however it is reached; and what the profile says about how that is.

The production profile takes no robot whose drives do not stop by themselves, and none on a network without a key.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgerl.errors import PortError
from edgerl.runtime.drivers import AttachedDriver, DriverProcess
from edgerl.runtime.frame_sources import FrameSources
from edgerl.runtime.port_key import read_key
from edgerl.runtime.robots import (
    DriverRobot,
    GymRobot,
    PlantProcess,
    PlantSettings,
    Robot,
    RobotProcess,
    ShmRobot,
    UdpRobot,
)
from edgerl.runtime.session import Session, Terms, open_session
from edgerl.runtime.shm_session import open_shm_session

UDP_TIMEOUT_S = 5.0
"""How long a robot may take to answer HELLO."""
DRIVER_TIMEOUT_S = 30.0
"""A driver is imported and connects to its robot in this time."""
FRAMES_TIMEOUT_S = 5.0
"""How long a camera's process may take to answer; some look at their socket only once a frame."""

_NO_KEY = (
    "The robot at {} is reached over a network without a key: whoever is on it can drive the robot, or be taken for "
    "it. Make a key (docs/robot-port.md), give it to both sides and name it with --key FILE."
)
_NO_TIMEOUT = (
    "The robot declares no time-out of its drives: if its driver or its computer dies, nothing says that it stops. Set "
    "the drives' own watchdog and declare it (command_timeout_ns)."
)


@dataclass(frozen=True)
class Access:
    """How a robot is reached."""

    key: Path | None = None
    """File with the key that a robot on UDP shares with us."""
    production: bool = False
    priority: int = 0
    """SCHED_FIFO priority that a process of ours with the robot tries to get; 0 for none."""


@dataclass(frozen=True, eq=False)
class Connection:
    """A robot that is ours."""

    session: Session
    process: RobotProcess | None
    """The robot's, where there is one on this machine."""
    same_clock: bool
    """Whether its stamps are of this machine's clock."""
    warnings: tuple[str, ...]
    """What the production profile would have refused, for people."""


def connect(
    robot: Robot,
    terms: Terms,
    access: Access,
    plant: PlantSettings,
    stack: contextlib.ExitStack,
    *,
    frames: FrameSources | None = None,
    meanwhile: Callable[[], None] = lambda: None,
) -> Connection:
    """Take the session of a robot; ``stack`` ends it, and whatever was started for it.

    Args:
        robot: Which one.
        terms: What is offered.
        access: How it is reached.
        plant: How a Gymnasium plant runs.
        stack: Ends it all.
        frames: The policy's images, where it observes some: a plant is asked for them, and all are waited for.
        meanwhile: Called often while the robot starts; what it raises ends the wait.

    Raises:
        PortError: It did not start or answer, refused, or is none that the profile takes.
        FrameError: An image that the policy observes is not given.
        PlatformError: This kernel has no sealed memory.
    """
    if access.key is not None and not isinstance(robot, UdpRobot):
        raise PortError("A key was given for a robot that is not on UDP. Leave it away: nothing leaves this machine.")
    warnings: list[str] = []
    process: RobotProcess | None = None
    session: Session
    if isinstance(robot, GymRobot):
        ends = frames.robots_ends if frames else ()
        started = PlantProcess(robot.env_id, terms.layout, plant, frames=ends, meanwhile=meanwhile)
        process = stack.enter_context(started)
        session = open_session(started.address, terms, timeout_s=UDP_TIMEOUT_S, meanwhile=meanwhile)
    elif isinstance(robot, DriverRobot):
        process = driver = stack.enter_context(DriverProcess(robot.class_name, priority=access.priority))
        session = _ask_driver(driver, terms, meanwhile)
    elif isinstance(robot, ShmRobot):
        process = found = AttachedDriver(robot.name)
        session = open_shm_session(
            found.connection, terms, found.name, timeout_s=DRIVER_TIMEOUT_S, meanwhile=meanwhile
        )  # fmt: skip
    else:
        session = _ask_udp(robot, terms, access, warnings, meanwhile)
    stack.enter_context(session)
    if session.welcome.command_timeout_ns == 0 and (access.production or not isinstance(robot, GymRobot)):
        _object(access, warnings, _NO_TIMEOUT)
    if frames:
        frames.handed_over()
        frames.attach(timeout_s=FRAMES_TIMEOUT_S, meanwhile=meanwhile)
    return Connection(session, process, process is not None, tuple(warnings))


def _ask_driver(driver: DriverProcess, terms: Terms, meanwhile: Callable[[], None]) -> Session:
    def look() -> None:
        meanwhile()
        driver.check()

    try:
        return open_shm_session(driver.connection, terms, driver.name, timeout_s=DRIVER_TIMEOUT_S, meanwhile=look)
    except PortError:
        driver.check_failed()  # a driver that raised closes its socket a moment before it is dead
        raise


def _ask_udp(
    robot: UdpRobot, terms: Terms, access: Access, warnings: list[str], meanwhile: Callable[[], None]
) -> Session:
    key = read_key(access.key) if access.key is not None else None
    if key is None and not _is_loopback(robot.host):
        _object(access, warnings, _NO_KEY.format(f"{robot.host}:{robot.port}"))
    address = robot.host, robot.port
    return open_session(address, terms, key=key, timeout_s=UDP_TIMEOUT_S, meanwhile=meanwhile)


def _object(access: Access, warnings: list[str], what: str) -> None:
    if access.production:
        raise PortError(f"The production profile does not take this robot. {what}")
    warnings.append(what)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(socket.gethostbyname(host)).is_loopback
    except (OSError, ValueError):  # nobody will answer there, and that is said then
        return False
