"""Statistics of VecNormalize: found beside the checkpoint, never guessed, refused where they do not fit."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from edgerl.errors import AmbiguousCheckpoint, StatisticsMismatch
from edgerl.importers import describe_checkpoint, read_checkpoint
from edgerl.policy import Normalize

TESTS = Path(__file__).parents[1]
ZOO = TESTS / "zoo"
CHEETAH = TESTS.parent / "examples" / "halfcheetah"
SMALL = ZOO / "sb3contrib-ars-linear" / "model.zip"


@pytest.fixture
def cheetah(tmp_path):
    """A folder with the cheetah's checkpoint and no statistics."""
    shutil.copy(CHEETAH / "model.zip", tmp_path / "rl_model_1000_steps.zip")
    return tmp_path


@pytest.mark.parametrize(
    "place",
    [
        "vecnormalize.pkl",
        "vec_normalize.pkl",
        "rl_model_1000_steps_vecnormalize.pkl",
        "rl_model_vecnormalize_1000_steps.pkl",
        "rl_model_1000_steps/vecnormalize.pkl",
    ],
)
def test_statistics_beside_the_checkpoint_are_found(cheetah, place):
    (cheetah / place).parent.mkdir(exist_ok=True)
    shutil.copy(CHEETAH / "vecnormalize.pkl", cheetah / place)
    policy = read_checkpoint(cheetah / "rl_model_1000_steps.zip")
    assert isinstance(policy.network.encoders["observation"][0], Normalize)
    assert policy.spec.provenance.configuration["statistics"] == Path(place).name


def test_the_folder_of_rl_zoo_beside_a_best_model_is_looked_into(cheetah):
    (cheetah / "HalfCheetah-v5").mkdir()
    (cheetah / "HalfCheetah-v5" / "args.yml").write_text("!!python/object\n")
    shutil.copy(CHEETAH / "vecnormalize.pkl", cheetah / "HalfCheetah-v5")
    assert describe_checkpoint(cheetah).normalizer == "vecnormalize.pkl for the observation"


def test_statistics_of_another_step_or_run_are_left_alone(cheetah):
    (cheetah / "other").mkdir()
    shutil.copy(CHEETAH / "vecnormalize.pkl", cheetah / "rl_model_vecnormalize_2000_steps.pkl")
    shutil.copy(CHEETAH / "vecnormalize.pkl", cheetah / "other" / "vecnormalize.pkl")
    assert read_checkpoint(cheetah).network.encoders["observation"] == ()


def test_missing_statistics_are_said_and_never_guessed(cheetah):
    policy = read_checkpoint(cheetah)
    assert policy.spec.provenance.configuration["statistics"] == "none"
    assert policy.spec.sources["inputs.normalizer"] == "default"
    assert any("--stats" in note for note in describe_checkpoint(cheetah).notes)


def test_two_different_statistics_ask_for_a_choice(cheetah):
    shutil.copy(CHEETAH / "vecnormalize.pkl", cheetah / "vecnormalize.pkl")
    shutil.copy(ZOO / "sb3-ppo-pendulum-vecnorm" / "vecnormalize.pkl", cheetah / "vec_normalize.pkl")
    with pytest.raises(AmbiguousCheckpoint, match=r"vec_normalize\.pkl, vecnormalize\.pkl.*--stats FILE"):
        read_checkpoint(cheetah)
    named = read_checkpoint(cheetah, stats=cheetah / "vecnormalize.pkl")
    assert named.spec.sources["inputs.normalizer"] == "user"
    assert read_checkpoint(cheetah, stats="none").network.encoders["observation"] == ()


def test_the_same_statistics_twice_are_one(cheetah):
    for name in ("vecnormalize.pkl", "vec_normalize.pkl"):
        shutil.copy(CHEETAH / "vecnormalize.pkl", cheetah / name)
    assert len(read_checkpoint(cheetah).network.encoders["observation"]) == 1


def test_statistics_that_do_not_normalize_observations_change_nothing():
    policy = read_checkpoint(ZOO / "sb3-sac-sde")
    assert policy.network.encoders["observation"] == ()
    assert "norm_obs is off" in describe_checkpoint(ZOO / "sb3-sac-sde").normalizer


@pytest.mark.parametrize(
    ("stats", "message"),
    [
        (ZOO / "sb3-ppo-pendulum-vecnorm" / "vecnormalize.pkl", r"shape \(3,\).*needs the shape \(17,\)"),
        (ZOO / "sb3-ppo-dictreach-multiinput" / "vecnormalize.pkl", "the statistics are for proprio"),
    ],
)
def test_statistics_of_another_policy_are_refused(cheetah, stats, message):
    with pytest.raises(StatisticsMismatch, match=message):
        read_checkpoint(cheetah, stats=stats)


class VecNormalize:
    """Stands for the trainer's class: the reader goes by the name and never looks for the class."""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epsilon": "small"}, "its epsilon is 'small'"),
        ({"epsilon": float("nan")}, "its epsilon is nan"),
        ({"epsilon": float("inf")}, "divisor"),
        ({"clip_obs": -1.0}, r"its clip_obs is -1\.0"),
        ({"clip_obs": 10**400}, "its clip_obs is an integer of 1329 bits"),
        ({"mean": np.array(["a"])}, "its mean is no array of numbers"),
        ({"mean": np.array([np.nan, 0, 0])}, "its mean holds values that are not finite"),
        ({"var": np.array([1.0, -1, 1])}, "do not fit"),
        ({"var": np.zeros(4)}, "do not fit"),
        ({"var": np.zeros(3), "epsilon": 0.0}, "divisor"),
        ({"obs_rms": None}, "its mean is no array"),
    ],
)
def test_statistics_that_make_no_sense_are_refused(tmp_path, change, message):
    running, wrapper = VecNormalize(), VecNormalize()
    running.__dict__ = {"mean": np.zeros(3), "var": np.ones(3), **change}
    wrapper.__dict__ = {"norm_obs": True, "obs_rms": running, "epsilon": 1e-8, "clip_obs": 10.0, **change}
    path = tmp_path / "stats.pkl"
    path.write_bytes(pickle.dumps(wrapper))
    with pytest.raises(StatisticsMismatch, match=message):
        read_checkpoint(ZOO / "sb3-ppo-pendulum-vecnorm" / "model.zip", stats=path)


def test_a_pickle_of_something_else_is_no_statistics(tmp_path):
    path = tmp_path / "stats.pkl"
    path.write_bytes(pickle.dumps({"mean": 0}))
    with pytest.raises(StatisticsMismatch, match="it holds a dict"):
        read_checkpoint(SMALL, stats=path)


def test_statistics_without_a_clip_are_read(tmp_path):
    running, wrapper = VecNormalize(), VecNormalize()
    running.__dict__ = {"mean": np.zeros(3), "var": np.ones(3)}
    wrapper.__dict__ = {"norm_obs": True, "obs_rms": running, "epsilon": 1e-8, "clip_obs": float("inf")}
    path = tmp_path / "stats.pkl"
    path.write_bytes(pickle.dumps(wrapper))
    (normalize,) = read_checkpoint(SMALL, stats=path).network.encoders["observation"]
    assert normalize.clip is None
