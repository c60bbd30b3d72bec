"""Bad input: one clear message, the right exit code, no traceback, and nothing written or half-written."""

from __future__ import annotations

import base64
import io
import json
import pickle
import platform
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

EXAMPLE = Path(__file__).parents[2] / "examples" / "halfcheetah"


class Exploit:
    """Unpickled by the usual loader, it makes the file that it names."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self):
        import os  # noqa: PLC0415

        return os.system, (f"touch {self.victim}",)


@pytest.fixture
def refused(edgerl, tmp_path):
    """Run a command that must fail, and check that the folder it would write to is as before."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "before.txt").write_text("here before")

    def run(*words, code=1, says=()):
        answer = edgerl(
            *(out / word[4:] if isinstance(word, str) and word.startswith("out/") else word for word in words)
        )
        assert answer.code == code, answer.err
        assert answer.out == ""
        assert "Traceback" not in answer.err
        assert answer.err.startswith(("error:", "no:"))
        for text in says:
            assert text in answer.err, answer.err
        assert [path.name for path in out.iterdir()] == ["before.txt"]
        return answer

    return run


def _checkpoint(tmp_path: Path, **replaced: bytes) -> Path:
    """The example's zip with members replaced."""
    path = tmp_path / "model.zip"
    with zipfile.ZipFile(EXAMPLE / "model.zip") as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            target.writestr(name, replaced.get(name.replace(".", "_"), source.read(name)))
    return path


def test_a_truncated_zip(refused, tmp_path):
    data = (EXAMPLE / "model.zip").read_bytes()
    path = tmp_path / "model.zip"
    for length in (0, 100, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        refused("export", path, "-o", "out/p.onnx", says=["model.zip"])
        refused("inspect", path, says=["model.zip"])


def test_a_missing_file(refused, tmp_path):
    refused("export", tmp_path / "nothing.zip", "-o", "out/p.onnx", says=["nothing.zip", "no such file"])


def test_a_checkpoint_that_would_call_the_system_is_read_without_calling_it(refused, tmp_path):
    victim = tmp_path / "executed"
    data = json.loads(zipfile.ZipFile(EXAMPLE / "model.zip").read("data"))
    data["action_space"] = {":type:": "x", ":serialized:": base64.b64encode(pickle.dumps(Exploit(victim))).decode()}
    path = _checkpoint(tmp_path, data=json.dumps(data).encode())
    refused("export", path, "--stats", "none", "-o", "out/p.onnx", says=["posix.system"])
    assert not victim.exists()


def test_statistics_that_would_call_the_system_are_refused(refused, tmp_path):
    victim = tmp_path / "executed"
    stats = tmp_path / "stats.pkl"
    stats.write_bytes(pickle.dumps(Exploit(victim)))
    refused("export", EXAMPLE / "model.zip", "--stats", stats, "-o", "out/p.onnx", says=["stats.pkl"])
    assert not victim.exists()


def test_a_checkpoint_of_an_unknown_trainer(refused, tmp_path):
    path = tmp_path / "agent.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights.bin", b"\0" * 64)
    refused(
        "export", path, "-o", "out/p.onnx", says=["no importer recognizes this", "weights.bin", "Stable-Baselines3"]
    )
    refused("export", EXAMPLE, "--trainer", "keras", "-o", "out/p.onnx", says=["'keras'", "sb3"])


def test_statistics_of_another_shape(refused):
    other = Path(__file__).parents[1] / "zoo" / "sb3-ppo-pendulum-vecnorm" / "vecnormalize.pkl"
    refused("export", EXAMPLE / "model.zip", "--stats", other, "-o", "out/p.onnx", says=["(3,)", "(17,)", "--stats"])


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"action": np.zeros((4, 6), np.float32)}, ["obs"]),
        ({"obs": np.zeros((4, 17))}, ["action"]),
        ({"obs": np.zeros((4, 16)), "action": np.zeros((4, 6), np.float32)}, ["16", "17"]),
        ({"obs": np.zeros((4, 17)), "action": np.zeros((4, 5), np.float32)}, ["5", "6"]),
        ({"obs": np.zeros((4, 17)), "action": np.zeros((3, 6), np.float32)}, ["3", "4"]),
        ({"obs": np.zeros((0, 17)), "action": np.zeros((0, 6), np.float32)}, []),
        ({"obs": np.array([{}] * 4), "action": np.zeros((4, 6), np.float32)}, []),
    ],
)
def test_a_truth_file_that_does_not_fit(refused, tmp_path, arrays, says):
    truth = tmp_path / "truth.npz"
    np.savez(truth, **arrays)
    refused("export", EXAMPLE, "--truth", truth, "-o", "out/p.onnx", says=["truth.npz", *says])


