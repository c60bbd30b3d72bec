"""Every command of the command line, with what people see and with --json."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgerl import cli

EXAMPLE = Path(__file__).parents[2] / "examples" / "halfcheetah"
PROGRAM = Path(sys.executable).with_name("edgerl")


def test_export_writes_model_golden_set_and_certificate(edgerl, tmp_path):
    answer = edgerl("export", EXAMPLE, "-o", tmp_path / "p.onnx", "--truth", EXAMPLE / "truth.npz")
    assert answer.code == 0
    assert answer.out == ""
    assert "parity passed against truth.npz, 256 rows" in answer.err
    assert "period_s" in answer.err
    assert {path.name for path in tmp_path.iterdir()} == {"p.onnx", "p.golden.npz", "p.certificate.json"}


def test_export_without_truth_says_that_nothing_is_proven(edgerl, tmp_path):
    answer = edgerl("export", EXAMPLE, "-o", tmp_path / "p.onnx", "--json")
    assert answer.json["certificate"]["parity"]["status"] == "not_run"
    assert "Nothing proves" in edgerl("export", EXAMPLE, "-o", tmp_path / "p.onnx").err


def test_the_template_filled_in_makes_the_policy_complete(edgerl, tmp_path):
    answer = edgerl("export", EXAMPLE, "--template")
    assert "# period_s = " in answer.out
    spec = tmp_path / "spec.toml"
    spec.write_text(answer.out + "\n")
    unfilled = edgerl("export", EXAMPLE, "-o", tmp_path / "p.onnx", "--spec", spec, "--json")
    assert [one["field"] for one in unfilled.json["certificate"]["unknowns"]] == ["period_s"]
    spec.write_text("period_s = 0.05\n" + answer.out)
    filled = edgerl("export", EXAMPLE, "-o", tmp_path / "p.onnx", "--spec", spec, "--json")
    assert filled.json["certificate"]["unknowns"] == []


def test_the_same_checkpoint_gives_the_same_three_files(edgerl, tmp_path):
    contents = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        assert edgerl("export", EXAMPLE, "-o", folder / "p.onnx", "--truth", EXAMPLE / "truth.npz").code == 0
        contents.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert contents[0] == contents[1]


def test_inspect_shows_a_checkpoint_before_anything_is_exported(edgerl):
    answer = edgerl("inspect", EXAMPLE / "model.zip")
    assert answer.code == 0
    for word in ("stable-baselines3", "2.9.2", "PPO", "gymnasium spaces.box.Box", "vecnormalize.pkl"):
        assert word in answer.err
    assert edgerl("inspect", EXAMPLE / "model.zip", "--json").json["algorithm"] == "PPO"


def test_inspect_shows_models_and_bundles(edgerl, packed):
    model = edgerl("inspect", packed / "policy.onnx", "--json").json
    assert model["operators"] == {"Clip": 2, "Div": 1, "Gemm": 3, "Relu": 2, "Sub": 1}
    assert model["spec"]["period_ns"] == 50_000_000
    bundle = edgerl("inspect", packed / "policy.edgerl", "--json").json
    assert bundle["target"]["name"] == "linux-x86_64"
    assert edgerl("inspect", packed / "policy.edgerl").code == 0


def test_inspect_tells_people_what_a_model_and_a_bundle_hold(edgerl, packed):
    model = edgerl("inspect", packed / "policy.onnx").err
    bundle = edgerl("inspect", packed / "policy.edgerl").err
    for text in ("PPO by stable-baselines3", "period 50 ms", "17 float32", "-1 to 1: bthigh, bshin", "period_ns"):
        assert text in model
        assert text in bundle
    assert "3 Gemm" in model
    for text in ("parity passed 256 rows", "safe command 0 on all 6 channels", "then hold for 100 ms", "model.onnx"):
        assert text in bundle
    assert "None" not in model + bundle


def test_inspect_tells_people_what_a_recording_holds(edgerl, packed, tmp_path):
    pytest.importorskip("mujoco")
    recording = tmp_path / "run.mcap"
    ran = edgerl(
        "run", packed / "policy.edgerl", "--robot", "gym:HalfCheetah-v5", "--realtime", 0, "--ticks", 20,
        "--recording", recording,
    )  # fmt: skip
    assert ran.code == 0
    assert "no tick in real time" in ran.err
    shown = edgerl("inspect", recording)
    assert shown.code == 0
    for text in (
        "ticks on gym:HalfCheetah-v5",
        "complete",
        "17 of state, 6 of action, 6 of command",
        "ACTIVE policy",
        "UTC",
    ):
        assert text in shown.err


def test_inspect_says_of_a_foreign_model_that_it_carries_no_spec(edgerl, tmp_path):
    graph = helper.make_graph(
        [helper.make_node("Tanh", ["obs"], ["actions"])],
        "policy",
        [helper.make_tensor_value_info("obs", TensorProto.FLOAT, [1, 3])],
        [helper.make_tensor_value_info("actions", TensorProto.FLOAT, [1, 3])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "f.onnx")
    shown = edgerl("inspect", tmp_path / "f.onnx")
    assert "carries no spec" in shown.err
    assert "1 Tanh" in shown.err


@pytest.mark.parametrize("name", ["policy.onnx", "policy.edgerl"])
def test_inspect_stays_inside_a_narrow_terminal(packed, name):
    environment = {**os.environ, "COLUMNS": "40"}
    done = subprocess.run(
        [PROGRAM, "inspect", name], cwd=packed, env=environment, capture_output=True, text=True, check=True
    )
    headings = (name, "contract")
    assert all(len(line) <= 40 for line in done.stderr.splitlines() if not line.startswith(headings))


def test_pack_and_verify_show_every_claim_with_its_evidence(edgerl, packed, tmp_path):
    bundle = tmp_path / "p.edgerl"
    words = ("--target", "linux-x86_64", "--envelope", EXAMPLE / "envelope.toml", "-o", bundle)
    answer = edgerl("pack", packed / "policy.onnx", *words)
    assert answer.code == 0
    assert "parity passed" in answer.err
    assert "signature not_run" in answer.err
    assert bundle.read_bytes() == (packed / "policy.edgerl").read_bytes()
    verified = edgerl("verify", bundle, "--json")
    assert verified.code == 0
    claims = {one["name"]: one["status"] for one in verified.json["claims"]}
    assert claims["files"] == claims["spec"] == claims["golden"] == claims["envelope"] == "passed"
    assert claims["signature"] == "not_run"


def test_pack_refuses_a_policy_that_leaves_something_unknown(edgerl, tmp_path):
    edgerl("export", EXAMPLE, "-o", tmp_path / "p.onnx")
    answer = edgerl("pack", tmp_path / "p.onnx", "--target", "linux-x86_64", "-o", tmp_path / "p.edgerl")
    assert answer.code == 1
    assert "period_s" in answer.err
    assert "--template" in answer.err
    assert not (tmp_path / "p.edgerl").exists()


def test_diff_says_where_two_models_differ(edgerl, packed, tmp_path):
    spec = tmp_path / "spec.toml"
    spec.write_text((EXAMPLE / "spec.toml").read_text().replace("0.05", "0.02"))
    edgerl("export", EXAMPLE, "-o", tmp_path / "p.onnx", "--spec", spec)
    answer = edgerl("diff", packed / "policy.onnx", tmp_path / "p.onnx", "--json").json
    assert not answer["identical"]
    assert [(one["field"], one["first"], one["second"]) for one in answer["model"]["fields"]] == [
        ("period_ns", "50000000", "20000000")
    ]
    assert all(one["max_difference"] == 0 for one in answer["model"]["actions"])
    assert "identical" in edgerl("diff", packed / "policy.onnx", packed / "policy.onnx").err
    assert "period_ns" in edgerl("diff", packed / "policy.onnx", tmp_path / "p.onnx").err


def test_diff_of_two_kinds_is_refused(edgerl, packed):
    answer = edgerl("diff", packed / "policy.onnx", packed / "policy.edgerl")
    assert answer.code == 1
    assert "expected two models or two bundles" in answer.err


def test_targets_and_modes_print_what_the_runtime_uses(edgerl):
    assert "linux-x86_64" in edgerl("targets").err
    assert [one["name"] for one in edgerl("targets", "--json").json] == ["linux-aarch64", "linux-x86_64"]
    rows = edgerl("modes", "--json").json
    cells = {(row["mode"], row["event"]): (row["source"], row["next_mode"]) for row in rows}
    assert cells["active", "nominal"] == ("policy", "active")
    assert cells["active", "policy-fault"][1] == "fallback"
    assert {next_mode for (_, event), (_, next_mode) in cells.items() if event == "estop"} == {"stopped"}


def test_doctor_judges_this_machine_for_the_rate_of_the_bundle(edgerl, packed):
    answer = edgerl("doctor", packed / "policy.edgerl", "--json")
    examination = answer.json
    assert (examination["period_ns"], examination["rate_from"]) == (50_000_000, "bundle")
    assert answer.code == (0 if examination["fit"] else 3)
    checks = {one["name"]: one["status"] for one in examination["checks"]}
    assert checks["core"] == checks["backends"] == checks["target"] == "pass"
    shown = edgerl("doctor", packed / "policy.edgerl")
    assert f"{'fit' if examination['fit'] else 'unfit'} for 20 Hz (bundle)" in shown.err


def test_doctor_finds_no_machine_fit_for_a_megahertz(edgerl):
    answer = edgerl("doctor", "--rate", 1_000_000)
    assert answer.code == 3
    assert "unfit for 1e+06 Hz (caller): " in answer.err
    assert edgerl("doctor", "--rate", -5).code == 2


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("nonsense",),
        ("export",),
        ("export", "x.zip"),
        ("pack", "x.onnx"),
        ("run", "x.edgerl"),
        ("verify", "--what"),
    ],
)
def test_wrong_usage_ends_with_code_2(edgerl, words):
    answer = edgerl(*words)
    assert answer.code == 2
    assert "Traceback" not in answer.err


@pytest.mark.parametrize(
    "words",
    [
        ("inspect",),
        ("inspect", "x", "--what"),
        ("nonsense",),
        ("export", "x.zip"),
        ("run", "x.edgerl", "--robot", "gym:X", "--seed", "-1"),
        ("run", "x.edgerl", "--robot", "gym:X", "--seed", 2**63),
        ("run", "x.edgerl", "--robot", "udp:127.0.0.1:7000", "--episodes", "2"),
        ("run", "x.edgerl", "--robot", "udp:127.0.0.1:7000", "--realtime", "2"),
        ("pack", "x.onnx", "--target", "linux-x86_64", "-o", "x.edgerl", "--release", "0"),
        ("export", "x.onnx", "-o", "x.onnx"),
        ("export", "x.zip", "--template", "-o", "x.toml"),
    ],
)
def test_wrong_usage_is_one_json_document_too(edgerl, words):
    answer = edgerl(*words, "--json")
    assert answer.code == 2
    assert answer.err == ""
    assert answer.json["error"]["exit_code"] == 2
    assert answer.json["error"]["message"]
    plain = edgerl(*words)
    assert (plain.code, plain.out) == (2, "")
    assert answer.json["error"]["message"].split()[0] in plain.err


def test_a_template_with_json_is_one_document(edgerl):
    assert edgerl("export", EXAMPLE, "--template", "--json").json["template"] == edgerl(
        "export", EXAMPLE, "--template"
    ).out  # fmt: skip


def test_a_failed_gate_keeps_its_exit_code_with_json(edgerl, packed, tmp_path):
    with np.load(EXAMPLE / "truth.npz") as arrays:
        np.savez(tmp_path / "truth.npz", obs=arrays["obs"], action=arrays["action"] + np.float32(0.5))
    answer = edgerl("export", EXAMPLE, "--truth", tmp_path / "truth.npz", "-o", tmp_path / "p.onnx", "--json")
    assert answer.code == answer.json["error"]["exit_code"] == 3


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), ImportError("initialization failed")])
def test_ctrl_c_ends_with_130_wherever_it_hits(edgerl, monkeypatch, interruption):
    if isinstance(interruption, ImportError):
        interruption.__cause__ = KeyboardInterrupt()

    def interrupted(**_):
        raise interruption

    monkeypatch.setattr(cli, "app", interrupted)
    assert (edgerl("targets").code, edgerl("targets").err) == (130, "")
    answer = edgerl("targets", "--json")
    assert answer.code == answer.json["error"]["exit_code"] == 130


def test_an_import_that_fails_by_itself_is_a_bug_and_shows(edgerl, monkeypatch):
    def broken(**_):
        raise ImportError("no such module")

    monkeypatch.setattr(cli, "app", broken)
    with pytest.raises(ImportError):
        edgerl("targets")


def test_every_command_has_help_and_json(edgerl):
    commands = ("export", "inspect", "diff", "pack", "verify", "doctor", "run", "budgets", "demo", "targets", "modes")
    overview = edgerl("--help").out
    for command in commands:
        assert command in overview
        assert "--json" in edgerl(command, "--help").out


def test_an_error_with_json_is_one_document_too(edgerl, tmp_path):
    answer = edgerl("inspect", tmp_path / "nothing", "--json")
    assert answer.code == 1
    assert answer.json["error"]["type"] == "UnreadableFile"
    assert answer.json["error"]["exit_code"] == 1


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_can_complete(shell):
    environment = {
        **os.environ,
        "_EDGERL_COMPLETE": f"source_{shell}",
        "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1",
    }
    done = subprocess.run([PROGRAM], env=environment, capture_output=True, text=True, check=True)
    assert "_EDGERL_COMPLETE" in done.stdout


@pytest.mark.skipif(not shutil.which("bash"), reason="bash is not installed")
def test_completion_knows_the_commands():
    environment = {**os.environ, "_EDGERL_COMPLETE": "complete_bash", "COMP_WORDS": "edgerl ex", "COMP_CWORD": "1"}
    done = subprocess.run([PROGRAM], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["export"]


@pytest.mark.skipif(not shutil.which("bash"), reason="bash is not installed")
def test_completion_knows_the_targets():
    words = {"COMP_WORDS": "edgerl pack --target linux-x", "COMP_CWORD": "3"}
    environment = {**os.environ, "_EDGERL_COMPLETE": "complete_bash", **words}
    done = subprocess.run([PROGRAM], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["linux-x86_64"]


def test_the_installed_program_prints_one_json_document_and_nothing_else():
    done = subprocess.run([PROGRAM, "targets", "--json"], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert len(json.loads(done.stdout)) == 2
