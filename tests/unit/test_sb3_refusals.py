"""What the Stable-Baselines3 importer refuses: damaged, hostile, or of somebody's own; each with one message."""

from __future__ import annotations

import json
import pickle
import shutil
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgerl.errors import (
    AmbiguousCheckpoint,
    CheckpointTooLarge,
    DamagedCheckpoint,
    EdgerlError,
    UnknownTrainer,
    UnreadableFile,
    UnsafeCheckpoint,
    UnsupportedPolicy,
)
from edgerl.importers import Limits, describe_checkpoint, read_checkpoint
from tests.checkpoint_edits import global_pickle, rewritten, rewritten_names, with_data

ZOO = Path(__file__).parents[1] / "zoo"
SMALL = ZOO / "sb3contrib-ars-linear" / "model.zip"
BOX = ZOO / "sb3-a2c-box" / "model.zip"


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


def test_a_json_of_many_values_is_refused():
    with pytest.raises(CheckpointTooLarge, match="number of JSON values"):
        read_checkpoint(BOX, trainer="sb3", limits=Limits(json_values=10))


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
