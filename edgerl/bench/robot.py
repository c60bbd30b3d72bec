"""The robot of the benchmarks: a C process that publishes states and stamps every command with the kernel's clock.

What it wrote down is the only witness of a verdict about commands; the controller's own word is compared with it, never
taken for it. The block of shared memory mirrors ``fixtures/robot.c``.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import time
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from edgerl.errors import PortError
from edgerl.runtime.layout import Layout
from edgerl.runtime.processes import Child

MAX_VALUES = 16
"""Command channels that it writes down."""
_STARTS_S = 5.0

Commands = npt.NDArray[Any]
"""Structured array, one row a command, as they arrived."""


class RobotFault(IntEnum):
    """What can be asked of the robot. From :data:`OF_POLICY` on it is the policy that goes wrong."""

    NONE = 0
    NAN = 1
    FROZEN = 2
    LOST = 3
    OF_POLICY = 16


class CommandFlag(IntFlag):
    """What a robot checks before it moves."""

    IN_ORDER = 1
    ECHO_MATCHES = 2
    VALID = 4


class _Block(ctypes.Structure):
    _fields_ = [
        ("port", ctypes.c_uint32),
        ("publish", ctypes.c_uint32),
        ("fault", ctypes.c_uint32),
        ("fault_states", ctypes.c_uint32),
        ("fault_sequence", ctypes.c_uint64),
        ("states", ctypes.c_uint64),
        ("commands", ctypes.c_uint64),
        ("dropped", ctypes.c_uint64),
        ("state_capacity", ctypes.c_uint64),
        ("command_capacity", ctypes.c_uint64),
        ("reserved", ctypes.c_uint64 * 6),
    ]


COMMAND_DTYPE = np.dtype(
    [
        ("arrival_ns", np.int64),
        ("sequence", np.int64),
        ("state_sequence", np.int64),
        ("state_stamp_ns", np.int64),
        ("valid_for_ns", np.int64),
        ("flags", np.uint32),
        ("count", np.uint16),
        ("mode", np.uint8),
        ("source", np.uint8),
        ("values", np.float32, (MAX_VALUES,)),
    ]
)


@dataclass(frozen=True)
class RobotSettings:
    """How the robot runs."""

    period_ns: int
    capacity: int
    """States and commands that it can write down."""
    priority: int
    cpu: int
    """-1: any."""


class Robot:
    """A running robot; the process ends with :meth:`close`, or with the process that made it.

    Args:
        program: Compiled ``fixtures/robot.c``.
        layout: Its channels.
        settings: How it runs.

    Raises:
        PortError: It did not start.
    """

    def __init__(self, program: Path, layout: Layout, settings: RobotSettings) -> None:
        capacity = settings.capacity
        size = ctypes.sizeof(_Block) + capacity * (8 + COMMAND_DTYPE.itemsize)
        self._fd = os.memfd_create("edgerl-bench-robot", os.MFD_CLOEXEC)
        os.ftruncate(self._fd, size)
        self._memory = mmap.mmap(self._fd, size)
        self._block = _Block.from_buffer(self._memory)
        self._block.state_capacity = self._block.command_capacity = capacity
        at = ctypes.sizeof(_Block)
        self._stamps = np.frombuffer(self._memory, np.int64, capacity, at)
        self._log = np.frombuffer(self._memory, COMMAND_DTYPE, capacity, at + 8 * capacity)
        counts = len(layout.state), len(layout.command)
        numbers = (self._fd, settings.period_ns, *counts)
        arguments = [str(program), *map(str, numbers), layout.sha256().hex(), str(settings.priority), str(settings.cpu)]
        self._child = Child("robot", arguments, fds=(self._fd,))
        try:
            self._wait()
        except BaseException:
            self.close()
            raise

    def _wait(self) -> None:
        until = time.monotonic() + _STARTS_S
        while self._block.port == 0:
            if not self._child.alive:
                raise PortError(f"The benchmark's robot did not start: it {self._child.obituary()}.")
            if time.monotonic() > until:
                raise PortError(f"The benchmark's robot did not start within {_STARTS_S:g} s.")
            time.sleep(0.001)

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        return "127.0.0.1", int(self._block.port)

    def publish(self, *, on: bool = True) -> None:
        """Begin to send states, or stop."""
        self._block.publish = int(on)

    def inject(self, fault: int, states: int = 1) -> None:
        """Ask for a fault in the next ``states`` states; see :class:`RobotFault`."""
        self._block.fault_states = states
        self._block.fault = int(fault)

    def injected(self) -> int | None:
        """Return the sequence of the first state of the fault asked for last; None: not yet."""
        return None if self._block.fault else int(self._block.fault_sequence)

    @property
    def states(self) -> int:
        """States measured, the last sequence."""
        return int(self._block.states)

    @property
    def received(self) -> int:
        """Commands that arrived."""
        return int(self._block.commands)

    @property
    def full(self) -> bool:
        """Whether there is room for less than a hundred further states."""
        return self.states > int(self._block.state_capacity) - 100

    @property
    def dropped(self) -> int:
        """Datagrams that were none of its session's."""
        return int(self._block.dropped)

    def stamps(self) -> npt.NDArray[np.int64]:
        """Return when each state was measured, shape (states,), the state of sequence 1 first."""
        return np.array(self._stamps[: self.states])

    def commands(self) -> Commands:
        """Return every command that arrived."""
        return np.array(self._log[: self.received])

    def close(self) -> None:
        """End the process."""
        self._child.send(signal.SIGKILL)
        self._child.close()
        del self._stamps, self._log, self._block
        self._memory.close()
        os.close(self._fd)

    def __enter__(self) -> Robot:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def value_of(sequence: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Return what channel 0 of each state was, as ``robot_value`` in C computes it."""
    return np.asarray((sequence % 65536) / 65536.0, np.float32)
