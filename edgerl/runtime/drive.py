"""The course of a run: wait for the policy, arm, watch, do what people ask, and decide when it is over and why.

Reads the guardian's status and asks it for things; acts on nothing else. The decision needs no hurry: to whatever
endangers the robot the guardian has reacted within the tick.

A run that arms by itself begins when the policy is ready. Any other waits in SAFE until somebody with the right to its
control socket arms it; it can be disarmed and armed again. After a fault a run that stays waits to be reset.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from edgerl.errors import GuardianError, LoopError, PolicyProcessError, PolicyTooSlow, PortError
from edgerl.runtime import standing
from edgerl.runtime.control.messages import Stage
from edgerl.runtime.course import Course, End, Progress
from edgerl.runtime.enums import Clock, Event, Mode, Request, StateFlag
from edgerl.runtime.health import Health
from edgerl.runtime.interrupts import Interrupts
from edgerl.runtime.orders import Orders
from edgerl.runtime.result import Ending
from edgerl.runtime.robots import RobotProcess
from edgerl.runtime.structs import Status
from edgerl.runtime.supervisor import Supervisor

STEP_S = 0.02
PROGRESS_S = 0.1
KEEP_S = 0.5
"""A robot frees a session in which it hears nothing for 2 s."""
SILENT_S = 10.0
"""A robot that says nothing for this long while it is not driven will not come back into this session."""
_LATCHED = (Mode.FALLBACK, Mode.STOPPED)
_DONE = End("done", "The robot said that it is done.")


class Drive:
    """One run, from started processes to the reason for its end.

    Args:
        supervisor: Started.
        plant: The process behind the robot, where we have it.
        interrupts: What a person asks for at the terminal.
        orders: What people ask for from outside, where they can.
        health: What the watchdogs are told.
        course: What the run does by itself.
        on_progress: Called with where the run is.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        plant: RobotProcess | None,
        interrupts: Interrupts,
        orders: Orders | None,
        health: Health,
        *,
        course: Course,
        on_progress: Callable[[Progress], None],
    ) -> None:
        self._supervisor = supervisor
        self._policies = supervisor.policies
        self._plant = plant
        self._interrupts = interrupts
        self._orders = orders
        self._health = health
        self._course = course
        self._on_progress = on_progress
        self.stage: Stage = "loading"
        self._since = time.monotonic()
        self.message = ""
        self.warning = ""
        """What the policy's own measurement says against it, where it may be armed all the same."""
        self._by_itself = course.arms
        self._arm_sent = False
        self._disarming = False
        self._armed = 0
        self._armed_tick = 0
        self._refused = 0
        self._states = 0
        self._heard = self._since
        self._shown = 0.0
        self._kept = 0.0

    def run(self) -> End:
        """Drive the robot until the run is over.

        Raises:
            PolicyProcessError: The policy process did not get ready.
            PolicyTooSlow: It cannot answer in the time that the envelope leaves it.
            LoopError: The guardian did not arm, in a run that arms by itself.
            PortError: The robot's process ended before.
            GuardianError: It died before it was armed.
        """
        try:
            while (end := self._judge(self._step())) is None:
                pass
        except GuardianError as error:
            if not self._armed:
                raise
            self._watch_it_lapse()
            return End("fault", str(error))
        return end

    def _step(self) -> Status:
        plant, orders = self._plant, self._orders
        also = (*(plant.fds if plant else ()), *(orders.fds if orders else ()))
        status = self._supervisor.step(STEP_S, also)
        if plant:
            plant.listen()
        if orders:
            orders.attend(self, status)
        self._health.tell(self.stage, status, f"{self.stage}: {Mode(status.mode).name}. {self.message}".strip())
        now = time.monotonic()
        if now - self._shown >= PROGRESS_S:
            self._shown = now
            self._show(status)
        return status

    def _show(self, status: Status) -> None:
        counts = status.actions_late, status.states_lost, status.missed_periods
        episodes = len(self._plant.episodes) if self._plant else 0
        path = self._orders.path if self._orders else ""
        self._on_progress(
            Progress(self.stage, status.ticks, Mode(status.mode), Clock(status.clock), *counts, episodes, path)
        )

    def _enter(self, stage: Stage, message: str = "") -> None:
        self.stage = stage
        self._since = time.monotonic()
        self.message = message
        self._shown = 0.0

    def _in_stage_s(self) -> float:
        return time.monotonic() - self._since

    def _judge(self, status: Status) -> End | None:
        """Return the end of the run, where this status is one; go on to the next stage where it is time."""
        if self._interrupts.count:
            return self._obey_terminal()
        if self._plant and not self._plant.alive:
            how = self._plant.obituary()
            if not self._armed:
                raise PortError(f"The robot's process ended before the policy was in charge: it {how}")
            return End("fault", f"The robot's process ended before its job was done: it {how}.")
        resetting = self.stage == "stopped" or (self.stage == "arming" and not self._arm_sent)
        if status.mode in _LATCHED and not resetting:
            return self._judge_fault(status)
        if self.stage in ("waiting", "stopped"):
            return self._judge_idle(status)
        if self.stage == "running":
            return self._judge_running(status)
        if self.stage == "loading":
            self._judge_loading()
        elif self.stage == "arming":
            self._judge_arming(status)
        return None

    def _judge_loading(self) -> None:
        timeout_s = self._supervisor.timeouts.policy_ready_s
        self._refuse_dead_policy()
        if self._policies.candidate_obituary:
            raise PolicyProcessError(f"The shadow's process did not get ready: it {self._policies.candidate_obituary}")
        if self._policies.ready and self._policies.describe_candidate() != "loading":
            self.warning = self._supervisor.judge_speed()
            if self._by_itself:
                self._begin_arming()
            else:
                self._enter("waiting")
        elif self._in_stage_s() > timeout_s:
            raise PolicyProcessError(
                f"The policy process was not ready within {timeout_s:g} s: loading the engine, warming it up and "
                "passing the golden set took longer. Raise the time-out, or use a smaller golden set."
            )

    def _begin_arming(self) -> None:
        self._enter("arming")
        self._arm_sent = False

    def _judge_arming(self, status: Status) -> None:
        timeout_s = self._supervisor.timeouts.arm_s + self._course.prepare_s
        if self._by_itself:
            self._refuse_dead_policy()
        if self._arm_sent and status.armed != self._armed:
            self._armed, self._armed_tick = status.armed, status.ticks
            self._by_itself, self._disarming = False, False
            self._policies.in_charge()
            self._enter("running")
        elif self._in_stage_s() > timeout_s:
            self._supervisor.request(Request.DISARM)
            why = f"The guardian did not arm within {timeout_s:g} s. {self._what_was_missing(status)}"
            self._give_up_arming(why)
        elif not self._arm_sent and status.mode == Mode.SAFE and self._policies.ready:
            self._arm(status)
        elif self._arm_sent and status.arm_refused != self._refused:
            if self._by_itself:
                self._arm(status)
            else:
                self._give_up_arming(f"The guardian did not arm. {self._what_was_missing(status)}")

    def _arm(self, status: Status) -> None:
        self._refused = status.arm_refused
        self._arm_sent = True
        self._supervisor.request(Request.ARM)

    def _give_up_arming(self, why: str) -> None:
        if self._by_itself:
            raise LoopError(why)
        self._enter("waiting", why)

    def _refuse_dead_policy(self) -> None:
        if self._policies.obituary:
            raise PolicyProcessError(f"The policy process did not get ready: it {self._policies.obituary}")

    def _judge_running(self, status: Status) -> End | None:
        if status.mode == Mode.SAFE:  # nothing but DONE leads there unasked; one from before it was armed does not
            if not self._disarming:
                return _DONE
            self._enter("waiting")
        elif self._course.ticks is not None and status.ticks - self._armed_tick >= self._course.ticks:
            self._disarm()
            return End("ticks", f"The {self._course.ticks:,} ticks that were asked for are over.")
        return None

    def _judge_idle(self, status: Status) -> End | None:
        """Waiting in SAFE, or stopped after a fault."""
        if self.stage == "stopped" and status.mode == Mode.SAFE:
            self._enter("waiting")
        if self.stage == "waiting" and self._armed and status.state_flags & StateFlag.DONE:
            return _DONE
        if self.stage == "waiting" and self._policies.final:
            return End("fault", f"The policy process {self._policies.describe()}.")
        if status.mode == Mode.STOPPED and time.monotonic() - self._kept > KEEP_S:
            self._kept = time.monotonic()
            self._supervisor.keep_session()
        return self._judge_silence(status)

    def _judge_silence(self, status: Status) -> End | None:
        if status.byes:
            return End("fault", "The robot left: it said BYE. Start the run again when it is back.")
        now = time.monotonic()
        if status.states_taken != self._states:
            self._states, self._heard = status.states_taken, now
        if now - self._heard < SILENT_S:
            return None
        return End("fault", f"The robot sent no state for {SILENT_S:g} s. Start the run again when it is back.")

    def _judge_fault(self, status: Status) -> End | None:
        if not self._course.stays:
            return self._after_fault()
        self._by_itself = False
        self._enter("stopped", self._fault_message(status))
        return None

    def arm(self) -> str:
        """Begin to put the policy in charge; returns why not, where that cannot be."""
        status = self._supervisor.status
        if self.stage == "loading":
            return "The policy is still loading. Ask again when edgerl status says that it is ready."
        if status.mode in _LATCHED:
            return f"{self._fault_message(status)} Find out why; then edgerl rearm resets it and arms."
        if self.stage != "waiting":
            return f"It is {self.stage} already."
        if trouble := self._policy_trouble():
            return trouble
        self._begin_arming()
        return ""

    def rearm(self) -> str:
        """Reset the fault, and begin to put the policy in charge; returns why not, where that cannot be."""
        if self.stage != "stopped":
            return self.arm()
        if trouble := self._still_pressed() or self._policy_trouble():
            return trouble
        self._begin_arming()
        self._supervisor.request(Request.RESET)
        return ""

    def disarm(self) -> str:
        """Take the policy out of charge, or see to it that it is not put there."""
        self._by_itself = False
        if self.stage == "running":
            self._disarming = True
            self._supervisor.request(Request.DISARM)
        elif self.stage == "arming":
            self._supervisor.request(Request.DISARM)
            self._enter("waiting")
        return ""

    def reset(self) -> str:
        """Leave a latched fault for SAFE; returns why not, where that cannot be."""
        if self.stage != "stopped":
            return ""
        if trouble := self._still_pressed():
            return trouble
        self._supervisor.request(Request.RESET)
        return ""

    def stop(self) -> str:
        """End the run in order, as one Ctrl-C does."""
        if not self._interrupts.count:
            self._interrupts.interrupt()
        return ""

    def _still_pressed(self) -> str:
        """The guardian does not leave STOPPED for it; who asks should not have to wait to find that out."""
        if self._supervisor.status.state_flags & StateFlag.ESTOP:
            return "The robot's e-stop is pressed. Release it there, then ask again."
        return ""

    def _policy_trouble(self) -> str:
        """Never armed when it is ready at last: nobody may be looking at the robot any more."""
        if self._policies.ready:
            try:  # it may have come in place of one that died, and have found the machine busy
                self.warning = self._supervisor.judge_speed()
            except PolicyTooSlow as error:
                return str(error)
            return ""
        next_step = (
            "Start the run again" if self._policies.final else "Ask again when edgerl status says that it is ready"
        )
        return f"There is no policy to arm: it {self._policies.describe()}. {next_step}."

    def _obey_terminal(self) -> End:
        if self.stage == "stopped":
            return self._after_fault()
        if not self._armed:
            return End("stopped", "It was stopped before the policy was in charge.")
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
        patience = self._interrupts.count + 1
        self._enter("stopping")
        status = self._until(
            lambda status: status.mode == Mode.STOPPED or self._interrupts.count > patience, self._course.ladder_s + 1.0
        )
        self._until(lambda _: self._interrupts.count > patience, self._course.lapse_s)
        how: Ending = "estop" if Event(status.fault) is Event.ESTOP else "fault"
        return End(how, f"{self._fault_message(status)} The guardian went down its fallback ladder.")

    def _what_was_missing(self, status: Status) -> str:
        state = self._supervisor.state_missing(status.arm_blockers)
        why = f"What was missing: {standing.missing(status)}.", state, self._supervisor.frame_trouble
        return " ".join(filter(None, why))

    def _fault_message(self, status: Status) -> str:
        estop_by = self._orders.estop_by if self._orders else ""
        said = standing.fault_message(
            status,
            obituary=self._policies.obituary,
            estop_by=estop_by,
            frame_trouble=self._supervisor.frame_trouble,
            state_trouble=self._supervisor.state_fault(status.fault_tick),
        )
        if self._plant and not self._plant.alive:
            said += f" The robot's process has ended: it {self._plant.obituary()}."
        return said

    def _watch_it_lapse(self) -> None:
        """Without a guardian: stay in the session until the robot has stopped by itself."""
        until = time.monotonic() + self._course.lapse_s
        while time.monotonic() < until and self._interrupts.count < 2:
            time.sleep(STEP_S)
            if self._plant:
                self._plant.listen()

    def _until(self, over: Callable[[Status], bool], timeout_s: float) -> Status:
        until = time.monotonic() + timeout_s
        while not over(status := self._step()) and time.monotonic() < until:
            pass
        return status
