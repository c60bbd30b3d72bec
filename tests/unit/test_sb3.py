"""The importer for Stable-Baselines3 and sb3-contrib against the trainer's own actions, and what it refuses."""

from __future__ import annotations

import base64
import io
import json
import pickle
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgerl.errors import (
    AmbiguousCheckpoint,
    CheckpointTooLarge,
    DamagedCheckpoint,
    EdgerlError,
    StatisticsMismatch,
    UnknownTrainer,
    UnreadableFile,
    UnsafeCheckpoint,
    UnsupportedPolicy,
)
from edgerl.importers import Limits, describe_checkpoint, detect_trainer, read_checkpoint
from edgerl.npz import read_npz
from edgerl.policy import Activation, Dense, Normalize, Transpose
from edgerl.spec import load_spec, save_spec
from tests.reference import Reference, observations

TESTS = Path(__file__).parents[1]
ZOO = TESTS / "zoo"
CHEETAH = TESTS.parent / "examples" / "halfcheetah"
FOLDERS = [*sorted(ZOO.glob("sb3*")), CHEETAH]
TOLERANCE = 1e-5
"""Of the action's range, as the parity gate has it."""
SMALL = ZOO / "sb3contrib-ars-linear" / "model.zip"
BOX = ZOO / "sb3-a2c-box" / "model.zip"


def rewritten(source: Path, target: Path, **members: bytes | None) -> Path:
    """Copy a checkpoint with members replaced, or left out where the value is None; ``__`` stands for a dot."""
    changes = {name.replace("__", "."): data for name, data in members.items()}
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in [*old.namelist(), *(name for name in changes if name not in old.namelist())]:
            data = changes.get(name, b"") if name in changes else old.read(name)
            if data is not None:
                new.writestr(name, data)
    return target


def with_data(source: Path, target: Path, **changes: object) -> Path:
    """Copy a checkpoint with attributes of its ``data`` changed; bytes are put in as a pickle."""
    data = json.loads(zipfile.ZipFile(source).read("data"))
    for key, value in changes.items():
        pickled = isinstance(value, bytes)
        data[key] = {":type:": "x", ":serialized:": base64.b64encode(value).decode()} if pickled else value
    return rewritten(source, target, data=json.dumps(data).encode())


