"""A truth file is data that must fit the spec; what does not fit is named."""

from __future__ import annotations

import numpy as np
import pytest

from edgerl.errors import TruthError, UnreadableFile
from edgerl.policy import ActionMap, Flatten, Network, Policy
from edgerl.truth import read_truth
from tests.policies import box, box_head, choice_head, memory_policy, mlp, spec_of

SPEC = mlp().spec
OBS = np.zeros((4, 5), np.float32)
ACTION = np.zeros((4, 2), np.float32)


@pytest.fixture
def write(tmp_path):
    def writer(**arrays):
        path = tmp_path / "truth.npz"
        np.savez(path, **{name.replace("__", "."): array for name, array in arrays.items()})
        return path

    return writer


def test_observations_and_actions_come_in_the_dtypes_of_the_graph(write):
    truth = read_truth(write(obs=OBS.astype(np.float64) + 0.1, action=ACTION), SPEC)
    assert truth.inputs["observation"].dtype == np.float32 and truth.action.dtype == np.float64
    assert truth.rows == 4 and truth.action_key == "action" and truth.name == "truth.npz" and len(truth.digest) == 64


def test_policy_action_is_used_only_where_it_is_the_action(write):
    policy_action = np.ones((4, 2))
    assert read_truth(write(obs=OBS, action=ACTION, policy_action=policy_action), SPEC).action_key == "policy_action"
    assert read_truth(write(obs=OBS, action=ACTION, policy_action=np.ones((4, 4))), SPEC).action_key == "action"
    discrete = spec_of([box("observation", 5)], choice_head(3))
    truth = read_truth(write(obs=OBS, action=np.zeros(4, int), policy_action=np.ones((4, 1))), discrete)
    assert truth.action_key == "action" and truth.action.shape == (4, 1)


@pytest.mark.parametrize(("arrays", "message"), [
    ({"action": ACTION}, "no array 'obs'.*expected 'obs'"),
    ({"obs": OBS}, "no array 'action'"),
    ({"obs": OBS[:, :4], "action": ACTION}, r"'obs' has the shape \(4, 4\); expected \(4, 5\)"),
    ({"obs": OBS[:3], "action": ACTION}, r"\(3, 5\); expected \(4, 5\)"),
    ({"obs": OBS, "action": ACTION[:, :1]}, r"'action' has the shape \(4, 1\); expected \(4, 2\)"),
    ({"obs": OBS, "action": np.zeros((0, 2))}, r"\(0, 2\)"),
    ({"obs": OBS.astype("S3"), "action": ACTION}, "dtype"),
    ({"obs": OBS * np.nan, "action": ACTION}, "not finite in row 0"),
    ({"obs": OBS, "action": ACTION, "episode_start": np.zeros(3, bool)}, r"'episode_start' has the shape \(3,\)"),
])  # fmt: skip
def test_what_does_not_fit_is_named_with_what_would(write, arrays, message):
    with pytest.raises(TruthError, match=message):
        read_truth(write(**arrays), SPEC)


def test_a_file_that_is_no_npz_is_refused_with_one_message(tmp_path):
    with pytest.raises(UnreadableFile, match=r"missing\.npz"):
        read_truth(tmp_path / "missing.npz", SPEC)
    for name, data in (("x.npz", b"no zip"), ("y.npz", b"PK\x03\x04")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(TruthError, match=r"expected a complete \.npz"):
            read_truth(tmp_path / name, SPEC)


def test_pickled_objects_in_a_truth_file_are_not_loaded(write):
    with pytest.raises(TruthError):
        read_truth(write(obs=np.array([{"a": 1}] * 4, dtype=object), action=ACTION), SPEC)


def test_images_in_the_other_order_are_recognized(write):
    head = box_head(1)
    policy = Policy(
        spec_of([box("observation", 8, 9, 3, dtype="uint8")], head), Network({"observation": (Flatten(),)}, (), head)
    )
    with pytest.raises(TruthError, match=r"HWC.*another axis"):
        read_truth(write(obs=np.zeros((4, 3, 8, 9), np.uint8), action=np.zeros((4, 1))), policy.spec)
    chw = spec_of([box("observation", 3, 8, 9, dtype="uint8")], head)
    with pytest.raises(TruthError, match=r"CHW.*another axis"):
        read_truth(write(obs=np.zeros((4, 8, 9, 3), np.uint8), action=np.zeros((4, 1))), chw)


def test_integers_must_fit_without_loss(write):
    inputs = [box("observation.image", 2, 2, dtype="uint8"), box("observation.phase", 1, dtype="int32")]
    spec = spec_of(inputs, box_head(1))
    good = {"obs__image": np.full((3, 2, 2), 255, np.int64), "obs__phase": np.arange(3), "action": np.zeros(3)}
    truth = read_truth(write(**good), spec)
    assert truth.inputs["observation.image"].dtype == np.uint8
    assert truth.inputs["observation.phase"].tolist() == [[0], [1], [2]] and truth.action.shape == (3, 1)
    with pytest.raises(TruthError, match="256"):
        read_truth(write(**{**good, "obs__image": np.full((3, 2, 2), 256)}), spec)
    with pytest.raises(TruthError, match="float64; expected uint8"):
        read_truth(write(**{**good, "obs__image": np.ones((3, 2, 2))}), spec)


def test_discrete_actions_are_integers(write):
    spec = spec_of([box("observation", 5)], choice_head(3))
    assert read_truth(write(obs=OBS, action=np.array([0.0, 1.0, 2.0, 1.0])), spec).action.dtype == np.int64
    with pytest.raises(TruthError, match="no integers"):
        read_truth(write(obs=OBS, action=np.full(4, 0.5)), spec)
    binary = spec_of([box("observation", 5)], ActionMap("multi_binary", (0.0,) * 2, (1.0,) * 2))
    assert read_truth(write(obs=OBS, action=np.ones((4, 2), np.int8)), binary).action.shape == (4, 2)


def test_states_are_matched_by_name_and_given_their_batch_axis(write):
    spec = memory_policy("lstm", 2).spec
    obs, state = np.zeros((4, 3)), np.ones((4, 2, 6), np.float32)
    starts = np.array([1, 0, 0, 1])
    arrays = {"obs": obs, "action": ACTION, "episode_start": starts, "state_in__h": state, "state_in__c": 2 * state}
    truth = read_truth(write(**arrays), spec)
    assert truth.state_in["state.memory.c"].shape == (4, 2, 1, 6) and truth.state_in["state.memory.c"][0, 0, 0, 0] == 2
    assert truth.state_out == {} and truth.episode_start.tolist() == [True, False, False, True]
    with pytest.raises(TruthError, match=r"no array for state\.memory\.c"):
        read_truth(write(**{key: value for key, value in arrays.items() if key != "state_in__c"}), spec)
    with pytest.raises(TruthError, match=r"\(4, 2, 1, 6\)"):
        read_truth(write(**{**arrays, "state_in__h": state[:, :1]}), spec)


def test_a_policy_with_memory_needs_to_know_where_episodes_start(write):
    spec = memory_policy().spec
    with pytest.raises(TruthError, match="episode_start"):
        read_truth(write(obs=np.zeros((4, 3)), action=ACTION), spec)
    with pytest.raises(TruthError, match="first row"):
        read_truth(write(obs=np.zeros((4, 3)), action=ACTION, episode_start=np.zeros(4, bool)), spec)
