"""Parity says how far an export is from the trainer, per channel, and never lets NaN pass."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from edgerl import canonical
from edgerl.errors import ParityFailed
from edgerl.lowering import lower
from edgerl.oracle import run_oracle
from edgerl.parity import NOT_RUN, ParityReport, check_parity, require_parity, tolerances
from edgerl.policy import ActionMap, Dense
from edgerl.truth import Truth
from tests.policies import box_head, choice_head, memory_policy, mlp, rng, vector_policy


def truth_of(model, rows: int = 40, starts=None) -> Truth:
    """What the model itself says, as if a trainer had."""
    inputs = {item.name: rng(5).standard_normal((rows, *item.shape)).astype(np.float32) for item in model.spec.inputs}
    starts = np.arange(rows) % 10 == 0 if starts is None else starts
    run = run_oracle(model, inputs, starts)
    wide = np.float64 if model.spec.action.kind == "continuous" else np.int64
    before = {name: np.concatenate([np.full_like(array[:1], 9.0), array[:-1]]) for name, array in run.state.items()}
    return Truth("truth.npz", "0" * 64, "action", inputs, run.action.astype(wide), starts, before, dict(run.state))


def nudged(truth: Truth, row: int, channel: int, by: float) -> Truth:
    action = truth.action.copy()
    action[row, channel] += by
    return replace(truth, action=action)


def test_equal_actions_pass_and_the_report_reads_back():
    model = lower(mlp())
    report = check_parity(model, truth_of(model))
    assert report.status == "passed" and report.rows == 40 and [item.max_error for item in report.channels] == [0, 0]
    assert canonical.loads(ParityReport, canonical.dumps(report), "report") == report
    require_parity(report)


def test_the_tolerance_is_a_part_of_the_actions_range():
    spec = lower(mlp(head=box_head(2, -3.0, 5.0))).spec
    assert tolerances(spec, np.zeros((1, 2))).tolist() == [8e-5, 8e-5]
    head = ActionMap("continuous", (-1.0, -math.inf), (1.0, math.inf))
    unbounded = vector_policy([], head, 2).spec
    assert tolerances(unbounded, np.array([[0.5, -20.0], [0.1, 3.0]])).tolist() == [2e-5, pytest.approx(2e-4)]
    assert tolerances(unbounded, np.array([[0.5, 0.25]])).tolist() == [2e-5, 1e-5]


def test_a_difference_just_inside_passes_and_just_outside_fails_with_row_and_channel():
    model = lower(mlp())
    truth = truth_of(model)
    assert check_parity(model, nudged(truth, 17, 1, 1.9e-5)).status == "passed"
    report = check_parity(model, nudged(truth, 17, 1, 2.2e-5))
    assert report.status == "failed"
    assert [(item.worst_row, item.wrong) for item in report.channels][1] == (17, 1)
    with pytest.raises(ParityFailed, match=r"row 17, action channel 1 .*1 of 40 rows") as caught:
        require_parity(report)
    assert caught.value.exit_code == 3
    assert repr(report.channels[1].expected) in str(caught.value) and repr(report.channels[1].found) in str(
        caught.value
    )


def test_channels_with_names_are_named():
    policy = mlp()
    named = replace(policy, spec=replace(policy.spec, action=replace(policy.spec.action, names=("hip", "knee"))))
    model = lower(named)
    with pytest.raises(ParityFailed, match=r"action channel 0 \('hip'\)"):
        require_parity(check_parity(model, nudged(truth_of(model), 3, 0, 1.0)))


def test_nan_from_the_export_is_infinitely_wrong():
    weight = np.full((1, 1), np.float32(3e38))
    last = Dense(-weight, np.array([np.inf], np.float32))  # -inf + inf
    model = lower(vector_policy([Dense(weight, None), Dense(weight, None), last], box_head(1), 1))
    inputs = {"observation": np.ones((2, 1), np.float32)}
    truth = Truth("t", "", "action", inputs, np.ones((2, 1)), np.ones(2, bool), {}, {})
    report = check_parity(model, truth)
    assert report.status == "failed" and report.channels[0].max_error == math.inf and report.channels[0].found is None
    assert canonical.loads(ParityReport, canonical.dumps(report), "report") == report
    with pytest.raises(ParityFailed, match="nan"):
        require_parity(report)


@pytest.mark.parametrize("head", [choice_head(3), choice_head(2, 4), ActionMap("multi_binary", (0.0,) * 2, (1.0,) * 2)])
def test_a_wrong_choice_fails(head):
    model = lower(mlp(channels=len(head.low), head=head))
    truth = truth_of(model)
    assert check_parity(model, truth).status == "passed"
    flipped = truth.action.copy()
    flipped[7, -1] = (flipped[7, -1] + 1) % 2
    report = check_parity(model, replace(truth, action=flipped))
    assert report.status == "failed" and report.near_tie_count == 0
    with pytest.raises(ParityFailed, match=f"row 7, action channel {len(head.low) - 1}"):
        require_parity(report)


def choosing(*logits: list[float]) -> tuple:
    """A model that chooses between logits which it observes, and its truth."""
    model = lower(vector_policy([], choice_head(len(logits[0])), len(logits[0])))
    rows = np.array(logits, np.float32)
    return model, {"observation": rows}, np.ones(len(rows), bool)


def test_near_ties_are_counted_and_listed_and_do_not_fail():
    model, inputs, starts = choosing([10.0, 10.00005, 0.0], [1.0, 2.0, 0.0])
    report = check_parity(model, Truth("t", "", "action", inputs, np.array([[0], [1]]), starts, {}, {}))
    assert report.status == "passed" and report.near_tie_count == 1
    tie = report.near_ties[0]
    assert (tie.row, tie.channel, tie.expected, tie.found) == (0, 0, 0, 1) and 0 < tie.margin < 1e-5


def test_a_choice_that_is_not_one_of_the_tied_fails_beside_a_tie():
    model, inputs, starts = choosing([10.0, 10.00005, 0.0])
    assert check_parity(model, Truth("t", "", "action", inputs, np.array([[2]]), starts, {}, {})).status == "failed"
    assert check_parity(model, Truth("t", "", "action", inputs, np.array([[7]]), starts, {}, {})).status == "failed"


def test_a_margin_just_past_the_limit_is_a_wrong_choice():
    model, inputs, starts = choosing([10.0, 10.0002, 0.0])
    assert check_parity(model, Truth("t", "", "action", inputs, np.array([[0]]), starts, {}, {})).status == "failed"


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_memory_is_run_freely_from_each_start_and_step_by_step_from_the_trainers_state(cell):
    model = lower(memory_policy(cell, 2))
    truth = truth_of(model)  # its state_in at a start is not reset: the model must do that
    report = check_parity(model, truth)
    assert report.status == "passed" and report.state_status == "passed"
    assert [item.name for item in report.state] == [item.name for item in model.spec.state]
    late = replace(truth, episode_start=truth.episode_start & (np.arange(40) != 20))
    assert check_parity(model, late).status == "failed"


def test_a_wrong_state_fails_even_where_the_action_is_right():
    model = lower(memory_policy())
    truth = truth_of(model)
    out = {name: array.copy() for name, array in truth.state_out.items()}
    out["state.memory.c"][12] += 1e-3
    report = check_parity(model, replace(truth, state_out=out))
    assert report.status == "failed" and report.state_status == "failed"
    with pytest.raises(ParityFailed, match=r"row 12, state\.memory\.c"):
        require_parity(report)


def test_a_recording_that_begins_in_an_episode_begins_with_its_state():
    model = lower(memory_policy())
    whole = truth_of(model)
    cut = slice(5, 20)
    part = Truth(
        "t", "", "action", {name: array[cut] for name, array in whole.inputs.items()}, whole.action[cut],
        whole.episode_start[cut], {name: array[cut] for name, array in whole.state_in.items()},
        {name: array[cut] for name, array in whole.state_out.items()},
    )  # fmt: skip
    assert check_parity(model, part).status == "passed"


def test_without_states_in_the_truth_the_state_gate_is_not_run():
    model = lower(memory_policy())
    report = check_parity(model, replace(truth_of(model), state_in={}, state_out={}))
    assert report.status == "passed" and report.state_status == "not_run" and report.state == ()


def test_no_truth_is_not_run_and_does_not_raise():
    assert NOT_RUN.status == "not_run" and "no truth" in NOT_RUN.against
    require_parity(NOT_RUN)
