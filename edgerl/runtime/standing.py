"""How a run stands, in words: for the person who watches, the client who asks, and the message at the end."""

from __future__ import annotations

import time

from edgerl.runtime.control.messages import LoopStatus, PolicyStatus, Stage
from edgerl.runtime.enums import ArmBlocker, Clock, Event, Mode
from edgerl.runtime.structs import Status
from edgerl.runtime.succession import Succession

_FAULTS = {
    Event.BUCKET_FAULT: "too many of its last ticks had no action in time, no new state or a rejected command",
    Event.JITTER_FAULT: "too many of its last ticks woke up too late",
    Event.LAPSED: "the command written last had lapsed before the next one",
    Event.STATE_FROZEN: "the robot's state did not change any more, which its noise makes impossible",
    Event.STATE_LIMIT: "the robot's state is outside the limits of the envelope",
    Event.STATE_FAULT: "the robot's state was not finite, not representable or did not come in time, or it said BYE",
    Event.INFERENCE_TIMEOUT: "the policy owed an answer for too long, and its process was ended",
    Event.POLICY_FAULT: "the policy process ended",
    Event.DEAD_MAN: "the dead-man switch was released",
    Event.SUPERVISOR_FAULT: "the supervisor gave no sign of life in time",
    Event.ESTOP: "the robot's e-stop was pressed",
}

_UNANSWERED = (Event.BUCKET_FAULT, Event.INFERENCE_TIMEOUT)
"""Faults that a policy without images leads to."""
_OF_STATE = (Event.STATE_FROZEN, Event.STATE_LIMIT, Event.STATE_FAULT)
_TOLD_OF_ITS_END = (Event.POLICY_FAULT, Event.INFERENCE_TIMEOUT)
"""Faults whose reason says that the policy's process is no more."""


def blockers(status: Status) -> tuple[str, ...]:
    """Return what kept the last ARM from happening."""
    return tuple(
        str(blocker.name).lower().replace("_", " ") for blocker in ArmBlocker if status.arm_blockers & blocker
    )  # fmt: skip


def missing(status: Status) -> str:
    """Return the same as one phrase."""
    return ", ".join(blockers(status)) or "nothing that the guardian names"


def fault_message(
    status: Status, *, obituary: str, estop_by: str, frame_trouble: str = "", state_trouble: str = ""
) -> str:
    """Return what led to FALLBACK or STOPPED.

    Args:
        status: With a fault.
        obituary: How the policy process ended, before the fault or since; empty where it did not.
        estop_by: Who asked for an e-stop on the control socket, where somebody did.
        frame_trouble: Why observations went unanswered for want of an image, where some did.
        state_trouble: Which state was wrong in the fault's tick, where one was.
    """
    fault = Event(status.fault)
    reason = _FAULTS.get(fault, fault.name.lower().replace("_", " "))
    if fault is Event.ESTOP and estop_by:
        reason = f"an e-stop came from {estop_by}"
    elif fault is Event.POLICY_FAULT and obituary:
        reason = f"the policy process {obituary}"
    why = f" {frame_trouble}" if frame_trouble and fault in _UNANSWERED else ""
    why = f" {state_trouble}" if state_trouble and fault in _OF_STATE else why
    # It may have died of something else, and much later: then it is no cause, and still worth knowing.
    ended = f" The policy process {obituary}." if obituary and fault not in _TOLD_OF_ITS_END else ""
    return f"Fault in tick {status.fault_tick:,}: {reason}.{why}{ended}"


def loop_status(stage: Stage, message: str, status: Status, policies: Succession) -> LoopStatus:
    """Return what the control socket tells of the loop."""
    fault = Event(status.fault)
    return LoopStatus(
        at_ns=time.monotonic_ns(),
        stage=stage,
        mode=Mode(status.mode).name,
        clock=Clock(status.clock).name,
        ticks=int(status.ticks),
        armed=int(status.armed),
        arm_refused=int(status.arm_refused),
        arm_missing=blockers(status),
        fault="" if fault is Event.NOMINAL else fault.name.lower(),
        fault_tick=int(status.fault_tick),
        policy=PolicyStatus(policies.bundle, policies.describe()),
        candidate=PolicyStatus(policies.candidate_bundle, policies.describe_candidate()),
        restarts=policies.restarts,
        shadowed=int(status.shadow_taken),
        switched=int(status.switched),
        switch_refused=int(status.switch_refused),
        message=message,
        actions_late=int(status.actions_late),
        states_lost=int(status.states_lost),
        missed_periods=int(status.missed_periods),
    )
