"""Two models are compared by what they say, what they hold and what they do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgerl import canonical
from edgerl.diff import Diff, diff_artifacts
from edgerl.errors import ModelError
from edgerl.lowering import lower
from edgerl.model import save_model
from edgerl.policy import Network
from tests.policies import choice_head, memory_policy, mlp

POLICY = mlp()
MODEL = lower(POLICY)


def test_a_model_does_not_differ_from_itself():
    diff = diff_artifacts(MODEL, lower(mlp()))
    assert diff.identical and diff.fields == diff.operators == diff.constants == ()
    assert [item.max_difference for item in diff.actions] == [0.0, 0.0] and diff.rows == 128


def test_a_changed_field_is_named_with_both_values():
    terms = replace(POLICY.spec.inputs[0].terms[0], unit="rad")
    inputs = (replace(POLICY.spec.inputs[0], terms=(terms,)),)
    spec = replace(POLICY.spec, period_ns=20_000_000, inputs=inputs, sources={})
    diff = diff_artifacts(MODEL, lower(replace(POLICY, spec=spec)))
    found = {item.field: (item.first, item.second) for item in diff.fields}
    assert found["period_ns"] == ("null", "20000000")
    assert found["inputs.observation.terms.observation.unit"] == ("null", '"rad"')
    assert found["sources.action"] == ('"checkpoint"', "(none)")
    assert not diff.identical and not diff.constants and max(item.max_difference for item in diff.actions) == 0


def test_a_changed_weight_is_named_with_its_largest_difference_and_moves_the_action():
    weight = POLICY.network.trunk[2].weight.copy()
    weight[1, 3] += np.float32(0.25)
    trunk = (*POLICY.network.trunk[:2], replace(POLICY.network.trunk[2], weight=weight))
    other = lower(replace(POLICY, network=Network(POLICY.network.encoders, trunk, POLICY.network.head)))
    diff = diff_artifacts(MODEL, other)
    assert [(item.name, item.max_difference) for item in diff.constants] == [("core/trunk.2_dense/weight", 0.25)]
    first, second = diff.actions
    assert first.max_difference == 0.0 and second.max_difference > second.tolerance > 0


def test_operators_are_counted_and_policies_that_cannot_run_side_by_side_are_not_run():
    diff = diff_artifacts(MODEL, lower(memory_policy()))
    counts = {item.operator: (item.first, item.second) for item in diff.operators}
    assert counts["Sigmoid"] == (0, 3) and counts["Clip"] == (2, 1)
    assert diff.actions == () and diff.rows == 0
    assert any(item.max_difference is None for item in diff.constants)


def test_wrong_choices_are_counted():
    one, other = (lower(mlp(seed=seed, head=choice_head(3))) for seed in (0, 1))
    (action,) = diff_artifacts(one, other, rows=64).actions
    assert 0 < action.max_difference <= 64 and action.tolerance == 0 and action.max_difference % 1 == 0


def test_paths_are_read_and_the_diff_is_canonical(tmp_path):
    save_model(MODEL, tmp_path / "a.onnx")
    save_model(lower(mlp(seed=2)), tmp_path / "b.onnx")
    diff = diff_artifacts(tmp_path / "a.onnx", tmp_path / "b.onnx")
    assert canonical.loads(Diff, canonical.dumps(diff), "diff") == diff
    with pytest.raises(ModelError):
        diff_artifacts(tmp_path / "a.onnx", tmp_path / "none.onnx")
