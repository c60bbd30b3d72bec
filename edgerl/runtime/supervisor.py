"""The supervisor: starts guardian and policy process, watches them, records, and takes everything down in order.

It runs at ordinary priority and is in nobody's path: a tick needs it only for its heartbeat. Start: segments, guardian,
seals, policy process. End: QUIT, the last records, BYE, policy process, guardian. Whatever happens, no child is left.
"""

from __future__ import annotations

import contextlib
import ctypes
import select
import time
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType

import numpy as np
import numpy.typing as npt

from edgerl.errors import GuardianError
from edgerl.runtime import core
from edgerl.runtime.answer_time import answer_time_of, judge_speed
from edgerl.runtime.enums import CAUSE_COUNT, MAX_COMMANDS, ArmBlocker, Phase, Request, Result
from edgerl.runtime.frame_counts import FrameCounts, describe_frames, read_frame_counts
from edgerl.runtime.frame_sources import FrameSources
from edgerl.runtime.policies import Policies
from edgerl.runtime.processes import Child
from edgerl.runtime.recording import Records
from edgerl.runtime.recording.recorder import Recorder
from edgerl.runtime.restarts import RestartLimits
from edgerl.runtime.segments import share
from edgerl.runtime.session import Session
from edgerl.runtime.state_watch import StateWatch
from edgerl.runtime.structs import Config, Operator, Ring, Status, StatusBlock
from edgerl.runtime.succession import Succession, Work

_BATCH = 256
"""Ticks that are taken from the ring at once."""
BYE_FINISHED, BYE_STOPPED, BYE_FAULT = 0, 1, 2
"""Reasons, see docs/robot-port.md."""


@dataclass(frozen=True)
class Timeouts:
    """How long the supervisor waits, in [s]."""

    guardian_ready_s: float = 5.0
    policy_ready_s: float = 60.0
    """Importing a backend and passing the golden set takes seconds on a small board."""
    arm_s: float = 10.0
    quit_s: float = 1.0


