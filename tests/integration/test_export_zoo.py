"""Every checkpoint in the repository, from its file to a model that acts as its trainer did."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgerl.backends.onnxruntime import OnnxRuntimeRunner
from edgerl.export import export_checkpoint, load_export, save_export
from edgerl.golden import verify_golden
from edgerl.importers import read_checkpoint
from edgerl.lowering import lower
from edgerl.oracle import run_oracle
from edgerl.parity import choice_margins
from tests.reference import Reference

TESTS = Path(__file__).parents[1]
CHEETAH = TESTS.parent / "examples" / "halfcheetah"
FOLDERS = [*sorted((TESTS / "zoo").glob("sb3*")), CHEETAH]
"""Each has a checkpoint, perhaps its statistics, and the trainer's own actions."""

BLOCKER = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "gymnasium", "gym", "stable_baselines3", "sb3_contrib", "cloudpickle"):
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Blocker())
import json
from pathlib import Path
from edgerl.export import export_checkpoint
for name in sys.argv[1:]:
    folder = Path(name)
    report = export_checkpoint(folder / "model.zip", truth=folder / "truth.npz").certificate.parity
    wrong = sum(channel.wrong for channel in report.channels)
    print(json.dumps([folder.name, report.status, wrong, report.near_tie_count, report.rows]))
"""


def test_there_are_checkpoints_to_look_at():
    assert len(FOLDERS) > 20


def test_parity_holds_for_every_checkpoint_with_torch_and_gymnasium_not_importable():
    command = [sys.executable, "-c", BLOCKER, *map(str, FOLDERS)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [result[0] for result in results] == [folder.name for folder in FOLDERS]
    assert [result for result in results if result[1:4] != ["passed", 0, 0]] == []
    assert min(result[4] for result in results) >= 16


@pytest.fixture(params=FOLDERS, ids=lambda folder: folder.name)
def folder(request):
    return request.param


def test_an_export_reads_back_from_its_files_and_verifies(folder, tmp_path):
    export = export_checkpoint(folder / "model.zip", truth=folder / "truth.npz")
    save_export(export, tmp_path / "policy.onnx")
    loaded = load_export(tmp_path / "policy.onnx")
    assert loaded.model == export.model and loaded.certificate == export.certificate
    runner = OnnxRuntimeRunner(loaded.model.onnx, loaded.model.spec)
    assert verify_golden(runner, loaded.golden).status == "passed"
    assert export_checkpoint(tmp_path / "policy.onnx", truth=folder / "truth.npz").model == export.model


def test_the_golden_tolerance_leaves_room_for_another_backends_rounding(folder):
    """The reference computes in float64: what is within reach of it is within reach of any float32 engine."""
    policy = read_checkpoint(folder / "model.zip")
    golden = export_checkpoint(folder / "model.zip", truth=folder / "truth.npz").golden
    interpreter = Reference(policy)
    for row in range(golden.rows):
        if golden.episode_start[row]:
            interpreter.reset()
        expected = interpreter.act({name: array[row] for name, array in golden.inputs.items()})
        error = np.abs(golden.expected_float32[row] - expected)
        assert np.all(error[golden.decided[row]] <= golden.tolerance[golden.decided[row]]), (row, error)


def test_the_graph_of_the_example_holds_exactly_these_operators():
    nodes = lower(read_checkpoint(CHEETAH / "model.zip")).proto().graph.node
    assert [node.op_type for node in nodes] == ["Sub", "Div", "Clip", "Gemm", "Relu", "Gemm", "Relu", "Gemm", "Clip"]


def test_choices_of_the_recorded_rows_are_not_near_ties():
    """Zero wrong choices says something only where the choices were clear."""
    clear = []
    for folder in FOLDERS:
        export = export_checkpoint(folder / "model.zip", truth=folder / "truth.npz")
        run = run_oracle(export.model, export.golden.inputs, export.golden.episode_start)
        if run.logits is not None:
            decided = choice_margins(export.model.spec, run.logits).decided(1e-3)
            clear.append(decided[export.golden.trainer_rows].mean())
    assert len(clear) > 5 and np.mean(clear) > 0.9
