"""One control loop under measurement: the product's supervisor, guardian and policy process around the bench's robot.

Everything that the benchmarks need of the runtime goes through :class:`BenchLoop`. Processes are placed on processors
as a benchmark says; what is measured is read from the recording and from what the robot wrote down.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from edgerl.bench.robot import Robot, RobotSettings
from edgerl.errors import LoopError, PolicyProcessError
from edgerl.runtime.enums import Mode, Request
from edgerl.runtime.layout import layout_of
from edgerl.runtime.load import Load
from edgerl.runtime.recording import SUFFIX, Records
from edgerl.runtime.recording.read import read_recording
from edgerl.runtime.recording.recorder import Recorder
from edgerl.runtime.run import RunOptions, configure, recording_header
from edgerl.runtime.session import Session, Terms, open_session
from edgerl.runtime.structs import Status
from edgerl.runtime.supervisor import BYE_FINISHED, Supervisor

if TYPE_CHECKING:
    from typing_extensions import Self

STEP_S = 0.02
_ARM_S = 5.0
_READY_S = 60.0


@dataclass(frozen=True)
class Placement:
    """Which processor each process gets; -1: any."""

    guardian: int
    policy: int
    robot: int


@dataclass(frozen=True, eq=False)
class LoopSettings:
    """How a loop under measurement runs."""

    load: Load
    robot_program: Path
    """Compiled ``fixtures/robot.c``."""
    folder: Path
    """For its recording."""
    placement: Placement
    options: RunOptions
    seconds: float
    """How long it may last: what the robot has room to write down."""


class SupervisedLoop:
    """Supervisor, guardian and policy process on some robot; started and ended with the block."""

    def __init__(self, settings: LoopSettings) -> None:
        self.settings = settings
        self._stack = contextlib.ExitStack()
        self._folder = settings.folder / f"loop-{time.monotonic_ns()}"
        self._recording = self._folder / f"ticks{SUFFIX}"

    def connect(self, terms: Terms, stack: contextlib.ExitStack) -> Session:
        """Start the robot and open its session; both end with ``stack``."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self) -> None:
        settings, load, options = self.settings, self.settings.load, self.settings.options
        self.layout = layout_of(load.engine.spec, load.envelope)
        self.config = config = configure(load, options)
        config.cpu = settings.placement.guardian
        terms = Terms(self.layout, config.period_ns, config.budget_ns, config.valid_for_ns)
        session = self.connect(terms, self._stack)
        session.configure(config)
        header = recording_header(load, "bench", session, layout=self.layout, config=config, same_clock=True)
        self._folder.mkdir()
        self._recorder = self._stack.enter_context(Recorder(self._recording, header, options.keep))
        self.supervisor = self._stack.enter_context(
            Supervisor(
                config,
                load.work,
                session,
                self._recorder,
                policy_priority=options.policy_priority,
                timeouts=options.timeouts,
            )
        )
        place(self.policy_pid, settings.placement.policy)

    @property
    def guardian_pid(self) -> int:
        """Process id of the guardian."""
        return self.supervisor.guardian.pid

    @property
    def policy_pid(self) -> int:
        """Process id of the policy process."""
        return self.supervisor.policy_pid

    def step(self, timeout_s: float = STEP_S) -> Status:
        """Let the supervisor do its part once."""
        return self.supervisor.step(timeout_s)

    def run(self, seconds: float) -> Status:
        """Let it run for a time."""
        until = time.monotonic() + seconds
        while True:
            status = self.step()
            if time.monotonic() >= until:
                return status

    def run_on(self, seconds: float) -> None:
        """Let it run for a time, as :meth:`run`."""
        self.run(seconds)

    def wait_ready(self) -> None:
        """Wait until the policy process has passed its golden set.

        Raises:
            PolicyProcessError: It died, or took too long.
        """
        until = time.monotonic() + _READY_S
        while not self.supervisor.policies.ready:
            self.step()
            death = self.supervisor.policies.obituary
            if death:
                raise PolicyProcessError(f"The benchmark's policy did not get ready: it {death}.")
            if time.monotonic() > until:
                raise PolicyProcessError(f"The benchmark's policy was not ready within {_READY_S:g} s.")

    def arm(self) -> None:
        """Put the policy in charge, from whatever mode.

        Raises:
            LoopError: The guardian did not arm.
        """
        until = time.monotonic() + _ARM_S
        asked: tuple[Request, int] | None = None
        while (status := self.step(0.001)).mode != Mode.ACTIVE:
            if time.monotonic() > until:
                raise LoopError(
                    f"The guardian did not arm within {_ARM_S:g} s; it is in mode {Mode(status.mode).name}, "
                    f"blockers {status.arm_blockers:#x}."
                )
            wanted = Request.ARM if status.mode == Mode.SAFE else Request.RESET
            now = (wanted, int(status.arm_refused))
            # FALLBACK goes down its ladder first; a request is made again only where the last one was refused.
            if status.mode in (Mode.SAFE, Mode.STOPPED) and status.clock and now != asked:
                asked = now
                self.supervisor.request(wanted)

    def guardian_busy_ns(self) -> int:
        """Return how long the guardian has computed so far, in [ns]."""
        return int(Path(f"/proc/{self.guardian_pid}/schedstat").read_text().split()[0])

    def finish_active(self) -> Records:
        """End the loop and return the records of the ticks with the policy in charge."""
        records = self.finish()
        return np.asarray(records[records["from_mode"] == Mode.ACTIVE])

    def finish(self) -> Records:
        """End the loop and return every tick's record."""
        self.supervisor.stop(BYE_FINISHED)
        self._recorder.close()
        return read_recording(self._recording).records


class BenchLoop(SupervisedLoop):
    """A loop on the benchmark's own robot, which stamps and writes down every command."""

    robot: Robot

    def connect(self, terms: Terms, stack: contextlib.ExitStack) -> Session:
        """Start the robot, silent at first, and open its session over UDP."""
        settings, period_ns = self.settings, terms.period_ns
        capacity = round(settings.seconds * 1e9 / period_ns) + 1000
        how = RobotSettings(period_ns, capacity, settings.options.plant_priority, settings.placement.robot)
        self.robot = stack.enter_context(Robot(settings.robot_program, terms.layout, how))
        return stack.enter_context(open_session(self.robot.address, terms))

    def arm(self) -> None:
        """Publish states and put the policy in charge, from whatever mode.

        Raises:
            LoopError: The guardian did not arm.
        """
        self.robot.publish()
        super().arm()


def place(pid: int, cpu: int) -> None:
    """Put a process on a processor; -1: leave it where it is."""
    if cpu >= 0:
        os.sched_setaffinity(pid, {cpu})


def child_of(parent: int, mark: str) -> int:
    """Return the process id of the child whose command line holds ``mark``.

    Raises:
        LoopError: There is none.
    """
    for task in Path(f"/proc/{parent}/task").iterdir():
        for child in (task / "children").read_text().split():
            if mark in Path(f"/proc/{child}/cmdline").read_text():
                return int(child)
    raise LoopError(f"The benchmark found no process '{mark}' below process {parent}; it ended too early.")
