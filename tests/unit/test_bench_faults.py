"""The witness and the judge of the fault benchmark on made-up runs: right ones pass, each wrong one is seen."""

from __future__ import annotations

import numpy as np
import pytest

from edgerl.bench.fault_kinds import KINDS
from edgerl.bench.fault_trials import Injection
from edgerl.bench.faults import reaction_of
from edgerl.bench.robot import CommandFlag
from edgerl.bench.witness import examine
from edgerl.runtime.enums import Event, Mode, Source
from tests.bench_world import BEGIN, PERIOD, MadeUpRun

BY_NAME = {kind.name: kind for kind in KINDS}


def held() -> MadeUpRun:
    """A run whose tick 10 had no action in time."""
    run = MadeUpRun()
    run.meet(10, Event.ACTION_LATE, Source.HOLD, Mode.ACTIVE)
    return run


def look(run: MadeUpRun, commands: np.ndarray | None = None):
    return examine(run.records, run.commands() if commands is None else commands, low=-2.0, high=2.0)


def test_a_run_as_the_table_says_has_nothing_wrong():
    found = look(held())
    assert (found.commands, found.unsafe, found.stale, found.out_of_order, found.missing) == (30, 0, 0, 0, 0)
    assert found.first == ""


def test_the_answer_to_an_earlier_state_is_stale():
    run = MadeUpRun()
    run.records["command"][10] = run.records["command"][9]
    found = look(run)
    assert found.stale == 1
    assert "stale: command 11" in found.first


@pytest.mark.parametrize("value", [np.nan, np.inf, 2.5, -2.5])
def test_a_value_that_no_limit_allows_is_unsafe(value):
    run = MadeUpRun()
    run.records["command"][10, 3] = value
    assert look(run).unsafe == 1


def test_a_held_command_that_is_another_one_is_unsafe():
    run = held()
    run.records["command"][10] = run.records["command"][4]
    assert look(run).unsafe == 1


def test_what_has_lapsed_is_not_held_but_its_safe_value_is():
    run = held()
    for name in ("tick_ns", "scheduled_ns", "start_ns", "write_ns"):
        run.records[name][10:] += 5 * PERIOD
    assert look(run).unsafe == 1
    run.records["command"][10] = 0.0
    assert look(run).unsafe == 0


def test_commands_that_answer_one_old_state_run_out_with_it():
    run = MadeUpRun()
    valid = int(run.commands()["valid_for_ns"][0]) // PERIOD
    lost = range(10, 11 + valid)
    for tick in lost:
        run.meet(tick, Event.STATE_LOST, Source.HOLD, Mode.ACTIVE)
        run.records["state_sequence"][tick] = run.records["state_sequence"][9]
        run.records["command"][tick] = run.records["command"][9]
    assert look(run).unsafe == 1
    run.records["command"][lost[-1]] = 0.0
    assert look(run).unsafe == 0


def test_a_command_on_the_wire_that_is_not_the_one_written_is_unsafe():
    run = MadeUpRun()
    commands = run.commands()
    commands["mode"][3] = Mode.SAFE
    assert look(run, commands).unsafe == 1


def test_a_source_that_the_table_does_not_name_is_unsafe():
    run = MadeUpRun()
    run.meet(10, Event.ACTION_LATE, Source.SAFE, Mode.ACTIVE)
    found = look(run)
    assert found.unsafe == 1
    assert found.first == "tick 10: ACTION_LATE in ACTIVE gave SAFE"


def test_a_mode_that_the_table_does_not_name_is_unsafe():
    run = MadeUpRun()
    run.meet(10, Event.STATE_FAULT, Source.HOLD, Mode.ACTIVE)
    assert look(run).unsafe == 1


def test_commands_that_got_lost_or_went_out_of_order_are_counted():
    run = MadeUpRun()
    commands = run.commands()
    assert look(run, commands[:-2]).missing == 2
    commands["flags"][5] = CommandFlag.ECHO_MATCHES
    commands["flags"][6] = CommandFlag.IN_ORDER
    assert look(run, commands).out_of_order == 2


