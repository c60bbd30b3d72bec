"""A torch module is traced, wrapped and compared with itself. Skipped where torch is not installed."""

from __future__ import annotations

import numpy as np
import pytest

from edgerl.errors import ModelError, ParityFailed, UnsupportedModel
from edgerl.export import export_module
from edgerl.oracle import run_oracle
from edgerl.policy import ActionMap
from edgerl.spec import StateTensor
from tests.policies import box, box_head, choice_head, spec_of

torch = pytest.importorskip("torch", reason="torch is not installed")
nn = torch.nn

SPEC = spec_of([box("observation", 5)], box_head(2, clip=False))


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def test_a_module_is_exported_in_opset_17_without_external_data_and_acts_the_same():
    module = nn.Sequential(nn.Linear(5, 16), nn.ELU(), nn.Linear(16, 2), nn.Tanh())
    export = export_module(module, SPEC, golden_rows=64)
    parity = export.certificate.parity
    assert parity.status == "passed" and parity.rows == 64 and parity.against == "the module itself"
    nodes = export.model.proto().graph.node
    assert [node.op_type for node in nodes] == ["Identity", "Gemm", "Elu", "Gemm", "Tanh", "Identity"]
    assert {node.name.split("/")[0] for node in nodes} == {"pre", "core", "post"}


def test_dropout_and_batch_statistics_are_those_of_evaluation_and_training_goes_on():
    module = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2))
    module.train()
    module[2].eval()
    assert export_module(module, SPEC, golden_rows=32).certificate.parity.status == "passed"
    assert module.training and module[1].training and not module[2].training


@pytest.mark.parametrize(("head", "size"), [
    (choice_head(3), 3), (choice_head(2, 3), 5), (ActionMap("multi_binary", (0.0,) * 3, (1.0,) * 3), 3),
])  # fmt: skip
def test_logits_are_chosen_from_after_the_core(head, size):
    export = export_module(nn.Linear(5, size), spec_of([box("observation", 5)], head), golden_rows=64)
    assert export.certificate.parity.status == "passed"
    assert export.model.proto().graph.output[0].type.tensor_type.elem_type == 6  # int32


class Choosing(nn.Module):
    def forward(self, observation):
        return observation.argmax(dim=1)


def test_a_module_that_chooses_itself_is_taken_at_its_word():
    export = export_module(Choosing(), spec_of([box("observation", 5)], choice_head(5)), golden_rows=64)
    assert export.certificate.parity.status == "passed"


class Cell(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell, self.out = nn.GRUCell(5, 8), nn.Linear(8, 2)

    def forward(self, observation, hidden):
        hidden = self.cell(observation, hidden[0])
        return self.out(hidden), hidden[None]


def test_memory_is_carried_through_the_contracts_state():
    state = StateTensor("state.gru.h", (1, 1, 8), tuple(np.linspace(-1, 1, 8).tolist()))
    spec = spec_of([box("observation", 5)], box_head(2, clip=False), [state])
    export = export_module(Cell(), spec, golden_rows=96)
    assert export.certificate.parity.status == "passed" and export.golden.episode_start.sum() == 3
    assert export.golden.state["state.gru.h"].std(axis=0).min() > 1e-3


class Two(nn.Module):
    def forward(self, image, phase):
        return torch.cat([image.float().flatten(1).mean(1, keepdim=True), phase.float()], dim=1)


def test_several_inputs_keep_their_order_and_dtypes():
    inputs = [box("observation.image", 2, 3, 1, dtype="uint8"), box("observation.phase", 1, dtype="int32")]
    export = export_module(Two(), spec_of(inputs, box_head(2, clip=False)), golden_rows=32)
    assert export.certificate.parity.status == "passed"
    rows = {"observation.image": np.full((1, 2, 3, 1), 9, np.uint8), "observation.phase": np.array([[4]], np.int32)}
    assert run_oracle(export.model, rows, np.ones(1, bool)).action.tolist() == [[9.0, 4.0]]


class Branching(nn.Module):
    def forward(self, observation):
        return observation[:, :2] if observation.sum() > 0 else -observation[:, :2]


class Random(nn.Module):
    def forward(self, observation):
        return observation[:, :2] + torch.rand(1, 2)


class Broken(nn.Module):
    def forward(self, observation):
        raise ValueError("no weights loaded")


def test_a_branch_on_a_value_is_refused_with_its_line():
    with pytest.raises(UnsupportedModel, match=r"branches on the value of a tensor in test_torch_module\.py, line \d+"):
        export_module(Branching(), SPEC)


def test_a_module_that_does_not_answer_twice_the_same_fails_parity():
    with pytest.raises(ParityFailed):
        export_module(Random(), SPEC, golden_rows=16)


def test_what_a_module_raises_is_said():
    with pytest.raises(UnsupportedModel, match="no weights loaded"):
        export_module(Broken(), SPEC)


@pytest.mark.parametrize(("module", "message"), [
    (nn.Linear(5, 3), "needs float32 in 2 elements"),
    (nn.Linear(5, 2).double(), "cannot be traced"),
])  # fmt: skip
def test_answers_that_do_not_fit_the_spec_are_refused(module, message):
    with pytest.raises(ModelError, match=message):
        export_module(module, SPEC)
