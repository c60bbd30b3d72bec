"""A network of your own: any torch.nn.Module, with a spec that says what it takes and answers."""

import torch

import edgerl
from edgerl.spec import Action, Input, Provenance, Robot, opaque_term, packed


class Gated(torch.nn.Module):
    """Two branches, one opening and closing the other: nothing that a list of layers could say."""

    def __init__(self) -> None:
        super().__init__()
        self.value = torch.nn.Linear(8, 3)
        self.gate = torch.nn.Linear(8, 3)

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.value(observation)) * torch.sigmoid(self.gate(observation))


torch.manual_seed(0)
spec = edgerl.PolicySpec(
    schema=1,
    inputs=packed([Input("observation", (8,), "float32", 0, (opaque_term("observation", 8),))]),
    action=Action(
        "continuous",
        None,
        None,
        "opaque",
        (-1.0,) * 3,
        (1.0,) * 3,
        clipped_in_graph=False,
        raw=False,
        offset=None,
        scale=None,
    ),
    robot=Robot((), None, None, None, "none", None, 1),
    period_ns=20_000_000,
    state=(),
    provenance=Provenance("torch", torch.__version__, None, {}, {}, 0, ()),
    sources={"inputs": "user", "action": "user", "period_ns": "user"},
)
export = edgerl.export_module(Gated(), spec)
worst = max(channel.max_error for channel in export.certificate.parity.channels)
print(f"parity with the module {export.certificate.parity.status}: largest error {worst:.1e}")