def test_a_truth_that_the_policy_does_not_act_like(refused, tmp_path):
    with np.load(EXAMPLE / "truth.npz") as arrays:
        action = arrays["action"].copy()
        action[[7, 9], [2, 4]] += [0.5, 0.001]
        np.savez(tmp_path / "truth.npz", obs=arrays["obs"], action=action)
    refused("export", EXAMPLE, "--truth", tmp_path / "truth.npz", "-o", "out/p.onnx", code=3, says=["7", "2"])


def test_nan_in_the_truth(refused, tmp_path):
    with np.load(EXAMPLE / "truth.npz") as arrays:
        action = arrays["action"].copy()
        action[3, 1] = np.nan
        np.savez(tmp_path / "truth.npz", obs=arrays["obs"], action=action)
    refused("export", EXAMPLE, "--truth", tmp_path / "truth.npz", "-o", "out/p.onnx", says=["not finite", "row 3"])


def _onnx(path: Path, shape: list[int | str], operator: str = "Tanh", opset: int = 17) -> Path:
    graph = helper.make_graph(
        [helper.make_node(operator, ["obs"], ["actions"])],
        "policy",
        [helper.make_tensor_value_info("obs", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("actions", TensorProto.FLOAT, shape)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), path)
    return path


def test_an_onnx_with_dynamic_shapes(refused, tmp_path):
    path = _onnx(tmp_path / "policy.onnx", [1, "n"])
    refused("export", path, "-o", "out/p.onnx", says=["'obs'", "(1, n)", "static"])


def test_an_onnx_of_a_newer_opset_that_cannot_be_converted(refused, tmp_path):
    path = _onnx(tmp_path / "policy.onnx", [1, 2], "Gelu", opset=20)
    spec = tmp_path / "spec.toml"
    spec.write_text('[action]\nkind = "continuous"\nlow = [-1.0, -1.0]\nhigh = [1.0, 1.0]\n')
    refused("export", path, "--spec", spec, "-o", "out/p.onnx", says=["opset 20", "17"])


def test_an_onnx_that_does_not_say_what_its_action_is(refused, tmp_path):
    path = _onnx(tmp_path / "policy.onnx", [1, 2])
    refused("export", path, "-o", "out/p.onnx", says=["action.kind", "action.low", "--spec"])


def test_an_onnx_cut_off_in_the_middle(refused, packed, tmp_path):
    path = tmp_path / "policy.onnx"
    path.write_bytes((packed / "policy.onnx").read_bytes()[:5000])
    refused("inspect", path, says=["policy.onnx"])
    refused("pack", path, "--target", "linux-x86_64", "-o", "out/p.edgerl", says=["policy.onnx"])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("period = 0.05", ["period", "period_s"]),
        ("period_s = -1", ["period_s"]),
        ("period_s = 'fast'", ["period_s"]),
        ("period_s = 0.05\n[action]\nnames = ['a']", ["names", "6"]),
        ("period_s = ", ["TOML"]),
    ],
)
def test_a_spec_file_that_says_something_impossible(refused, tmp_path, text, says):
    path = tmp_path / "spec.toml"
    path.write_text(text)
    refused("export", EXAMPLE, "--spec", path, "-o", "out/p.onnx", says=["spec.toml", *says])


def test_an_unknown_target(refused, packed):
    words = ("pack", packed / "policy.onnx", "--target", "toaster", "-o", "out/p.edgerl")
    refused(*words, says=["'toaster'", "linux-x86_64"])


def test_an_envelope_that_would_reject_its_own_policy(refused, packed, tmp_path):
    path = tmp_path / "envelope.toml"
    path.write_text((EXAMPLE / "envelope.toml").read_text().replace("high = 1.0", "high = 0.5"))
    words = ("pack", packed / "policy.onnx", "--target", "linux-x86_64", "--envelope", path, "-o", "out/p.edgerl")
    refused(*words, code=3, says=["0.5"])


