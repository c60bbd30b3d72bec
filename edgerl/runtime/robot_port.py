"""The protocol that a robot's driver in Python implements, and what it is given.

A driver is a class of yours with five methods. It runs in a process of its own
(:mod:`edgerl.runtime.driver_process`): an exception, a crash or a hang there reaches the guardian as a state that does
not come, never as code in its way. ``examples/legged/driver.py`` is a whole one.

Times are integer nanoseconds of ``time.monotonic_ns``, unless the driver sets ``LOCKSTEP``.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from edgerl.errors import DriverError, PortError
from edgerl.runtime.enums import Mode, Source
from edgerl.runtime.layout import Channel, Layout
from edgerl.runtime.wire import Floats


@dataclass(frozen=True)
class RobotDescription:
    """What a driver says of its robot when it is opened."""

    command_timeout_ns: int
    """The drives' own watchdog: they stop by themselves after this time without a command. 0 where there is none; the
    production profile then refuses to arm."""
    period_ns: int | None = None
    """The robot's control period; None: any."""
    paced: Literal["driver", "robot"] = "driver"
    """Who sets the pace. ``driver``: ``read`` returns at once, and is called once a period. ``robot``: ``read`` waits
    for the next measurement."""
    lockstep_possible: bool = False
    """A simulation whose time may wait for commands."""


@dataclass(eq=False)
class RobotState:
    """What :meth:`RobotPort.read` fills in. One object lives as long as the session."""

    values: Floats
    """One per state channel, in the order and units of ``layout.state``. What is never written stays NaN, and NaN is a
    fault."""
    flags: int
    """Bits of :class:`~edgerl.runtime.wire.StateFlag`; 0 before each call."""
    stamp_ns: int
    """When it was measured; before each call, now. It must grow, and must not lie in the future: for how long a command
    is valid counts from here. With ``LOCKSTEP`` it is the simulation's own time."""


@dataclass(frozen=True, eq=False)
class RobotCommand:
    """What :meth:`RobotPort.write` is given."""

    values: Floats
    """One per command channel, in the order and units of ``layout.command``; finite, read-only."""
    mode: Mode
    """The guardian's."""
    source: Source
    """Where the command comes from."""


@runtime_checkable
class RobotPort(Protocol):
    """A robot. Every method is called from one thread; none may wait longer than a period once it is open."""

    def open(self, layout: Layout, period_ns: int) -> RobotDescription:
        """Connect to the robot, which stays still, and remember where each channel stands in the arrays.

        Args:
            layout: The channels that the controller wants; :func:`match_channels` finds them among one's own.
            period_ns: How often ``read`` will be called.

        Raises:
            PortError: The robot has not these channels; the controller is told.
        """
        ...

    def read(self, state: RobotState) -> None:
        """Measure."""
        ...

    def write(self, command: RobotCommand, valid_for_ns: int) -> None:
        """Act on a command, for ``valid_for_ns`` from now at most: give that time to the drives where they take one."""
        ...

    def lapse(self) -> None:
        """Make the robot safe by itself: no command is valid any more. Called once, until another one comes."""
        ...

    def close(self) -> None:
        """Disconnect; the robot stays safe. Called once for every ``open``, also after an error."""
        ...


_METHODS = ("open", "read", "write", "lapse", "close")


def match_channels(wanted: Sequence[Channel], provided: Sequence[Channel]) -> npt.NDArray[np.intp]:
    """Return for each wanted channel where it stands in ``provided``.

    For ``open``; then ``np.take(measured, places, out=state.values)`` and ``targets[places] = command.values``.

    Raises:
        PortError: One is missing, or has another unit.
    """
    place = {channel.name: index for index, channel in enumerate(provided)}
    missing = [channel.name for channel in wanted if channel.name not in place]
    if missing:
        raise PortError(
            f"This robot has no channel {', '.join(missing[:4])}{'…' if len(missing) > 4 else ''}. It has: "
            f"{', '.join(place)}."
        )
    for channel in wanted:
        own = provided[place[channel.name]]
        if own.unit != channel.unit:
            raise PortError(f"Channel {own.name} is in {own.unit} here, and {channel.unit} is wanted.")
    return np.array([place[channel.name] for channel in wanted], np.intp)


def load_robot(name: str) -> RobotPort:
    """Return a new driver of the class that ``module:Class`` names. This imports and runs the module.

    Raises:
        DriverError: There is no such class, or it is no :class:`RobotPort`.
    """
    module_name, _, class_name = name.partition(":")
    if not module_name or not class_name:
        raise DriverError(f"{name!r} names no driver. Expected module:Class, such as examples.legged.driver:Quadruped.")
    try:
        made = getattr(importlib.import_module(module_name), class_name)()
    except Exception as error:  # whatever the user's module does
        raise DriverError(
            f"The driver {name} was not made: {type(error).__name__}: {error}. Expected a class without arguments in a "
            "module that can be imported from this folder."
        ) from error
    missing = [method for method in _METHODS if not callable(getattr(made, method, None))]
    if missing:
        raise DriverError(
            f"{name} is no robot driver: it has no {', '.join(missing)}. A driver has {', '.join(_METHODS)}; see "
            "edgerl.runtime.robot_port.RobotPort."
        )
    return made  # type: ignore[no-any-return]
