"""A configuration that makes no sense is refused with its reason, by library and guardian alike."""

from __future__ import annotations

import math

import pytest

from edgerl.errors import GuardianError
from edgerl.runtime import core, structs
from edgerl.runtime.enums import MAX_COMMANDS, MAX_RING, MAX_STATES, MAX_WINDOW, Dtype, Source
from tests.core_world import BUDGET, PERIOD, small_config

HOUR = 3600 * 1_000_000_000


def test_the_small_configuration_is_valid():
    core.check_config(small_config())


def test_a_policy_that_observes_only_images_has_no_state_channel():
    core.check_config(small_config(state_count=0, element_count=0, term_count=0, observation_bytes=0))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"magic": 1}, "magic"),
        ({"version": 1}, "version"),
        ({"bytes": 8}, "size"),
        ({"state_count": MAX_STATES + 1}, "count of channels"),
        ({"command_count": 0}, "count of channels"),
        ({"command_count": MAX_COMMANDS + 1}, "count of channels"),
        ({"observation_bytes": 100}, "observation_bytes"),
        ({"observation_bytes": 16384 + 64}, "observation_bytes"),
        ({"ring_capacity": 1}, "count of channels"),
        ({"ring_capacity": MAX_RING + 1}, "count of channels"),
        ({"session": 0}, "session is 0"),
        ({"port": 2}, "robot port"),
        ({"authenticated": 2}, "robot port"),
        ({"authenticated": 1, "port": 1}, "robot port"),
        ({"authenticated": 1, "state_count": 355}, "robot port"),
        ({"period_ns": 0}, "a time is out of range"),
        ({"period_ns": 49_999}, "a time is out of range"),
        ({"valid_for_ns": PERIOD - 1}, "a time is out of range"),
        ({"valid_for_ns": HOUR + 1}, "a time is out of range"),
        ({"budget_ns": 0}, "a time is out of range"),
        ({"budget_ns": PERIOD + 1}, "a time is out of range"),
        ({"lead_ns": PERIOD + 1}, "a time is out of range"),
        ({"spin_ns": PERIOD + 1}, "a time is out of range"),
        ({"state_grace_ns": BUDGET}, "a time is out of range"),
        ({"state_timeout_ns": 0}, "a time is out of range"),
        ({"state_timeout_ns": HOUR + 1}, "a time is out of range"),
        ({"heartbeat_timeout_ns": HOUR + 1}, "a time is out of range"),
        ({"hold_ns": HOUR + 1}, "fallback ladder"),
        ({"safe_ns": HOUR + 1}, "fallback ladder"),
        ({"policy_divider": 2}, "policy_divider"),
        ({"action_delay": 2}, "action_delay"),
        ({"bucket_limit": 0}, "limit <= window"),
        ({"bucket_limit": 11}, "limit <= window"),
        ({"bucket_window": MAX_WINDOW + 1}, "limit <= window"),
        ({"arm_ticks": 0}, "arm_ticks"),
        ({"on_reject": Source.POLICY}, "on_reject"),
        ({"on_reject": Source.LADDER}, "on_reject"),
        ({"priority": -1}, "priority"),
        ({"priority": 100}, "priority"),
        ({"cpu": -2}, "cpu"),
        ({"cpu": 1024}, "cpu"),
    ],
)
def test_a_field_out_of_range_is_refused_by_name(fields, reason):
    with pytest.raises(GuardianError, match=reason):
        core.check_config(small_config(**fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"period_ns": 50_000, "budget_ns": 50_000, "lead_ns": 50_000, "spin_ns": 50_000},
        {"valid_for_ns": PERIOD},
        {"state_grace_ns": BUDGET - 1},
        {"bucket_limit": MAX_WINDOW, "bucket_window": MAX_WINDOW},
        {"priority": 99, "cpu": 1023},
        {"hold_ns": 0, "safe_ns": 0, "heartbeat_timeout_ns": 0},
        {"ring_capacity": MAX_RING},
        {"observation_bytes": 16384},
        {"state_timeout_ns": 1},
    ],
)
def test_the_ends_of_each_range_are_valid(fields):
    core.check_config(small_config(**fields))


@pytest.mark.parametrize(
    ("offset", "dtype", "valid"),
    [
        (60, Dtype.FLOAT32, True),
        (60, Dtype.INT32, True),
        (63, Dtype.UINT8, True),
        (64, Dtype.UINT8, False),
        (64, Dtype.FLOAT32, False),
        (61, Dtype.FLOAT32, False),
        (2, Dtype.INT32, False),
        (2**32 - 4, Dtype.FLOAT32, False),
        (0, 3, False),
    ],
)
def test_a_term_lies_aligned_within_the_record(offset, dtype, valid):
    config = small_config()
    config.terms[2] = structs.Term(2, 1, dtype, offset, 1, 4, 0, 0)
    if valid:
        core.check_config(config)
    else:
        with pytest.raises(GuardianError, match="observation term"):
            core.check_config(config)


def test_limits_that_contradict_themselves_are_refused():
    config = small_config()
    config.commands[1].safe = math.nan
    with pytest.raises(GuardianError, match="low <= safe <= high"):
        core.check_config(config)


def test_every_fault_has_words_and_no_other_number_has():
    names = [core.config_fault_name(fault) for fault in range(19)]
    assert len(set(names)) == 19
    assert core.config_fault_name(19) == "unknown"
