"""The importer for Stable-Baselines3 and sb3-contrib against the trainer's own actions."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgerl.importers import describe_checkpoint, detect_trainer, read_checkpoint
from edgerl.policy import Activation, Dense, Normalize, Transpose
from edgerl.spec import load_spec, save_spec
from edgerl.untrusted.npz import parse_npz
from tests.reference import Reference, observations

TESTS = Path(__file__).parents[1]
ZOO = TESTS / "zoo"
CHEETAH = TESTS.parent / "examples" / "halfcheetah"
FOLDERS = [*sorted(ZOO.glob("sb3*")), CHEETAH]
TOLERANCE = 1e-5
"""Of the action's range, as the parity gate has it."""


# -- the same actions as the trainer


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_policy_acts_as_the_trainer_does(folder):
    truth = parse_npz((folder / "truth.npz").read_bytes(), "truth.npz")
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
    image = parse_npz((folder / "truth.npz").read_bytes(), "truth.npz")["obs"][3]
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
