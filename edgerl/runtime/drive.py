"""The course of a run: wait for the policy, arm, watch, and decide when it is over and why.

Reads the guardian's status and asks it for things; acts on nothing else. The decision needs no hurry: to whatever
endangers the robot the guardian has reacted within the tick.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from edgerl.errors import GuardianError, LoopError, PolicyProcessError
from edgerl.runtime.enums import ArmBlocker, Clock, Event, Mode, Request
from edgerl.runtime.interrupts import Interrupts
from edgerl.runtime.result import Ending
from edgerl.runtime.robots import PlantProcess
from edgerl.runtime.structs import Status
from edgerl.runtime.supervisor import Supervisor

STEP_S = 0.02
PROGRESS_S = 0.1

Stage = Literal["loading", "arming", "running", "stopping"]

_FAULTS = {
    Event.BUCKET_FAULT: "too many of its last ticks had no action in time, no new state or a rejected command",
    Event.JITTER_FAULT: "too many of its last ticks woke up too late",
    Event.LAPSED: "the command written last had lapsed before the next one",
    Event.STATE_FROZEN: "the robot's state did not change any more, which its noise makes impossible",
    Event.STATE_LIMIT: "the robot's state is outside the limits of the envelope",
    Event.STATE_FAULT: "the robot's state was not finite, not representable or did not come in time, or it said BYE",
    Event.INFERENCE_TIMEOUT: "the policy owed an answer for too long",
    Event.POLICY_FAULT: "the policy process ended",
    Event.DEAD_MAN: "the dead-man switch was released",
    Event.SUPERVISOR_FAULT: "the supervisor gave no sign of life in time",
    Event.ESTOP: "the robot's e-stop was pressed",
}


@dataclass(frozen=True)
class Progress:
    """Where a run is; given to ``on_progress`` about ten times a second."""

    stage: Stage
    ticks: int
    mode: Mode
    clock: Clock
    actions_late: int
    states_lost: int
    missed_periods: int
    episodes: int
    """That the robot has reported as over."""


@dataclass(frozen=True)
class End:
    """How a run ended."""

    how: Ending
    message: str


class Drive:
    """One run, from started processes to the reason for its end.

    Args:
        supervisor: Started.
        plant: The robot's process, where we have it.
        interrupts: What a person asks for.
        ticks: Ends the run after so many ticks since it was armed; None: when the robot is done.
        ladder_s: How long the fallback ladder takes at most.
        lapse_s: After this time without a command the robot has reacted itself.
        on_progress: Called with where the run is.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        plant: PlantProcess | None,
        interrupts: Interrupts,
        *,
        ticks: int | None,
        ladder_s: float,
        lapse_s: float,
        on_progress: Callable[[Progress], None],
    ) -> None:
        self._supervisor = supervisor
        self._plant = plant
        self._interrupts = interrupts
        self._ticks = ticks
        self._ladder_s = ladder_s
        self._lapse_s = lapse_s
        self._on_progress = on_progress
        self._stage: Stage = "loading"
        self._shown = 0.0

    def run(self) -> End:
        """Drive the robot until the run is over.

        Raises:
            PolicyProcessError: The policy process did not get ready.
            LoopError: The guardian did not arm.
            GuardianError: It died before it was armed.
        """
        if not (self._load() and self._arm()):
            return End("stopped", "It was stopped before the policy was in charge.")
        try:
            return self._watch()
        except GuardianError as error:
            self._watch_it_lapse()
            return End("fault", str(error))

    def _step(self) -> Status:
        plant = self._plant
        status = self._supervisor.step(STEP_S, plant.fds if plant else ())
        if plant:
            plant.listen()
        now = time.monotonic()
        if now - self._shown >= PROGRESS_S:
            self._shown = now
            self._show(status)
        return status

    def _show(self, status: Status) -> None:
        counts = status.actions_late, status.states_lost, status.missed_periods
        episodes = len(self._plant.episodes) if self._plant else 0
        self._on_progress(
            Progress(self._stage, status.ticks, Mode(status.mode), Clock(status.clock), *counts, episodes)
        )

    def _enter(self, stage: Stage) -> None:
        self._stage = stage
        self._shown = 0.0

    def _load(self) -> bool:
        timeout_s = self._supervisor.timeouts.policy_ready_s
        until = time.monotonic() + timeout_s
        while not self._supervisor.policy_ready:
            self._step()
            self._refuse_dead_policy()
            if self._interrupts.count:
                return False
            if time.monotonic() > until:
                raise PolicyProcessError(
                    f"The policy process was not ready within {timeout_s:g} s: loading the engine, warming it up and "
                    "passing the golden set took longer. Raise the time-out, or use a smaller golden set."
                )
        return True

    def _arm(self) -> bool:
        self._enter("arming")
        timeout_s = self._supervisor.timeouts.arm_s
        until = time.monotonic() + timeout_s
        refused = self._supervisor.status.arm_refused
        self._supervisor.request(Request.ARM)
        while (status := self._step()).armed == 0:
            self._refuse_dead_policy()
            if self._interrupts.count:
                return False
            if time.monotonic() > until or status.mode != Mode.SAFE:
                raise LoopError(
                    f"The guardian did not arm within {timeout_s:g} s; it is in mode {Mode(status.mode).name}. "
                    f"What was missing: {_blockers(status)}."
                )
            if status.arm_refused != refused:
                refused = status.arm_refused
                self._supervisor.request(Request.ARM)
        return True

    def _refuse_dead_policy(self) -> None:
        death = self._supervisor.policy_death
        if death is not None:
            raise PolicyProcessError(f"The policy process did not get ready: it {death}")

    def _watch(self) -> End:
        self._enter("running")
        armed_at = self._supervisor.status.ticks
        while True:
            status = self._step()
            if self._interrupts.count:
                return self._obey_person()
            if status.mode == Mode.SAFE:  # nothing but DONE leads there unasked; one from before it was armed does not
                return End("done", "The robot said that it is done.")
            if status.mode in (Mode.FALLBACK, Mode.STOPPED):
                return self._after_fault()
            if self._plant and not self._plant.alive:
                return End("fault", f"The robot's process ended before its job was done: it {self._plant.obituary()}.")
            if self._ticks is not None and status.ticks - armed_at >= self._ticks:
                self._disarm()
                return End("ticks", f"The {self._ticks:,} ticks that were asked for are over.")

    def _obey_person(self) -> End:
        if self._interrupts.count == 1:
            self._disarm()
        if self._interrupts.count > 1:
            self._supervisor.request(Request.ESTOP)
            self._until(lambda status: status.mode == Mode.STOPPED, 1.0)
            return End("estop", "It was stopped by e-stop.")
        return End("stopped", "It was stopped by a person; the robot got the safe command.")

    def _disarm(self) -> None:
        """Two ticks in SAFE: the safe command was sent, and sent again."""
        self._enter("stopping")
        before = self._supervisor.status.ticks
        self._supervisor.request(Request.DISARM)
        self._until(
            lambda status: (status.mode != Mode.ACTIVE and status.ticks >= before + 2) or self._interrupts.count > 1,
            1.0,
        )

    def _after_fault(self) -> End:
        """Let the ladder run down to where nothing is sent any more, and the robot react to that."""
        self._enter("stopping")
        status = self._until(
            lambda status: status.mode == Mode.STOPPED or self._interrupts.count > 1, self._ladder_s + 1.0
        )
        self._until(lambda _: self._interrupts.count > 1, self._lapse_s)
        fault = Event(status.fault)
        death = self._supervisor.policy_death
        reason = f"the policy process {death}" if death else _FAULTS.get(fault, fault.name.lower())
        how: Ending = "estop" if fault is Event.ESTOP else "fault"
        return End(how, f"Fault in tick {status.fault_tick:,}: {reason}. The guardian went down its fallback ladder.")

    def _watch_it_lapse(self) -> None:
        """Without a guardian: stay in the session until the robot has stopped by itself."""
        until = time.monotonic() + self._lapse_s
        while time.monotonic() < until and self._interrupts.count < 2:
            time.sleep(STEP_S)
            if self._plant:
                self._plant.listen()

    def _until(self, over: Callable[[Status], bool], timeout_s: float) -> Status:
        until = time.monotonic() + timeout_s
        while not over(status := self._step()) and time.monotonic() < until:
            pass
        return status


def _blockers(status: Status) -> str:
    missing = [str(blocker.name).lower().replace("_", " ") for blocker in ArmBlocker if status.arm_blockers & blocker]
    return ", ".join(missing) or "nothing that the guardian names"