def test_a_bundle_with_one_byte_changed(refused, packed, tmp_path):
    data = bytearray((packed / "policy.edgerl").read_bytes())
    path = tmp_path / "policy.edgerl"
    for position in (0, 40, len(data) // 3, len(data) // 2, len(data) - 1):
        changed = data.copy()
        changed[position] ^= 1
        path.write_bytes(changed)
        for command in ("verify", "inspect"):
            refused(command, path, code=3, says=["policy.edgerl"])
    refused("run", path, "--robot", "gym:HalfCheetah-v5", "--recording", "out/r.mcap", code=3, says=["policy.edgerl"])


@pytest.mark.parametrize("member", ["../evil.txt", "/etc/evil", "a/../../evil", "C:\\evil", "a\\b"])
def test_a_bundle_with_a_path_that_leaves_its_folder(refused, packed, tmp_path, member):
    path = tmp_path / "policy.edgerl"
    path.write_bytes(_with_member(packed / "policy.edgerl", member))
    refused("verify", path, code=3, says=["policy.edgerl"])
    assert not list(tmp_path.glob("**/*evil*"))


def test_a_bundle_with_a_file_too_many(refused, packed, tmp_path):
    path = tmp_path / "policy.edgerl"
    path.write_bytes(_with_member(packed / "policy.edgerl", "zz_more.txt"))
    refused("verify", path, code=3, says=["policy.edgerl"])


def _with_member(bundle: Path, member: str) -> bytes:
    """The bundle with one more member, in the archive's own form."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(bundle) as source, zipfile.ZipFile(buffer, "w") as target:
        contents = {name: source.read(name) for name in source.namelist()} | {member: b"evil"}
        for name in sorted(contents):
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.external_attr = 0o100644 << 16
            target.writestr(info, contents[name])
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("robot", "says"),
    [
        ("toaster", ["gym:"]),
        ("shm:robot", ["No driver waits at", "--serve robot"]),
        ("udp:localhost", ["udp:HOST:PORT"]),
        ("gym:NoSuchEnv-v0", ["NoSuchEnv"]),
        ("gym:CartPole-v1", ["CartPole-v1"]),
    ],
)
def test_a_robot_that_is_none_or_another(refused, packed, robot, says):
    refused("run", packed / "policy.edgerl", "--robot", robot, "--recording", "out/r.mcap", says=says)


def test_a_bundle_for_another_processor(refused, edgerl, packed, tmp_path):
    other = "linux-x86_64" if platform.machine() == "aarch64" else "linux-aarch64"
    path = tmp_path / "other.edgerl"
    assert edgerl("pack", packed / "policy.onnx", "--target", other, "-o", path).code == 0
    words = ("run", path, "--robot", "gym:HalfCheetah-v5", "--recording", "out/r.mcap")
    refused(*words, says=[f"'{other}'", platform.machine(), "--target"])


def test_a_robot_that_does_not_answer(refused, packed):
    words = ("run", packed / "policy.edgerl", "--robot", "udp:127.0.0.1:9", "--recording", "out/r.mcap")
    refused(*words, says=["127.0.0.1:9"])


def test_an_output_that_cannot_be_written(edgerl, tmp_path):
    answer = edgerl("export", EXAMPLE, "-o", tmp_path / "nowhere" / "p.onnx")
    assert answer.code == 1
    assert "nowhere" in answer.err
    assert list(tmp_path.iterdir()) == []
    assert edgerl("export", EXAMPLE, "-o", tmp_path / "p.bin").code == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["out/p.zip", "out/p.onnx", "out/p"])
def test_a_bundle_that_is_called_like_something_else(refused, packed, name):
    words = ("pack", packed / "policy.onnx", "--target", "linux-x86_64", "-o", name)
    refused(*words, says=[name[4:], ".edgerl"])


def test_packing_never_replaces_the_model_that_it_reads(edgerl, packed):
    before = (packed / "policy.onnx").read_bytes()
    words = ("pack", packed / "policy.onnx", "--target", "linux-x86_64", "-o", packed / "policy.onnx")
    assert edgerl(*words).code == 1
    assert (packed / "policy.onnx").read_bytes() == before


def test_a_report_that_cannot_be_written_is_refused_before_the_robot_moves(refused, packed, tmp_path):
    words = ("run", packed / "policy.edgerl", "--robot", "gym:HalfCheetah-v5", "--recording", "out/r.mcap")
    refused(*words, "--report", tmp_path / "nowhere" / "r.html", says=["nowhere"])
    refused(*words, "--report", tmp_path, says=["no regular file"])


@pytest.mark.parametrize(("module", "extra"), [("gymnasium", "sim"), ("matplotlib", "report")])
def test_an_extra_that_is_missing_is_said_before_anything_is_started(refused, packed, monkeypatch, module, extra):
    monkeypatch.setitem(sys.modules, module, None)
    words = ("run", packed / "policy.edgerl", "--robot", "gym:HalfCheetah-v5", "--recording", "out/r.mcap")
    refused(*words, "--report", "out/r.html", says=[f"edgerl[{extra}]"])
    refused("demo", "-o", "out/demo", says=[f"edgerl[{extra}]"])


def test_a_name_that_is_no_text(refused, tmp_path):
    refused("export", f"{tmp_path}/a\udcff.zip", "-o", "out/p.onnx", says=["a\\udcff.zip", "UTF-8", "rename"])
