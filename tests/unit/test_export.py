"""An export is a model, a golden set and a certificate that belong together, all written or none."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgerl import canonical
from edgerl.errors import GoldenError, MissingExtra, ModelError, OutputError, ParityFailed, SpecError, UnreadableFile
from edgerl.export import Certificate, export_module, export_paths, export_policy, load_export, save_export
from edgerl.golden import save_golden_bytes
from edgerl.oracle import run_oracle
from tests.policies import memory_policy, mlp, rng

POLICY = mlp()
EXPORT = export_policy(POLICY, golden_rows=32)


@pytest.fixture
def truth(tmp_path):
    """A truth file of what the policy does, with one action moved by ``by``."""

    def write(by: float = 0.0) -> Path:
        obs = rng(3).standard_normal((20, 5)).astype(np.float32)
        action = run_oracle(EXPORT.model, {"observation": obs}, np.ones(20, bool)).action
        action[11, 1] += by
        np.savez(tmp_path / "truth.npz", obs=obs, action=action)
        return tmp_path / "truth.npz"

    return write


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_certificate_says_what_was_compared_with_what(truth):
    path = truth()
    certificate = export_policy(POLICY, truth=path, golden_rows=32).certificate
    assert certificate.parity.status == "passed" and certificate.parity.rows == 20
    assert certificate.parity.against == "truth.npz" and len(certificate.truth) == 64
    assert certificate.checkpoint == POLICY.spec.provenance.digests
    assert certificate.model == EXPORT.model.digest and certificate.defaults == ("robot",)
    assert [item.field for item in certificate.unknowns] == ["period_s"]
    assert set(certificate.versions) == {"python", "edgerl", "numpy", "onnx", "onnxruntime"}
    assert canonical.loads(Certificate, canonical.dumps(certificate), "certificate") == certificate


def test_without_truth_parity_is_not_run_and_the_certificate_says_so():
    assert EXPORT.certificate.parity.status == "not_run" and EXPORT.certificate.truth is None
    assert "no truth" in EXPORT.certificate.parity.against
    assert EXPORT.golden.rows == 32


def test_an_export_that_acts_differently_is_not_made(truth):
    with pytest.raises(ParityFailed, match="row 11, action channel 1"):
        export_policy(POLICY, truth=truth(1e-3))


def test_the_spec_file_completes_the_spec_inside_the_model(tmp_path):
    (tmp_path / "extra.toml").write_text("rate_hz = 50\n")
    export = export_policy(POLICY, spec=tmp_path / "extra.toml", golden_rows=16)
    assert export.model.spec.period_ns == 20_000_000 and export.certificate.unknowns == ()
    assert export.model.digest != EXPORT.model.digest
    (tmp_path / "extra.toml").write_text("rate = 50\n")
    with pytest.raises(SpecError):
        export_policy(POLICY, spec=tmp_path / "extra.toml")


def test_three_files_are_written_and_read_back_equal(tmp_path):
    save_export(EXPORT, tmp_path / "policy.onnx")
    assert files(tmp_path) == ["policy.certificate.json", "policy.golden.npz", "policy.onnx"]
    loaded = load_export(tmp_path / "policy.onnx")
    assert (loaded.model, loaded.certificate) == (EXPORT.model, EXPORT.certificate)
    assert loaded.golden.digest == EXPORT.golden.digest == EXPORT.certificate.golden
    assert (tmp_path / "policy.certificate.json").read_text() == canonical.dumps(EXPORT.certificate) + "\n"


def test_the_same_policy_gives_the_same_three_files():
    again = export_policy(mlp(), golden_rows=32)
    assert again.model.onnx == EXPORT.model.onnx and again.certificate == EXPORT.certificate
    assert save_golden_bytes(again.golden) == save_golden_bytes(EXPORT.golden)


def test_nothing_is_written_when_one_of_the_files_cannot_be(tmp_path):
    (tmp_path / "policy.certificate.json").mkdir()
    with pytest.raises(OutputError):
        save_export(EXPORT, tmp_path / "policy.onnx")
    assert files(tmp_path) == ["policy.certificate.json"]
    with pytest.raises(OutputError, match=r"ends in \.onnx"):
        export_paths(tmp_path / "policy.bin")


def test_files_of_two_exports_do_not_pass_for_one(tmp_path):
    other = export_policy(mlp(seed=5), golden_rows=16)
    save_export(other, tmp_path / "other.onnx")
    save_export(EXPORT, tmp_path / "policy.onnx")
    golden, certificate = export_paths(tmp_path / "policy.onnx")
    for path, taken in ((golden, "other.golden.npz"), (certificate, "other.certificate.json")):
        kept = path.read_bytes()
        path.write_bytes((tmp_path / taken).read_bytes())
        with pytest.raises(ModelError, match="companion files"):
            load_export(tmp_path / "policy.onnx")
        path.write_bytes(kept)
    golden.write_bytes(b"PK\x05\x06" + bytes(18))
    with pytest.raises(GoldenError):
        load_export(tmp_path / "policy.onnx")
    golden.unlink()
    with pytest.raises(UnreadableFile):
        load_export(tmp_path / "policy.onnx")


def test_a_missing_or_damaged_certificate_is_refused(tmp_path):
    save_export(EXPORT, tmp_path / "policy.onnx")
    certificate = export_paths(tmp_path / "policy.onnx")[1]
    certificate.write_text("{}")
    with pytest.raises(SpecError, match=r"policy\.certificate\.json"):
        load_export(tmp_path / "policy.onnx")
    certificate.unlink()
    with pytest.raises(ModelError, match="certificate that edgerl export"):
        load_export(tmp_path / "policy.onnx")


def test_a_policy_with_memory_is_exported_with_its_initial_state():
    export = export_policy(memory_policy("lstm", 2), golden_rows=64)
    assert export.model.spec.state[0].initial == memory_policy("lstm", 2).spec.state[0].initial
    assert export.golden.episode_start.sum() == 2 and set(export.golden.state) == {"state.memory.h", "state.memory.c"}


def test_exporting_a_module_without_torch_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtra, match=r"edgerl\[torch\]"):
        export_module(object(), replace(POLICY.spec))


def test_importing_the_export_imports_no_torch():
    code = "import sys, edgerl.export; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
