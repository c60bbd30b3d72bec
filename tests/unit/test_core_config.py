"""A configuration that makes no sense is refused with its reason, by library and guardian alike."""

from __future__ import annotations

import math

import pytest

from edgerl.errors import GuardianError
from edgerl.runtime import core, structs
from edgerl.runtime.enums import (
    MAX_COMMANDS,
    MAX_ELEMENTS,
    MAX_OPERATOR,
    MAX_RING,
    MAX_STATES,
    MAX_TERMS,
    MAX_WINDOW,
    Dtype,
    LadderClass,
    Source,
)
from tests.core_world import BUDGET, PERIOD, joint_config, set_ladder, small_config

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
        ({"action_count": 0}, "count of channels"),
        ({"action_count": MAX_COMMANDS + 1}, "count of channels"),
        ({"raw_count": MAX_COMMANDS + 1}, "count of channels"),
        ({"operator_count": MAX_OPERATOR + 1}, "count of channels"),
        ({"element_count": MAX_ELEMENTS + 1}, "count of channels"),
        ({"term_count": MAX_TERMS + 1}, "count of channels"),
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
        ({"inference_timeout_ns": HOUR + 1}, "a time is out of range"),
        ({"jitter_budget_ns": HOUR + 1}, "a time is out of range"),
        ({"operator_timeout_ns": HOUR + 1}, "a time is out of range"),
        ({"prepare_ns": HOUR + 1}, "a time is out of range"),
        ({"blend_ns": HOUR + 1}, "a time is out of range"),
        ({"hold_ns": HOUR + 1}, "fallback ladder"),
        ({"safe_ns": HOUR + 1}, "fallback ladder"),
        ({"policy_divider": 2}, "policy_divider"),
        ({"action_delay": 2}, "action_delay"),
        ({"action_delay": 1, "policy_divider": MAX_WINDOW + 1}, "action_delay"),
        ({"clock": 2}, "the clock is neither"),
        ({"inner_law": 2}, "the inner law is unknown"),
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


@pytest.mark.parametrize(
    "changes",
    [
        {"action": -1},
        {"measured": -1},
        {"measured_rate": -1},
        {"measured": 2},
        {"measured_rate": 2},
        {"role": 0},
        {"role": 6},
        {"pd": 2},
        {"kp": -1.0},
        {"kd": math.nan},
        {"prepare_kp": math.inf},
        {"prepare_kd": -1.0},
        {"damp_kd": math.nan},
        {"prepare": math.nan},
        {"prepare": 9.0, "target_high": 8.0},
        {"prepare": -9.0, "target_low": -8.0},
        {"prepare": math.inf},
        {"damp": 51.0},
        {"damp": -51.0},
        {"damp": math.nan},
        {"action": 1},
        {"action": -2},
    ],
)
def test_a_joint_without_a_whole_law_is_refused(changes):
    config = joint_config(pd=True)
    core.check_config(config)
    for name, value in changes.items():
        setattr(config.commands[0], name, value)
    with pytest.raises(GuardianError, match="a command channel needs"):
        core.check_config(config)


@pytest.mark.parametrize(
    ("channel", "changes"),
    [
        (1, {"nominal": 101.0}),
        (1, {"nominal": -1.0}),
        (0, {"prepare": 3.0}),
        (0, {"prepare": -3.0}),
        (0, {"damp": 3.0}),
    ],
)
def test_what_is_sent_without_the_policy_lies_within_the_limits(channel, changes):
    config = joint_config(pd=False, prepare_ns=PERIOD)
    core.check_config(config)
    for name, value in changes.items():
        setattr(config.commands[channel], name, value)
    with pytest.raises(GuardianError, match="a command channel needs"):
        core.check_config(config)


def test_what_would_be_infinite_is_refused_where_the_limits_are():
    config = joint_config(pd=False, prepare_ns=PERIOD)
    config.commands[0].high = config.commands[0].prepare = math.inf
    with pytest.raises(GuardianError, match="a command channel needs"):
        core.check_config(config)


@pytest.mark.parametrize(
    ("ladder", "source", "valid"),
    [
        (LadderClass.POLICY, Source.STANDBY, True),
        (LadderClass.MACHINE, Source.STANDBY, True),
        (LadderClass.STATE, Source.STANDBY, False),
        (LadderClass.STATE, Source.DAMP, True),
        (LadderClass.POLICY, Source.LAPSE, True),
        (LadderClass.POLICY, Source.RAMP, False),
        (LadderClass.POLICY, Source.POLICY, False),
        (LadderClass.MACHINE, Source.LADDER, False),
    ],
)
def test_a_rung_is_one_that_its_ladder_may_have(ladder, source, valid):
    config = small_config()
    set_ladder(config, ladder, (source, PERIOD))
    if valid:
        core.check_config(config)
    else:
        with pytest.raises(GuardianError, match="fallback ladder"):
            core.check_config(config)


@pytest.mark.parametrize("count", [5, 2**32 - 1])
def test_a_ladder_has_four_rungs_at_most(count):
    config = small_config()
    config.ladders[0].count = count
    with pytest.raises(GuardianError, match="fallback ladder"):
        core.check_config(config)


def test_a_standby_rung_has_an_end_too():
    config = small_config()
    set_ladder(config, LadderClass.POLICY, (Source.STANDBY, HOUR + 1))
    with pytest.raises(GuardianError, match="fallback ladder"):
        core.check_config(config)
