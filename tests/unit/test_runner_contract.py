"""What every backend's runner must do; a backend is added to the contract by being installed."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from edgerl.backends import backend_names, build, check_runner, find_backend
from edgerl.golden import verify_golden
from edgerl.golden.rows import make_golden
from edgerl.lowering import lower
from edgerl.policy import Concat, Flatten, Network, Normalize, OneHot, Policy, Transpose
from edgerl.target import Target
from tests.policies import box, box_head, choice_head, dense, memory_policy, mlp, rng, spec_of, vector_policy


def dict_policy() -> Policy:
    """An image, a choice and a vector."""
    inputs = [
        box("observation.image", 4, 5, 3, dtype="uint8"),
        box("observation.phase", 1, dtype="int32"),
        box("observation.vector", 2),
    ]
    scale = Normalize(np.zeros(()), np.array(255.0**2), 0.0, True, None)
    encoders = {
        "observation.image": (Transpose((2, 0, 1)), scale, Flatten()),
        "observation.phase": (OneHot((4,)),),
        "observation.vector": (),
    }
    names = tuple(item.name for item in inputs)
    head = choice_head(3, 2)
    return Policy(spec_of(inputs, head), Network(encoders, (Concat(names), dense(rng(), 5, 66)), head))


POLICIES = {
    "continuous": mlp(),
    "raw": vector_policy([dense(rng(), 2, 3)], box_head(2), 3, raw=True),
    "discrete": mlp(head=choice_head(4)),
    "dict": dict_policy(),
    "lstm": memory_policy("lstm", 2),
    "gru": memory_policy("gru"),
}
BACKENDS = dict.fromkeys(backend_names(), ("float32",))
TARGET = Target(1, "here", "this machine", "x86_64", "linux", (), BACKENDS, 1, 10**9, "for tests")
CASES = [(backend, policy) for backend in backend_names() for policy in POLICIES]


@pytest.fixture(params=CASES, ids="-".join)
def case(request):
    """A backend, a model and a fresh runner of it, or a skip with the backend's reason."""
    name, policy = request.param
    backend, model = find_backend(name), lower(POLICIES[policy])
    if backend.compile_on != "host":
        pytest.skip(f"{name} compiles on its target only")
    refusals = [finding.what for finding in backend.preflight(model, TARGET) if finding.severity == "refusal"]
    if refusals:
        pytest.skip(f"{name} refuses this model: {refusals[0]}")
    return model, backend.load(backend.compile(model, TARGET)), backend


def fill(runner, seed: int) -> None:
    random = np.random.default_rng(seed)
    for array in runner.inputs.values():
        array[...] = (
            random.integers(0, 4, array.shape) if array.dtype.kind in "iu" else random.standard_normal(array.shape)
        )


def test_its_arrays_are_those_of_the_spec(case):
    model, runner, _ = case
    check_runner(runner, model.spec, "it")


def test_its_arrays_are_the_engines_own_memory_and_stay_the_same(case):
    _, runner, _ = case
    groups = (runner.inputs, runner.outputs, runner.state)
    before = [(name, array.ctypes.data) for group in groups for name, array in group.items()]
    fill(runner, 1)
    runner.infer()
    runner.reset()
    assert before == [(name, array.ctypes.data) for group in groups for name, array in group.items()]


def test_it_reads_what_is_written_into_its_inputs(case):
    _, runner, _ = case
    answers = []
    for seed in range(12):
        runner.reset()
        fill(runner, seed)
        runner.infer()
        answers.append(runner.outputs["action"].tobytes())
    assert len(set(answers)) > 1


def test_the_same_observation_after_a_reset_gives_the_same_action(case):
    _, runner, _ = case
    fill(runner, 3)
    runner.reset()
    runner.infer()
    first = {name: array.copy() for name, array in runner.outputs.items()}
    for seed in (4, 5):
        fill(runner, seed)
        runner.infer()
    fill(runner, 3)
    runner.reset()
    runner.infer()
    for name, array in runner.outputs.items():
        np.testing.assert_array_equal(array, first[name])


def test_it_leaves_its_inputs_alone(case):
    _, runner, _ = case
    fill(runner, 2)
    before = {name: array.copy() for name, array in runner.inputs.items()}
    runner.infer()
    for name, array in runner.inputs.items():
        np.testing.assert_array_equal(array, before[name])


def test_its_state_starts_at_the_specs_value_moves_and_comes_back(case):
    model, runner, _ = case
    initial = {item.name: np.reshape(item.initial, item.shape).astype(np.float32) for item in model.spec.state}
    for name, value in initial.items():
        np.testing.assert_array_equal(runner.state[name], value)
    fill(runner, 1)
    runner.infer()
    for name, value in initial.items():
        assert not np.array_equal(runner.state[name], value)
    runner.reset()
    for name, value in initial.items():
        np.testing.assert_array_equal(runner.state[name], value)


def test_it_continues_from_a_state_that_the_caller_wrote(case):
    _, runner, _ = case
    if not runner.state:
        assert runner.state == {}
        return
    fill(runner, 1)
    runner.infer()
    saved = {name: array.copy() for name, array in runner.state.items()}
    runner.infer()
    second = runner.outputs["action"].copy()
    runner.reset()
    for name, array in saved.items():
        runner.state[name][...] = array
    runner.infer()
    np.testing.assert_array_equal(runner.outputs["action"], second)


def test_it_reproduces_the_golden_set(case):
    model, runner, backend = case
    golden = make_golden(model, rows=40)
    assert verify_golden(runner, golden).status == "passed"
    engine = build(model, TARGET, backend, golden)
    assert (engine.parent, engine.backend, engine.spec) == (model.digest, backend.name, model.spec)


def test_inference_allocates_no_memory_that_stays(case):
    _, runner, _ = case
    fill(runner, 1)
    for _ in range(50):
        runner.infer()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(200):
            runner.infer()
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 1024 and peak - before < 4096


def test_two_runners_of_one_engine_do_not_share_memory(case):
    model, one, backend = case
    other = backend.load(backend.compile(model, TARGET))
    fill(one, 1)
    fill(other, 2)
    one.infer()
    expected = one.outputs["action"].copy()
    other.infer()
    np.testing.assert_array_equal(one.outputs["action"], expected)
