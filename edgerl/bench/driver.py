"""The robot driver whose process the fault benchmark kills: it measures a counter and passes every command on.

Commands go to a UDP socket of the benchmark, the robot's end, where the kernel stamps them. It is found as any driver
is, by ``pkg:edgerl.bench.driver:Relay``.
"""

from __future__ import annotations

import os
import socket

import numpy as np

from edgerl.runtime.layout import Layout
from edgerl.runtime.robot_port import RobotCommand, RobotDescription, RobotState

NAME = "edgerl.bench.driver:Relay"
PORT_VARIABLE = "EDGERL_BENCH_ROBOT_PORT"
SCALE = 65536.0


class Relay:
    """A robot of one number, the same in every state channel but the second: the benchmark's faults are asked there."""

    def __init__(self) -> None:
        self._count = 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def open(self, layout: Layout, period_ns: int) -> RobotDescription:  # noqa: ARG002  it takes what it is given
        """Connect to the benchmark."""
        self._socket.connect(("127.0.0.1", int(os.environ[PORT_VARIABLE])))
        return RobotDescription(command_timeout_ns=3 * period_ns)

    def read(self, state: RobotState) -> None:
        """Count."""
        self._count += 1
        state.values[:] = (self._count % SCALE) / SCALE
        state.values[1] = 0.0

    def write(self, command: RobotCommand, valid_for_ns: int) -> None:  # noqa: ARG002  the robot's end judges nothing
        """Pass it on."""
        head = np.array([command.mode, command.source], np.float32)
        self._socket.send(head.tobytes() + command.values.tobytes())

    def lapse(self) -> None:
        """Say so."""
        self._socket.send(b"")

    def close(self) -> None:
        """Disconnect."""
        self._socket.close()