def global_pickle(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n.".encode()


# -- the same actions as the trainer


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_policy_acts_as_the_trainer_does(folder):
    truth = read_npz(folder / "truth.npz")
    policy = read_checkpoint(folder / "model.zip")
    reference, action = Reference(policy), policy.spec.action
    extent = np.subtract(action.high, action.low)
    starts = truth.get("episode_start", np.ones(len(truth["action"]), bool))
    for row, observation in enumerate(observations(truth)):
        if starts[row]:
            reference.reset()
        found, expected = reference.act(observation), truth["action"][row].ravel()
        if action.kind == "continuous":
            assert np.all(np.abs(found - expected) <= TOLERANCE * extent), f"row {row}"
        else:
            assert np.array_equal(found, expected), f"row {row}"
        for part in "hc" if policy.spec.state else "":
            state = reference.state[f"state.lstm.{part}"]
            assert np.allclose(state, truth[f"state_out.{part}"][row], atol=1e-5), f"row {row}"


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_trainer_version_and_algorithm_are_recognized(folder):
    meta = json.loads((folder / "meta.json").read_text())
    provenance = read_checkpoint(folder).spec.provenance
    assert detect_trainer(folder) == "sb3"
    assert provenance.trainer == meta["trainer"]
    assert provenance.trainer_version == meta["version"]
    assert provenance.algorithm == {"QRDQN": "QR-DQN"}.get(meta["algo"], meta["algo"])


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_spec_survives_its_own_json(folder):
    spec = read_checkpoint(folder).spec
    assert load_spec(save_spec(spec), "spec") == spec
    assert [unknown.field for unknown in spec.unknowns()] == ["period_s"]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_description_counts_the_parameters_that_act(folder):
    description = describe_checkpoint(folder)
    assert description.refused is None
    assert description.blocks[-1].kind == "ActionMap"
    assert description.parameters > 0
    assert description.digests["model.zip"] == read_checkpoint(folder).spec.provenance.digests["model.zip"]
    assert all("." in name for name in description.foreign_globals)


def test_neither_trainer_nor_torch_nor_gymnasium_is_imported():
    code = (
        "import sys\n"
        "for name in ('torch', 'gymnasium', 'gym', 'stable_baselines3', 'sb3_contrib', 'cloudpickle', 'onnx'):\n"
        "    sys.modules[name] = None\n"
        "from edgerl.importers import describe_checkpoint, read_checkpoint\n"
        f"print(read_checkpoint({str(CHEETAH)!r}).spec.provenance.algorithm)\n"
        f"print(describe_checkpoint({str(ZOO / 'sb3-td3-dict')!r}).algorithm)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["PPO", "TD3"]


# -- what is in the policy


def test_the_cheetah_is_read_with_its_statistics():
    policy = read_checkpoint(CHEETAH / "model.zip")
    (normalize,) = policy.network.encoders["observation"]
    assert isinstance(normalize, Normalize)
    assert normalize.mean.dtype == np.float64 and normalize.mean.shape == (17,)
    assert (normalize.eps, normalize.eps_inside, normalize.clip) == (1e-8, True, (-10.0, 10.0))
    assert policy.spec.provenance.seed == 0
    assert policy.spec.provenance.configuration["activation"] == "relu"
    assert set(policy.spec.provenance.digests) == {"model.zip", "vecnormalize.pkl"}
    assert "stable_baselines3.common.vec_env.vec_normalize.VecNormalize" in policy.spec.provenance.foreign_globals
    assert policy.spec.sources["inputs.normalizer"] == "checkpoint"
    assert policy.spec.action.clipped_in_graph


def test_images_are_expected_height_width_channels_unless_said_otherwise():
    folder = ZOO / "sb3-ppo-catch-cnn"
    policy = read_checkpoint(folder)
    assert policy.spec.inputs[0].shape == (42, 42, 2) and policy.spec.inputs[0].dtype == "uint8"
    assert policy.spec.sources["inputs.observation.shape"] == "default"
    assert any("channels first" in note for note in describe_checkpoint(folder).notes)

    first = read_checkpoint(folder, image_layout="chw")
    assert first.spec.inputs[0].shape == (2, 42, 42)
    assert first.spec.sources["inputs.observation.shape"] == "user"
    assert not any(isinstance(block, Transpose) for block in first.network.encoders["observation"])
    image = read_npz(folder / "truth.npz")["obs"][3]
    same = Reference(first).act({"observation": image.transpose(2, 0, 1)})
    assert np.array_equal(same, Reference(policy).act({"observation": image}))


def test_inputs_of_a_dictionary_are_named_and_in_the_order_of_the_policy():
    spec = read_checkpoint(ZOO / "sb3-td3-dict").spec
    assert [(item.name, item.shape, item.dtype) for item in spec.inputs] == [
        ("observation.arm", (2, 2), "float32"),
        ("observation.gear", (1,), "int32"),
        ("observation.on", (2,), "uint8"),
        ("observation.speed", (3,), "float32"),
    ]
    assert [item.offset for item in spec.inputs] == [0, 64, 128, 192]


def test_recurrent_layers_have_their_state_in_the_spec():
    spec = read_checkpoint(ZOO / "sb3contrib-recurrentppo-shared").spec
    assert [(tensor.name, tensor.shape) for tensor in spec.state] == [
        ("state.lstm.h", (2, 1, 6)),
        ("state.lstm.c", (2, 1, 6)),
    ]


def test_parameters_of_an_activation_in_a_partial_are_read():
    trunk = read_checkpoint(ZOO / "sb3-a2c-discrete").network.trunk
    assert Activation("leaky_relu", 0.2) in trunk


def test_a_masked_policy_says_that_masks_are_not_exported():
    assert any("masks" in note for note in describe_checkpoint(ZOO / "sb3contrib-maskableppo").notes)


def test_layers_shared_by_actor_and_critic_before_version_1_8_act_first():
    trunk = read_checkpoint(ZOO / "sb3-1.6-ppo-shared").network.trunk
    assert [block.weight.shape for block in trunk if isinstance(block, Dense)] == [(8, 4), (8, 8), (2, 8)]


def rewritten_names(source: Path, target: Path, old: bytes, new: bytes) -> Path:
    """Copy a checkpoint with tensors renamed inside ``policy.pth``."""
    inner = io.BytesIO(zipfile.ZipFile(source).read("policy.pth"))
    stream = io.BytesIO()
    with zipfile.ZipFile(inner) as given, zipfile.ZipFile(stream, "w") as made:
        for name in given.namelist():
            data = given.read(name)
            if name.endswith("data.pkl"):
                data = _rename(data, old, new)
            made.writestr(name, data)
    return rewritten(source, target, policy__pth=stream.getvalue())


def _rename(data: bytes, old: bytes, new: bytes) -> bytes:
    for tail in (b"weight", b"bias"):
        before, after = old + tail, new + tail
        found = b"X" + len(before).to_bytes(4, "little") + before
        assert data.count(found) == 1
        data = data.replace(found, b"X" + len(after).to_bytes(4, "little") + after)
    return data


# -- statistics


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


# -- what is refused


def test_a_folder_with_several_checkpoints_asks_for_one(tmp_path):
    for name in ("a.zip", "b.zip"):
        shutil.copy(SMALL, tmp_path / name)
    with pytest.raises(AmbiguousCheckpoint, match=r"a\.zip, b\.zip.*Name one"):
        read_checkpoint(tmp_path)


def test_a_path_that_is_not_there_is_said():
    with pytest.raises(UnreadableFile, match="no such file"):
        read_checkpoint("nothing.zip")


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"text", "neither a zip archive nor a pickle"),
        (pickle.dumps(1), "a pickle"),
        ((ZOO / "torch" / "legacy.pt").read_bytes(), r"a file of torch before 1\.6"),
        ((ZOO / "torch" / "module.pt").read_bytes(), r"a zip archive of module/data\.pkl"),
    ],
)
def test_an_unknown_trainer_is_named_with_what_is_known(tmp_path, data, found):
    path = tmp_path / "checkpoint"
    path.write_bytes(data)
    with pytest.raises(UnknownTrainer, match=rf"{found}.*Readable: .*Stable-Baselines3"):
        read_checkpoint(path)