def coded(name: str, sequence: int) -> Injection:
    return Injection(BY_NAME[name], 0, 0, sequence)


def test_a_late_action_is_answered_after_its_deadline():
    found = reaction_of(held().trials(()), coded("sleep", 11))
    assert found is not None
    assert found.right and not found.stalled
    assert found.excess_ns == 41_000  # written 40 µs after the budget, and 1 µs on the way


def test_a_lost_state_falls_into_the_tick_after_the_last_one():
    run = MadeUpRun()
    run.records["state_sequence"][10] = 10
    run.records["observed"][10] = 0
    run.meet(10, Event.STATE_LOST, Source.HOLD, Mode.ACTIVE)
    found = reaction_of(run.trials(()), coded("lost datagrams", 11))
    assert found is not None and found.right


def frozen(seen_at: int | None) -> MadeUpRun:
    """A run whose states 11 to 25 are the same, which tick ``seen_at`` sees."""
    run = MadeUpRun()
    if seen_at is not None:
        run.meet(seen_at, Event.STATE_FROZEN, Source.HOLD, Mode.FALLBACK)
    return run


@pytest.mark.parametrize(("seen_at", "right"), [(14, True), (13, True), (15, False), (None, False)])
def test_a_frozen_state_must_be_recognized_in_time(seen_at, right):
    found = reaction_of(frozen(seen_at).trials(()), coded("frozen state", 11))
    assert found is not None and found.right is right


def test_a_frozen_state_that_was_slept_through_needs_as_many_as_were_taken():
    run = frozen(15)
    run.records["observed"][12] = 0
    found = reaction_of(run.trials(()), coded("frozen state", 11))
    assert found is not None and found.right


def test_a_fault_that_nothing_followed_from_is_wrong():
    found = reaction_of(MadeUpRun().trials(()), coded("sleep", 11))
    assert found is not None and not found.right


def test_a_fault_that_was_met_with_another_event_is_wrong():
    run = MadeUpRun()
    run.meet(10, Event.REJECT, Source.HOLD, Mode.ACTIVE)
    found = reaction_of(run.trials(()), coded("sleep", 11))
    assert found is not None and not found.right


def test_a_tick_without_a_command_is_wrong():
    run = held()
    run.records["write_ns"][10] = 0
    found = reaction_of(run.trials(()), coded("sleep", 11))
    assert found is not None and not found.right


def test_a_state_that_was_never_taken_makes_no_trial():
    run = held()
    run.records["state_sequence"][10] = 12
    assert reaction_of(run.trials(()), coded("sleep", 11)) is None


def test_a_tick_that_woke_late_itself_is_told_apart():
    run = held()
    run.records["start_ns"][11] = run.records["scheduled_ns"][11] + 150_000
    found = reaction_of(run.trials(()), coded("sleep", 11))
    assert found is not None and found.right and found.stalled


def killed(run: MadeUpRun, tick: int, name: str = "SIGKILL") -> Injection:
    at = BEGIN + tick * PERIOD - 300_000
    return Injection(BY_NAME[name], at, at + 5_000, None)


def test_a_dead_policy_whose_action_still_went_out_is_wrong():
    run = MadeUpRun()
    run.meet(11, Event.ACTION_LATE, Source.HOLD, Mode.ACTIVE)
    found = reaction_of(run.trials(()), killed(run, 10))
    assert found is not None and not found.right
    run.meet(10, Event.ACTION_LATE, Source.HOLD, Mode.ACTIVE)
    found = reaction_of(run.trials(()), killed(run, 10))
    assert found is not None and found.right


def test_a_loop_goes_on_without_its_supervisor_until_something_is_amiss():
    run = MadeUpRun()
    run.meet(14, Event.ACTION_LATE, Source.HOLD, Mode.ACTIVE)
    found = reaction_of(run.trials(()), killed(run, 10, "supervisor killed"))
    assert found is not None and found.right
    found = reaction_of(MadeUpRun().trials(()), killed(run, 10, "supervisor killed"))
    assert found is not None and not found.right
