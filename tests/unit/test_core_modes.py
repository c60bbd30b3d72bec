"""The mode table, cell by cell, and what the configuration resolves in it."""

from __future__ import annotations

import ctypes

import pytest

from edgerl.runtime import core, structs
from edgerl.runtime.enums import Event, Mode, Result, Source

# The whole table once more, by hand: SOURCE>NEXT for each event in the order of severity.
TABLE = {
    Mode.SAFE: """
        nominal safe>safe, operator-lost safe>safe, overrun safe>safe, switch safe>safe, prepare ramp>prepare,
        arm policy>active, action-late safe>safe, state-lost safe>safe, reject safe>safe, disarm safe>safe,
        done safe>safe, bucket-fault safe>safe, jitter-fault safe>safe, lapsed safe>safe, state-frozen
        safe>safe, state-limit safe>safe, state-fault safe>safe, inference-timeout safe>safe, policy-fault
        safe>safe, dead-man safe>safe, supervisor-fault safe>stopped, ladder-end lapse>stopped, reset
        safe>safe, estop safe>stopped, quit safe>stopped""",
    Mode.PREPARE: """
        nominal ramp>prepare, operator-lost ramp>prepare, overrun ramp>prepare, switch ramp>prepare, prepare
        ramp>prepare, arm policy>active, action-late ramp>prepare, state-lost hold>prepare, reject
        ramp>prepare, disarm safe>safe, done safe>safe, bucket-fault ladder>fallback, jitter-fault
        ladder>fallback, lapsed ladder>fallback, state-frozen ladder>fallback, state-limit ladder>fallback,
        state-fault ladder>fallback, inference-timeout ramp>prepare, policy-fault ramp>prepare, dead-man
        ladder>fallback, supervisor-fault ladder>fallback, ladder-end lapse>stopped, reset safe>safe, estop
        safe>stopped, quit safe>stopped""",
    Mode.ACTIVE: """
        nominal policy>active, operator-lost policy>active, overrun policy>active, switch policy>active,
        prepare policy>active, arm policy>active, action-late hold>active, state-lost hold>active, reject
        on-reject>active, disarm safe>safe, done safe>safe, bucket-fault ladder>fallback, jitter-fault
        ladder>fallback, lapsed ladder>fallback, state-frozen ladder>fallback, state-limit ladder>fallback,
        state-fault ladder>fallback, inference-timeout ladder>fallback, policy-fault ladder>fallback, dead-man
        ladder>fallback, supervisor-fault ladder>fallback, ladder-end lapse>stopped, reset safe>safe, estop
        safe>stopped, quit safe>stopped""",
    Mode.FALLBACK: """
        nominal ladder>fallback, operator-lost ladder>fallback, overrun ladder>fallback, switch
        ladder>fallback, prepare ladder>fallback, arm ladder>fallback, action-late ladder>fallback, state-lost
        ladder>fallback, reject ladder>fallback, disarm ladder>fallback, done ladder>fallback, bucket-fault
        ladder>fallback, jitter-fault ladder>fallback, lapsed ladder>fallback, state-frozen ladder>fallback,
        state-limit ladder>fallback, state-fault ladder>fallback, inference-timeout ladder>fallback,
        policy-fault ladder>fallback, dead-man ladder>fallback, supervisor-fault ladder>fallback, ladder-end
        lapse>stopped, reset safe>safe, estop safe>stopped, quit safe>stopped""",
    Mode.STOPPED: """
        nominal lapse>stopped, operator-lost lapse>stopped, overrun lapse>stopped, switch lapse>stopped,
        prepare lapse>stopped, arm lapse>stopped, action-late lapse>stopped, state-lost lapse>stopped, reject
        lapse>stopped, disarm lapse>stopped, done lapse>stopped, bucket-fault lapse>stopped, jitter-fault
        lapse>stopped, lapsed lapse>stopped, state-frozen lapse>stopped, state-limit lapse>stopped,
        state-fault lapse>stopped, inference-timeout lapse>stopped, policy-fault lapse>stopped, dead-man
        lapse>stopped, supervisor-fault lapse>stopped, ladder-end lapse>stopped, reset safe>safe, estop
        lapse>stopped, quit lapse>stopped""",
}


def cells():
    for mode, text in TABLE.items():
        for event, cell in zip(Event, text.split(","), strict=True):
            name, transition = cell.split()
            yield mode.name.lower(), event.name.lower().replace("_", "-"), name, *transition.split(">")


def test_every_cell_of_the_table_is_as_written_here():
    rows = [(row.mode, row.event, row.source, row.next_mode) for row in core.modes_table()]
    assert rows == [(mode, event, source, after) for mode, event, _, source, after in cells()]
    assert all(event == name for _, event, name, _, _ in cells())


def test_active_is_entered_by_arm_only():
    doors = [(row.mode, row.event) for row in core.modes_table() if row.next_mode == "active" and row.mode != "active"]
    assert doors == [("safe", "arm"), ("prepare", "arm")]


def test_estop_and_quit_stop_from_every_mode():
    stopping = [row for row in core.modes_table() if row.event in ("estop", "quit")]
    assert {row.next_mode for row in stopping} == {"stopped"}
    assert len(stopping) == 2 * len(Mode)


def test_only_reset_leads_out_of_the_latched_modes():
    for row in core.modes_table():
        if row.mode == "stopped":
            assert (row.next_mode != "stopped") == (row.event == "reset")
        if row.mode == "fallback" and row.next_mode not in ("fallback", "stopped"):
            assert row.event == "reset"


def test_the_policy_commands_in_no_mode_but_active_and_the_step_into_it():
    for row in core.modes_table():
        if row.source == "policy":
            assert row.next_mode == "active"
            assert row.event in ("nominal", "operator-lost", "overrun", "switch", "prepare", "arm")


@pytest.mark.parametrize(("mode", "event"), [(len(Mode), 0), (0, len(Event)), (2**32 - 1, 0), (0, 2**32 - 1)])
def test_outside_the_table_is_the_safest_cell(mode, event):
    cell = structs.Transition(9, 9)
    assert core.library().erl_modes_transition(mode, event, ctypes.addressof(cell)) == Result.BAD
    assert (cell.source, cell.next) == (Source.LAPSE, Mode.STOPPED)


def test_names_end_where_the_enums_end():
    lib = core.library()
    for enum, name in [(Mode, lib.erl_mode_name), (Event, lib.erl_event_name), (Source, lib.erl_source_name)]:
        assert [name(i) for i in range(len(enum))] == [
            member.name.lower().replace("_", "-").encode() for member in enum
        ]
        assert name(len(enum)) is None
        assert name(2**32 - 1) is None