def test_an_importer_that_does_not_exist_is_said():
    with pytest.raises(UnknownTrainer, match=r"no importer is called 'other'.*sb3"):
        read_checkpoint(SMALL, trainer="other")


def test_a_truncated_checkpoint_is_refused_with_one_message(tmp_path):
    data = SMALL.read_bytes()
    path = tmp_path / "model.zip"
    for length in range(4, len(data), 97):
        path.write_bytes(data[:length])
        with pytest.raises(DamagedCheckpoint, match=r"model\.zip: not a complete zip archive"):
            read_checkpoint(path)


def test_a_checkpoint_that_calls_the_system_is_read_without_doing_so(tmp_path):
    marker = tmp_path / "executed"
    command = f"touch {marker}".encode()
    call = b"cposix\nsystem\nX" + len(command).to_bytes(4, "little") + command + b"\x85R."
    path = with_data(BOX, tmp_path / "model.zip", lr_schedule=call)
    assert "posix.system" in describe_checkpoint(path).foreign_globals
    assert read_checkpoint(path).spec.provenance.foreign_globals.count("posix.system") == 1
    for key in ("policy_class", "observation_space", "action_space", "policy_kwargs"):
        with pytest.raises(EdgerlError):
            read_checkpoint(with_data(BOX, tmp_path / "model.zip", **{key: call}))
    assert not marker.exists()
    pickle.loads(call)
    assert marker.exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"policy_class": global_pickle("my.policies", "Mine")}, r"my\.policies\.Mine.*export_module"),
        ({"policy_class": pickle.dumps(len)[:-1] + b")R."}, "saved as code of your own"),
        ({"policy_class": None}, "saved as code of your own"),
        (
            {"policy_kwargs": b"}X\x18\x00\x00\x00features_extractor_classcmy.nets\nTransformer\ns."},
            r"features extractor is my\.nets\.Transformer.*NatureCNN.*export_module",
        ),
        ({"policy_kwargs": b"}X\x0d\x00\x00\x00activation_fncmy.nets\nSquare\ns."}, r"activation is my\.nets\.Square"),
        ({"policy_kwargs": b"}X\x0d\x00\x00\x00activation_fnctorch.nn\nPReLU\ns."}, r"activation is torch\.nn\.PReLU"),
        (
            {"action_space": global_pickle("gymnasium.spaces.text", "Text")},
            r"is gymnasium\.spaces\.text\.Text",
        ),
        ({"observation_space": pickle.dumps([1])}, "observation space is a list"),
        ({"observation_space": b"cgym.spaces.box\nBox\n)\x81}b."}, "makes no sense"),
    ],
)
def test_what_is_not_the_trainers_own_is_refused_with_what_would_be_needed(tmp_path, changes, message):
    path = with_data(BOX, tmp_path / "model.zip", **changes)
    with pytest.raises(UnsupportedPolicy, match=message):
        read_checkpoint(path)


def test_a_refused_policy_is_still_described(tmp_path):
    path = with_data(BOX, tmp_path / "model.zip", policy_class=global_pickle("my.policies", "Mine"))
    description = describe_checkpoint(path)
    assert description.policy_class == "my.policies.Mine"
    assert "my.policies.Mine" in (description.refused or "")
    assert description.blocks == ()
    assert description.spaces["action"].startswith("Box(")


def test_a_network_with_parts_of_somebodys_own_is_refused(tmp_path):
    path = rewritten_names(BOX, tmp_path / "model.zip", b"value_net.", b"attention.")
    with pytest.raises(UnsupportedPolicy, match=r"parts that an actor-critic policy does not have \(attention\.weight"):
        read_checkpoint(path)


