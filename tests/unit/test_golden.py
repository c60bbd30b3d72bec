"""A golden set reaches the limits, is the same bytes every time, and finds a runner that acts differently."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgerl.backends.onnxruntime import OnnxRuntimeRunner
from edgerl.errors import EdgerlError, GoldenError
from edgerl.golden import check_golden, load_golden, read_golden, save_golden, save_golden_bytes, verify_golden
from edgerl.golden.reach import reach_of
from edgerl.golden.rows import MAX_INPUT_BYTES, MIN_ROWS, make_golden
from edgerl.lowering import lower
from edgerl.oracle import run_oracle
from edgerl.policy import Concat, Dense, Flatten, Network, Normalize, OneHot, Policy, Transpose
from edgerl.spec import History, Input, Term
from edgerl.truth import Truth
from tests.policies import box, box_head, choice_head, dense, memory_policy, mlp, rng, spec_of, vector_policy

MODEL = lower(mlp())
GOLDEN = make_golden(MODEL, rows=32)


def truth_of(model, rows=40, starts=None):
    inputs = {item.name: rng(9).standard_normal((rows, *item.shape)).astype(np.float32) for item in model.spec.inputs}
    starts = np.arange(rows) % 8 == 3 if starts is None else starts
    action = run_oracle(model, inputs, starts).action.astype(np.float64)
    return Truth("truth.npz", "0" * 64, "action", inputs, action, starts, {}, {})


def runner(model=MODEL):
    return OnnxRuntimeRunner(model.onnx, model.spec)


def test_every_channel_goes_below_at_between_at_and_above_its_clip():
    policy = mlp(size=7)
    model = lower(policy)
    block = policy.network.encoders["observation"][0]
    golden = make_golden(model, rows=64)
    units = (golden.inputs["observation"] - block.mean) / block.divisor
    low, high = block.clip
    for channel in units.T:
        assert channel.min() < low * 1.1 and channel.max() > high * 1.1
        assert np.isclose(channel, low, rtol=1e-4).any() and np.isclose(channel, high, rtol=1e-4).any()
        assert (np.abs(channel) < 3).sum() > 16


def test_an_image_is_black_white_and_noise_and_choices_take_turns():
    head = choice_head(3)
    inputs = [box("observation.image", 4, 5, 3, dtype="uint8"), box("observation.phase", 1, dtype="int32")]
    encoders = {
        "observation.image": (
            Transpose((2, 0, 1)),
            Normalize(np.zeros(()), np.array(255.0**2), 0.0, True, None),
            Flatten(),
        ),
        "observation.phase": (OneHot((4,)),),
    }
    trunk = (Concat(("observation.image", "observation.phase")), dense(rng(), 3, 64))
    golden = make_golden(lower(Policy(spec_of(inputs, head), Network(encoders, trunk, head))), rows=24)
    images = golden.inputs["observation.image"]
    assert images.dtype == np.uint8 and (images[0] == 0).all() and (images[1] == 255).all() and images[2].std() > 50
    assert sorted(set(golden.inputs["observation.phase"].ravel().tolist())) == [0, 1, 2, 3]


def test_reach_follows_a_transposed_image_with_statistics_of_its_own():
    mean = rng().standard_normal((3, 4, 5))
    spec = spec_of([box("observation", 4, 5, 3)], box_head(60, clip=False))
    encoder = (Transpose((2, 0, 1)), Normalize(mean, np.full((3, 4, 5), 4.0), 0.0, True, (-2.0, 3.0)), Flatten())
    model = lower(Policy(spec, Network({"observation": encoder}, (), box_head(60, clip=False))))
    reach = reach_of(model, model.spec.inputs[0])
    np.testing.assert_allclose(reach.centre, mean.transpose(1, 2, 0), atol=1e-6)
    assert (reach.spread == 2.0).all() and reach.clip == (-2.0, 3.0)


def test_values_that_the_assembler_would_clip_are_never_asked():
    term = Term(
        "q", 0, 4, "opaque", None, None, (), None, None, (-1.0, 1.0), History(2, "oldest_first", "term_major", "zeros")
    )
    policy = vector_policy([dense(rng(), 2, 4)], box_head(2), 4)
    inputs = (Input("observation", (4,), "float32", 0, (term,)),)
    golden = make_golden(lower(replace(policy, spec=replace(policy.spec, inputs=inputs))), rows=40)
    assert np.abs(golden.inputs["observation"]).max() == 1.0


def test_recorded_rows_come_first_from_a_start_and_keep_their_order():
    truth = truth_of(MODEL)
    golden = make_golden(MODEL, truth, rows=20)
    assert golden.trainer_rows.tolist() == [True] * 10 + [False] * 10
    assert np.array_equal(golden.inputs["observation"][:10], truth.inputs["observation"][3:13])
    np.testing.assert_array_equal(golden.expected_trainer[:10], truth.action[3:13].astype(np.float32))
    assert golden.episode_start[:10].tolist() == truth.episode_start[3:13].tolist() and golden.episode_start[10]


def test_without_truth_there_is_no_trainers_action():
    assert GOLDEN.expected_trainer is None and not GOLDEN.trainer_rows.any() and GOLDEN.episode_start[0]


def test_large_observations_make_a_smaller_set():
    head = box_head(1)
    spec = spec_of([box("observation", 640, 480, 3, dtype="uint8")], head)
    blocks = (Transpose((2, 0, 1)), Flatten())
    weight = np.zeros((1, 640 * 480 * 3), np.float32)
    golden = make_golden(lower(Policy(spec, Network({"observation": blocks}, (Dense(weight, None),), head))))
    assert golden.rows == max(MIN_ROWS, MAX_INPUT_BYTES // spec.record_size) == MIN_ROWS


def test_the_same_model_and_seed_give_the_same_bytes_and_another_seed_others():
    again = save_golden_bytes(make_golden(lower(mlp()), rows=32))
    assert again == save_golden_bytes(GOLDEN)
    assert again != save_golden_bytes(make_golden(MODEL, rows=32, seed=1))


@pytest.mark.parametrize("policy", [mlp(), memory_policy("gru", 2), mlp(head=choice_head(3, 2))])
def test_a_saved_set_reads_back_equal(policy, tmp_path):
    model = lower(policy)
    golden = make_golden(model, rows=24)
    save_golden(golden, tmp_path / "x.golden.npz")
    loaded = load_golden(tmp_path / "x.golden.npz")
    assert loaded.digest == golden.digest and loaded.model == model.digest
    assert list(loaded.inputs) == list(golden.inputs) and list(loaded.state) == list(golden.state)
    assert loaded.expected_float32.dtype == golden.expected_float32.dtype
    assert verify_golden(runner(model), loaded).status == "passed"


def test_the_file_holds_no_pickle_and_no_date():
    with zipfile.ZipFile(io.BytesIO(save_golden_bytes(GOLDEN))) as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    loaded = np.load(io.BytesIO(save_golden_bytes(GOLDEN)), allow_pickle=False)
    assert "expected.float32" in loaded.files and loaded["input.observation"].shape == (32, 5)


def test_another_model_does_not_reproduce_the_set():
    verdict = verify_golden(runner(lower(mlp(seed=4))), GOLDEN)
    assert verdict.status == "failed" and max(verdict.max_error) > verdict.tolerance[0]
    assert f"row {verdict.worst_row}, channel {verdict.worst_channel}" in verdict.describe()


def test_a_runner_is_held_to_the_tolerance_that_is_given():
    expected = GOLDEN.expected_float32 + np.float32(1e-3)
    assert verify_golden(runner(), GOLDEN, expected=expected).status == "failed"
    assert verify_golden(runner(), GOLDEN, tolerance=[2e-3] * 2, expected=expected).status == "passed"


class Broken:
    """A runner that answers NaN in one row."""

    def __init__(self, inner, row):
        self.inner, self.left = inner, row
        self.inputs, self.outputs, self.state = inner.inputs, inner.outputs, inner.state

    def reset(self):
        self.inner.reset()

    def infer(self):
        self.inner.infer()
        self.left -= 1
        if self.left == 0:
            self.outputs["action"][0, 1] = np.nan


def test_nan_is_infinitely_wrong():
    verdict = verify_golden(Broken(runner(), 6), GOLDEN)
    assert (verdict.status, verdict.worst_row, verdict.worst_channel, verdict.found) == ("failed", 5, 1, None)
    assert verdict.max_error[1] == np.inf


def test_memory_is_run_as_sequences_and_reset_at_their_starts():
    model = lower(memory_policy())
    golden = make_golden(model, rows=80)
    assert golden.episode_start.sum() == 3 and golden.state["state.memory.h"].shape == (80, 1, 1, 6)
    one = runner(model)
    assert verify_golden(one, golden).status == "passed"
    initial = np.reshape(model.spec.state[0].initial, (1, 1, 6)).astype(np.float32)
    np.testing.assert_array_equal(one.state["state.memory.h"], initial)
    forgetful = replace(golden, episode_start=np.arange(80) == 0)
    assert verify_golden(runner(model), forgetful).status == "failed"


def test_choices_that_rounding_decides_are_not_demanded():
    head = choice_head(2)
    model = lower(vector_policy([], head, 2))
    golden = make_golden(model, rows=16)
    tied = golden.inputs["observation"].copy()
    tied[:] = 0.5
    run = run_oracle(model, {"observation": tied}, golden.episode_start)
    truth = Truth(
        "t", "0" * 64, "action", {"observation": tied}, run.action.astype(np.int64), golden.episode_start, {}, {}
    )
    golden = make_golden(model, truth, rows=16)
    assert not golden.decided[:8].any() and golden.decided[8:].any()
    flipped = np.where(golden.decided, golden.expected_float32, 1 - golden.expected_float32)
    assert verify_golden(runner(model), golden, expected=flipped).status == "passed"
    assert verify_golden(runner(model), golden, expected=1 - golden.expected_float32).status == "failed"


def with_arrays(**changes):
    with zipfile.ZipFile(io.BytesIO(save_golden_bytes(GOLDEN))) as archive:
        arrays = {name.removesuffix(".npy"): np.load(io.BytesIO(archive.read(name))) for name in archive.namelist()}
    arrays |= {name.replace("__", "."): array for name, array in changes.items()}
    buffer = io.BytesIO()
    np.savez(buffer, **{name: array for name, array in arrays.items() if array is not None})
    return buffer.getvalue()


@pytest.mark.parametrize(("changes", "message"), [
    ({"schema": np.asarray(2)}, "schema is 2"),
    ({"model": None}, "no array 'model'"),
    ({"decided": np.ones((3, 2), bool)}, "'decided' is bool"),
    ({"tolerance": np.zeros(2, np.float32)}, "'tolerance' is float32"),
    ({"expected__float32": np.zeros((32, 2))}, "expected.float32"),
    ({"input__observation": np.zeros((3, 5), np.float32)}, "expected 32 rows"),
    ({"other": np.zeros(1)}, "unknown array 'other'"),
    ({"episode_start": np.zeros(32, bool)}, "no start"),
    ({"episode_start": np.zeros(0, bool)}, "no start"),
])  # fmt: skip
def test_a_changed_set_is_refused_with_what_is_wrong(changes, message):
    with pytest.raises(GoldenError, match=message):
        read_golden(with_arrays(**changes), "x.golden.npz")


@pytest.mark.parametrize(("changes", "message"), [
    ({"input__observation": None}, "'input observation' is None"),
    ({"input__observation": np.zeros((32, 1), np.float32)}, "'input observation'"),
    ({"input__other": np.zeros((32, 5), np.float32)}, "'input other'"),
    ({"after__state.h": np.zeros((32, 5), np.float32)}, "'state state.h'"),
    ({"expected__float32": np.zeros((32, 2), np.int32)}, "'action'"),
    ({"tolerance": np.array([np.inf, 1e-5])}, "tolerances"),
    ({"tolerance": np.array([1e-5, np.nan])}, "tolerances"),
    ({"tolerance": np.array([1e-5, -1.0])}, "tolerances"),
])  # fmt: skip
def test_a_set_of_another_spec_or_that_any_answer_would_satisfy_is_refused(changes, message):
    golden = read_golden(with_arrays(**changes), "x")
    with pytest.raises(GoldenError, match=message):
        check_golden(golden, MODEL.spec, "x")


def test_the_models_own_set_is_of_its_spec():
    check_golden(GOLDEN, MODEL.spec, "x")


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=40), st.integers(0, 6000))
def test_random_bytes_are_refused_with_one_of_our_errors(noise, position):
    data = bytearray(save_golden_bytes(GOLDEN))
    position %= len(data)
    data[position : position + len(noise)] = noise
    try:
        read_golden(bytes(data), "x")
    except EdgerlError:
        return