class Supervisor:
    """One run's processes.

    Args:
        config: The guardian's, complete.
        work: The policy's, which acts first.
        session: The robot's; left at the end.
        recorder: Takes every tick.
        policy_priority: SCHED_FIFO priority of the policy process, below the guardian's; 0 for none.
        restarts: How often a policy that died is started again.
        spare: Whether a warm one waits to replace the acting one at once.
        frames: Where the policy's images come from, where it observes some.
        watch: Says which state was wrong; gets every tick, too.
        confine: Whether a policy process that is ready can only compute.
    """

    def __init__(
        self,
        config: Config,
        work: Work,
        session: Session,
        recorder: Recorder,
        *,
        policy_priority: int = 0,
        restarts: RestartLimits | None = None,
        spare: bool = False,
        frames: FrameSources | None = None,
        watch: StateWatch | None = None,
        confine: bool = True,
        timeouts: Timeouts | None = None,
    ) -> None:
        self._config = config
        self._work = work
        self._session = session
        self._recorder = recorder
        self._policy_priority = policy_priority
        self._restarts = restarts or RestartLimits(count=0)
        self._spare = spare
        self._frames = frames
        self._watch = watch
        self._confine = confine
        self.timeouts = timeouts or Timeouts()
        self._stack = contextlib.ExitStack()
        if core.ring_bytes(config) != ctypes.sizeof(Ring) + config.ring_capacity * recorder.dtype.itemsize:
            raise ValueError("the recorder's records are not those of the guardian's configuration")
        self._batch = np.empty(_BATCH, recorder.dtype)
        self._next_record = 0
        self._guardian_started = False
        self._stopped = False
        self.status = Status()
        """The guardian's, as last read."""

    def __enter__(self) -> Supervisor:
        try:
            self._start_guardian()
            self._start_policy()
        except BaseException:
            self.stop(BYE_FAULT)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(BYE_FINISHED if kind is None else BYE_FAULT)

    def step(self, timeout_s: float, also: Iterable[int] = ()) -> Status:
        """Give a sign of life, wait for news at most ``timeout_s``, save new records and return the guardian's status.

        Args:
            timeout_s: Upper bound of the wait.
            also: Further descriptors that end the wait when readable.

        Raises:
            GuardianError: The guardian has died; the robot stops when its last command lapses.
        """
        core.heartbeat(self._memory.requests.address)
        watched = [self.guardian.pidfd] if self.guardian.alive else []
        if self._frames:
            self._frames.attend()
            watched += self._frames.watched
        select.select([*watched, *self._policies.pidfds, *also], [], [], timeout_s)
        self._drain()
        self._read_status()
        self.policies.attend(self.status, time.monotonic())
        self._read_status()
        if not self.guardian.alive and self.status.phase != Phase.ENDED:
            self._recorder.trip("the guardian died")
            raise GuardianError(
                f"The guardian died: it {self.guardian.obituary()}. The robot stops when its last command lapses; "
                "see the recording for its last ticks."
            )
        return self.status

    @property
    def policy_pid(self) -> int:
        """Process id of the acting policy; 0 for none."""
        return self._policies.acting.pid if self._policies.acting is not None else 0

    def judge_speed(self) -> str:
        """Return a warning where the acting policy, which is ready, may be late now and then; empty: nothing says so.

        Raises:
            PolicyTooSlow: It cannot answer in the time that the envelope leaves it.
        """
        times = self.policies.inference
        if times is None:
            return ""
        return judge_speed(times, answer_time_of(self._config), production=bool(self._config.production))

    def request(self, kind: Request) -> None:
        """Ask something of the guardian."""
        core.request(self._memory.requests.address, kind)

    def estop(self) -> None:
        """Stop the robot; from any thread."""
        self.request(Request.ESTOP)

    def operate(self, values: tuple[float, ...], *, dead_man: bool, at_ns: int) -> None:
        """Tell the guardian what the operator wants, and when that was so; from one thread only."""
        said = Operator(stamp_ns=at_ns, dead_man=int(dead_man), count=len(values))
        for index, value in enumerate(values):
            said.values[index] = value
        core.post_operator(self._memory.requests.address, said)

    def keep_session(self) -> None:
        """Tell the robot that we are still there, while no command says so."""
        self._session.keep()

    def violations(self) -> npt.NDArray[np.uint32]:
        """Return how often each channel met each cause, shape (channels, 5), columns as the bits of ``Verdict``."""
        offset = StatusBlock.violations.offset
        words = np.frombuffer(self._memory.status.memory, np.uint32, MAX_COMMANDS * 8, offset)
        count = int(self._config.command_count)
        return np.array(words.reshape(MAX_COMMANDS, 8)[:count, :CAUSE_COUNT])

    def frame_counts(self) -> FrameCounts | None:
        """Return what became of the policy's images so far; None where it observes none."""
        return read_frame_counts(self._memory.actions) if self._frames else None

    @property
    def frame_trouble(self) -> str:
        """Why observations went unanswered for want of an image, as a sentence; empty where none did."""
        counts = self.frame_counts()
        return describe_frames(counts, self._frames.trouble) if counts and self._frames else ""

    def state_fault(self, tick: int) -> str:
        """Return which state led to a fault in that tick, as a sentence; empty where none did."""
        self._drain()  # the status may be newer than the last record that was taken
        return self._watch.fault(tick) if self._watch else ""

    def state_missing(self, blockers: int) -> str:
        """Return which state keeps the policy from being armed, as a sentence; empty where none does."""
        self._drain()
        if self._watch and blockers & ArmBlocker.OUTSIDE_START:
            return self._watch.not_in_start_set()
        return self._watch.wrong() if self._watch and blockers & ArmBlocker.STATE_FAULT else ""

    def stop(self, bye: int) -> None:
        """End the run: QUIT, last records, BYE, policy process, guardian. Harmless when called again."""
        if self._stopped:
            return
        self._stopped = True
        try:
            self._quit_guardian()
        finally:
            self._session.leave(bye)
            self._stack.close()

    def _start_guardian(self) -> None:
        self._memory = self._stack.enter_context(share(self._config))
        memory = self._memory
        segments = (memory.status, memory.requests, memory.observation, memory.ring, *memory.actions)
        fds = (memory.config, *(segment.fd for segment in segments), *self._session.fds)
        guardian = Child("guardian", [str(core.guardian_path()), *map(str, fds)], fds=fds)
        self.guardian = guardian
        self._guardian_started = True
        self._stack.callback(guardian.close)
        until = time.monotonic() + self.timeouts.guardian_ready_s
        while True:
            self._read_status()
            phase = self.status.phase
            if phase in (Phase.READY, Phase.RUNNING):
                break
            if phase == Phase.REFUSED:
                reason = core.config_fault_name(self.status.start_fault)
                raise GuardianError(f"The guardian refused to start: {reason}.")
            if not guardian.alive:
                raise GuardianError(f"The guardian did not start: it {guardian.obituary()}.")
            if time.monotonic() > until:
                raise GuardianError(
                    f"The guardian was not ready within {self.timeouts.guardian_ready_s:g} s. "
                    "The machine may be overloaded; try again, or raise the time-out."
                )
            time.sleep(0.0005)
        self._memory.seal_against_new_writers()
        self._session.guardian_has_mapped()

    def _read_status(self) -> None:
        """A guardian that died while it wrote leaves no new one; the last good one stays."""
        status = core.read_status(self._memory.status.address)
        if status is not None:
            self.status = status

    def _start_policy(self) -> None:
        policy_period_us = self._config.period_ns * self._config.policy_divider // 1000
        self._policies = Policies(
            self._memory,
            priority=self._policy_priority,
            realtime_limit_us=max(500_000, 10 * policy_period_us),
            frames=self._frames,
            confine=self._confine,
        )
        self._stack.callback(self._policies.close)
        self.policies = Succession(self._policies, self._work, self._restarts, spare=self._spare)
        self.policies.begin()

    def _drain(self) -> None:
        """Hand everything in the ring to the recorder; what comes meanwhile is the next call's, so that it ends."""
        ring, batch = self._memory.ring.address, self._batch
        size, begin, count = batch.itemsize, batch.ctypes.data, 0
        head = core.ring_head(ring)
        while self._next_record < head:
            result = core.read_record(ring, self._next_record, begin + count * size, size)
            if result is Result.OK:
                self._next_record += 1
                count += 1
            elif result is Result.LOST:  # overwritten before it was read: the gap shows in the recording's ticks
                self._next_record = max(self._next_record + 1, core.ring_head(ring) - self._config.ring_capacity + 1)
            else:
                break
            if count == len(batch):
                self._take(batch.copy())
                count = 0
        if count:
            self._take(batch[:count].copy())

    def _take(self, rows: Records) -> None:
        if self._watch:
            self._watch.take(rows)
        self._recorder.take(rows)

    def _quit_guardian(self) -> None:
        if not self._guardian_started:
            return
        self.request(Request.QUIT)
        until = time.monotonic() + self.timeouts.quit_s + 2e-9 * self._config.period_ns
        while self.guardian.alive and time.monotonic() < until:
            core.heartbeat(self._memory.requests.address)
            self.guardian.wait(0.005)
        self._drain()
        self._read_status()