def test_a_layer_of_another_kind_in_between_is_refused(tmp_path):
    path = rewritten_names(BOX, tmp_path / "model.zip", b"mlp_extractor.policy_net.2.", b"mlp_extractor.policy_net.3.")
    with pytest.raises(UnsupportedPolicy, match="policy_net has no layer 1"):
        read_checkpoint(path)


def test_a_missing_tensor_is_said_by_name(tmp_path):
    path = rewritten_names(BOX, tmp_path / "model.zip", b"action_net.", b"value_net.x.")
    with pytest.raises(DamagedCheckpoint, match=r"no tensor 'action_net\.weight'"):
        read_checkpoint(path)


def test_tensors_that_do_not_fit_the_spaces_are_refused(tmp_path):
    box4 = json.loads(zipfile.ZipFile(BOX).read("data"))
    box3 = json.loads(zipfile.ZipFile(SMALL).read("data"))
    path = with_data(BOX, tmp_path / "model.zip", observation_space=box3["observation_space"])
    with pytest.raises(DamagedCheckpoint, match=r"does not take features of shape \(3,\)"):
        read_checkpoint(path)
    path = with_data(BOX, tmp_path / "model.zip", action_space=box4["observation_space"])
    with pytest.raises(DamagedCheckpoint, match=r"answers \(2,\) values, its action space needs 4"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("members", "error", "message"),
    [
        ({"data": None}, UnknownTrainer, "a zip archive of"),
        ({"policy__pth": None}, UnknownTrainer, "a zip archive of"),
        ({"data": b"{"}, DamagedCheckpoint, "not valid JSON"),
        ({"data": b"[" * 100_000}, DamagedCheckpoint, "not valid JSON"),
        ({"data": b"[]"}, DamagedCheckpoint, "not an object"),
        ({"data": b'{"a": {":serialized:": 3}}'}, DamagedCheckpoint, "base64|not a valid pickle"),
        ({"policy__pth": b"text"}, DamagedCheckpoint, r"policy\.pth: not a file of torch\.save"),
        ({"policy__pth": (ZOO / "torch" / "legacy.pt").read_bytes()}, UnsafeCheckpoint, r"before version 1\.6"),
        ({"policy__pth": (ZOO / "torch" / "module.pt").read_bytes()}, DamagedCheckpoint, "no parameters by name"),
    ],
)
def test_damaged_members_are_refused_with_one_message(tmp_path, members, error, message):
    with pytest.raises(error, match=message):
        read_checkpoint(rewritten(BOX, tmp_path / "model.zip", **members))


def test_attributes_that_are_no_numbers_are_left_out_of_the_provenance(tmp_path):
    path = with_data(BOX, tmp_path / "model.zip", gamma=[[1]], n_envs="many", seed=10**30, num_timesteps=5)
    provenance = read_checkpoint(path).spec.provenance
    assert provenance.seed is None
    assert provenance.configuration["num_timesteps"] == "5"
    assert not {"gamma", "n_envs"} & set(provenance.configuration)


def test_a_large_json_is_refused():
    with pytest.raises(CheckpointTooLarge, match="size of the JSON"):
        read_checkpoint(BOX, trainer="sb3", limits=Limits(json_bytes=100))


def test_many_pickles_in_one_file_share_their_limits(tmp_path):
    many = {f"extra{index}": pickle.dumps([1] * 500) for index in range(10)}
    path = with_data(SMALL, tmp_path / "model.zip", **many)
    assert read_checkpoint(path)
    with pytest.raises(CheckpointTooLarge, match="pickle operations"):
        read_checkpoint(path, trainer="sb3", limits=Limits(pickle_operations=4_000))


BYTES = SMALL.read_bytes()


@given(st.lists(st.tuples(st.integers(0, len(BYTES) - 1), st.integers(0, 255)), min_size=1, max_size=6))
@settings(max_examples=100, deadline=None)
def test_mutated_checkpoints_raise_nothing_but_our_errors(tmp_path_factory, changes):
    data = bytearray(BYTES)
    for at, value in changes:
        data[at] = value
    path = tmp_path_factory.getbasetemp() / "mutated.zip"
    path.write_bytes(bytes(data))
    try:
        read_checkpoint(path)
    except EdgerlError as error:
        assert str(error).startswith(str(path))


JSON = zipfile.ZipFile(SMALL).read("data")


@given(st.lists(st.tuples(st.integers(0, len(JSON) - 1), st.integers(32, 126)), min_size=1, max_size=4))
@settings(max_examples=100, deadline=None)
def test_mutated_attributes_raise_nothing_but_our_errors(tmp_path_factory, changes):
    data = bytearray(JSON)
    for at, value in changes:
        data[at] = value
    path = rewritten(SMALL, tmp_path_factory.getbasetemp() / "attributes.zip", data=bytes(data))
    try:
        read_checkpoint(path)
    except EdgerlError as error:
        assert str(error)
