"""Standstills in runs that were made up: what the record must have counted, and what would be a burst."""

from __future__ import annotations

import numpy as np

from edgerl.bench.stall import Standstills, standstills_in
from tests.bench_world import PERIOD, MadeUpRun

TICKS, AT, MISSED = 120, 50, 119


def stopped() -> MadeUpRun:
    """A run that stood still before tick 50 and skipped 119 periods."""
    run = MadeUpRun(TICKS)
    for name in ("scheduled_ns", "start_ns", "write_ns"):
        run.records[name][AT:] += MISSED * PERIOD
    run.records["start_ns"][AT] += 700_000
    run.records["write_ns"][AT] += 700_000
    run.records["missed_periods"][AT] = MISSED
    return run


def seen(run: MadeUpRun) -> Standstills:
    return standstills_in(run.records, run.commands(), PERIOD)


def test_a_standstill_that_was_counted_has_nothing_wrong():
    found = seen(stopped())
    assert (found.found, found.burst, found.miscounted, found.extra_commands) == (1, 0, 0, 0)
    assert found.gaps_ns.tolist() == [MISSED * PERIOD + PERIOD + 700_000]


def test_a_missed_period_that_was_not_counted_is_seen():
    run = stopped()
    run.records["missed_periods"][AT] -= 1
    assert seen(run).miscounted == 1


def test_periods_that_were_replayed_are_a_burst():
    run = stopped()
    for name in ("start_ns", "write_ns"):  # five ticks within one period
        run.records[name][AT + 1 : AT + 6] = run.records[name][AT] + 1000 * np.arange(1, 6)
        run.records[name][AT + 6 :] -= np.uint64(5 * PERIOD)
    run.records["scheduled_ns"][AT + 6 :] -= np.uint64(5 * PERIOD)
    found = seen(run)
    assert found.burst >= 5
    assert found.extra_commands >= 4
