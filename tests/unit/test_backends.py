"""Backends are found by name, and an engine that breaks its contract is not built."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

import edgerl.backends as backends
from edgerl.backends import Finding, backend_names, build, check_runner, find_backend
from edgerl.backends.onnxruntime import OnnxRuntimeBackend, OnnxRuntimeRunner
from edgerl.errors import EngineError, TargetError, UnknownBackend, VerificationFailed
from edgerl.golden.rows import make_golden
from edgerl.lowering import lower
from edgerl.spec import save_spec
from edgerl.target import Target, load_target
from tests.policies import memory_policy, mlp

MODEL = lower(mlp())
GOLDEN = make_golden(MODEL, rows=16)
TARGET = Target(1, "here", "this machine", "x86_64", "linux", (), {"onnxruntime": ("float32",)}, 1, 10**9, "for tests")


class Changed(OnnxRuntimeBackend):
    """A backend that makes an engine with one field changed."""

    def __init__(self, **changes):
        self.changes = changes

    def compile(self, model, target):
        return replace(super().compile(model, target), **self.changes)


def test_the_built_in_backend_is_known_without_installation():
    assert "onnxruntime" in backend_names()
    assert find_backend("onnxruntime").name == "onnxruntime"


def test_an_unknown_backend_lists_the_installed_ones():
    with pytest.raises(UnknownBackend, match=r"'tensorrt9'.*onnxruntime"):
        find_backend("tensorrt9")


def test_a_backend_whose_library_is_missing_says_so(monkeypatch):
    monkeypatch.setattr(backends, "BUILT_IN", {"vendor": "no_such_vendor.backend:Backend"})
    with pytest.raises(EngineError, match="'vendor' cannot be imported"):
        find_backend("vendor")


def test_names_are_listed_without_importing_a_backend():
    code = (
        "import sys; from edgerl.backends import backend_names; assert 'onnxruntime' in backend_names()\n"
        "print(sorted({'onnx', 'onnxruntime', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_runner_of_the_robot_needs_no_onnx(tmp_path):
    (tmp_path / "policy.onnx").write_bytes(MODEL.onnx)
    (tmp_path / "spec.json").write_text(save_spec(MODEL.spec))
    code = (
        "import sys; sys.modules['onnx'] = None\n"
        "from pathlib import Path; from edgerl.spec import load_spec\n"
        "from edgerl.backends import Engine, find_backend\n"
        f"folder = Path({str(tmp_path)!r}); spec = load_spec((folder / 'spec.json').read_text(), 'spec')\n"
        "data = (folder / 'policy.onnx').read_bytes()\n"
        "engine = Engine('onnxruntime', 'here', 'float32', '0' * 64, spec, {'policy.onnx': data})\n"
        "runner = find_backend('onnxruntime').load(engine); runner.infer(); print(runner.outputs['action'].shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(1, 2)"


def test_the_targets_of_the_repository_build():
    engine = build(MODEL, load_target("linux-x86_64"), find_backend("onnxruntime"), GOLDEN)
    assert engine.files["policy.onnx"] == MODEL.onnx


def test_a_target_without_the_backend_refuses():
    with pytest.raises(TargetError, match="does not take backend 'onnxruntime'"):
        build(MODEL, replace(TARGET, backends={"native": ("float32",)}), OnnxRuntimeBackend(), GOLDEN)


@pytest.mark.parametrize(("changes", "message"), [
    ({"parent": "0" * 64}, "parent"),
    ({"backend": "native"}, "backend"),
    ({"target": "elsewhere"}, "target"),
    ({"spec": lower(mlp(size=6)).spec}, "spec"),
    ({"precision": "int8"}, "int8"),
    ({"files": {}}, "without files"),
])  # fmt: skip
def test_an_engine_that_claims_something_else_is_refused(changes, message):
    with pytest.raises(EngineError, match=message):
        build(MODEL, TARGET, Changed(**changes), GOLDEN)


def test_an_engine_that_acts_differently_is_refused():
    other = lower(mlp(seed=3))
    with pytest.raises(VerificationFailed, match=r"golden set: row \d+, channel \d"):
        build(MODEL, TARGET, Changed(files={"policy.onnx": other.onnx}), GOLDEN)


def test_a_refusal_of_the_preflight_stops_the_build_and_a_note_does_not():
    class Picky(OnnxRuntimeBackend):
        severity = "refusal"

        def preflight(self, model, target):
            return [Finding(self.severity, "operator Erf", "use tanh")]

    with pytest.raises(EngineError, match=r"operator Erf \(use tanh\)"):
        build(MODEL, TARGET, Picky(), GOLDEN)
    Picky.severity = "note"
    assert build(MODEL, TARGET, Picky(), GOLDEN).parent == MODEL.digest


def test_a_model_that_onnx_runtime_cannot_load_is_a_refusal():
    broken = replace(MODEL, onnx=MODEL.onnx[:200])
    assert [finding.severity for finding in OnnxRuntimeBackend().preflight(broken, TARGET)] == ["refusal"]


def test_an_engine_of_another_backend_is_not_loaded():
    engine = OnnxRuntimeBackend().compile(MODEL, TARGET)
    with pytest.raises(EngineError, match="backend 'native'"):
        OnnxRuntimeBackend().load(replace(engine, backend="native"))


def test_a_model_of_another_spec_is_not_loaded():
    with pytest.raises(EngineError, match="its spec says"):
        OnnxRuntimeRunner(MODEL.onnx, lower(memory_policy()).spec)


def test_a_runner_with_other_arrays_is_refused():
    @dataclass
    class Wrong:
        inputs: dict
        outputs: dict
        state: dict

    action = {"action": np.zeros((1, 2), np.float32)}
    with pytest.raises(EngineError, match="float64"):
        check_runner(Wrong({"observation": np.zeros((1, 5), np.float64)}, action, {}), MODEL.spec, "it")
    every_second = np.zeros((1, 10), np.float32)[:, ::2]
    with pytest.raises(EngineError, match="contiguous"):
        check_runner(Wrong({"observation": every_second}, action, {}), MODEL.spec, "it")


def test_the_entry_point_of_the_project_names_the_backend():
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert 'onnxruntime = "edgerl.backends.onnxruntime:OnnxRuntimeBackend"' in text
