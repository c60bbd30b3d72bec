"""Kills the driver process of a robot behind shared memory, and looks at what its guardian does, and the robot's end.

With its driver a robot loses everything that could tell it what to do, so nothing may arrive there any more: its own
time-out acts. What the guardian commands meanwhile, into a mailbox that nobody reads, must still be what the table
names; its own stamp of writing stands for the arrival.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import time
from collections.abc import Iterator

import numpy as np

from edgerl.bench.driver import NAME, PORT_VARIABLE
from edgerl.bench.fault_kinds import FaultKind
from edgerl.bench.fault_trials import OPTIONS, Injection, Trials, settle
from edgerl.bench.loop import SupervisedLoop, child_of, place
from edgerl.bench.robot import COMMAND_DTYPE, CommandFlag, Commands
from edgerl.bench.setting import Setting
from edgerl.runtime.connect import Access, connect
from edgerl.runtime.enums import Mode
from edgerl.runtime.load import Load
from edgerl.runtime.recording import Records
from edgerl.runtime.robots import DriverRobot, PlantSettings
from edgerl.runtime.session import Session, Terms

_ACTS_S = 0.06
"""The ladder, and the robot's own time-out."""
_LAST_NS = 1_000_000
"""What it was doing when it was killed may still arrive for so long."""
_SO_TIMESTAMPNS = 35
"""Also the type of its control message; ``asm-generic/socket.h``, as on x86 and ARM."""
_STAMP = struct.Struct("@qq")


class DriverLoop(SupervisedLoop):
    """A loop on a driver process."""

    def connect(self, terms: Terms, stack: contextlib.ExitStack) -> Session:
        """Start the driver and open its session over shared memory."""
        access = Access(priority=self.settings.options.plant_priority)
        made = connect(DriverRobot(NAME), terms, access, PlantSettings(), stack)
        self.driver_pid = child_of(os.getpid(), "driver_process")
        place(self.driver_pid, self.settings.placement.robot)
        return made.session


def driver_deaths(setting: Setting, load: Load, kind: FaultKind, count: int) -> Iterator[Trials]:
    """Kill the driver of ``count`` runs."""
    with _robots_end() as robot:
        for number in range(count):
            setting.say(f"{kind.name}: {number + 1} of {count}")
            _drain(robot)
            with DriverLoop(setting.loop(load, 5.0, options=OPTIONS).settings) as loop:
                loop.wait_ready()
                loop.arm()
                if loop.run(settle(setting)).mode != Mode.ACTIVE:
                    continue
                before = time.monotonic_ns()
                os.kill(loop.driver_pid, signal.SIGKILL)
                injection = Injection(kind, before, time.monotonic_ns(), None)
                loop.run(_ACTS_S)
                records, config = loop.finish(), loop.config
                commands = _as_commands(records, int(config.valid_for_ns))
                arrived_after = sum(stamp > injection.after_ns + _LAST_NS for stamp in _drain(robot))
                period_ns, budget_ns = int(config.period_ns), int(config.budget_ns)
                yield Trials((injection,), records, commands, budget_ns, period_ns, arrived_after)


@contextlib.contextmanager
def _robots_end() -> Iterator[socket.socket]:
    """Yield the socket that the driver sends to; it hears of it through the environment."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as robot:
        robot.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        robot.settimeout(0.0)
        robot.bind(("127.0.0.1", 0))
        os.environ[PORT_VARIABLE] = str(robot.getsockname()[1])
        try:
            yield robot
        finally:
            del os.environ[PORT_VARIABLE]


def _drain(robot: socket.socket) -> list[int]:
    """Return when each waiting datagram arrived, by the kernel, in [ns] of CLOCK_MONOTONIC."""
    ahead = time.time_ns() - time.monotonic_ns()
    stamps = []
    with contextlib.suppress(BlockingIOError):
        while True:
            _, control, _, _ = robot.recvmsg(2048, 256)
            seconds, nanoseconds = _STAMP.unpack(control[0][2][: _STAMP.size])
            stamps.append(seconds * 1_000_000_000 + nanoseconds - ahead)
    return stamps


def _as_commands(records: Records, valid_for_ns: int) -> Commands:
    """Return what was written into the mailbox, in the form of what a robot on UDP writes down."""
    written = records[records["write_ns"] > 0]
    seen = np.zeros(len(written), COMMAND_DTYPE)
    channels = written["command"].shape[1]
    seen["arrival_ns"] = written["write_ns"]
    seen["sequence"] = np.arange(1, len(written) + 1)
    seen["flags"] = CommandFlag.IN_ORDER | CommandFlag.ECHO_MATCHES
    seen["valid_for_ns"], seen["count"] = valid_for_ns, channels
    for name in ("state_sequence", "mode", "source"):
        seen[name] = written[name]
    seen["values"][:, :channels] = written["command"]
    return seen
