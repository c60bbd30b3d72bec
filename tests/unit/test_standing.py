"""How a fault is told to people: by its own cause, whatever has happened since."""

from __future__ import annotations

import pytest

from edgerl.runtime.enums import Event
from edgerl.runtime.standing import fault_message
from edgerl.runtime.structs import Status

KILLED = "was killed by SIGKILL"


def told(fault: Event, obituary: str = "", estop_by: str = "", frame_trouble: str = "") -> str:
    return fault_message(
        Status(fault=fault, fault_tick=1234), obituary=obituary, estop_by=estop_by, frame_trouble=frame_trouble
    )


def test_a_policy_that_died_is_the_cause_of_its_fault() -> None:
    assert told(Event.POLICY_FAULT, KILLED) == "Fault in tick 1,234: the policy process was killed by SIGKILL."


def test_a_policy_that_we_ended_for_its_silence_is_not_said_to_have_died_of_a_signal() -> None:
    expected = "Fault in tick 1,234: the policy owed an answer for too long, and its process was ended."
    assert told(Event.INFERENCE_TIMEOUT, KILLED) == told(Event.INFERENCE_TIMEOUT) == expected


@pytest.mark.parametrize("fault", [Event.STATE_FAULT, Event.BUCKET_FAULT, Event.DEAD_MAN, Event.JITTER_FAULT])
def test_another_fault_keeps_its_cause_when_the_policy_dies_too(fault) -> None:
    assert told(fault, KILLED) == f"{told(fault)} The policy process was killed by SIGKILL."
    assert "policy process" not in told(fault)


def test_an_estop_says_who_asked_for_it() -> None:
    assert told(Event.ESTOP, estop_by="alice (uid 7, pid 9)") == (
        "Fault in tick 1,234: an e-stop came from alice (uid 7, pid 9)."
    )
    assert told(Event.ESTOP) == "Fault in tick 1,234: the robot's e-stop was pressed."


def test_missing_images_are_told_where_they_lead_to_the_fault() -> None:
    assert told(Event.BUCKET_FAULT, frame_trouble="The camera is away.").endswith(". The camera is away.")
    assert "camera" not in told(Event.STATE_FAULT, frame_trouble="The camera is away.")
