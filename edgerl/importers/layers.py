"""Blocks of a Policy from a torch ``state_dict``: layers in sequence, convolutions, recurrent cells, activations.

Every tensor is taken by name; what nobody took is reported, so that a network with parts that are not understood is
refused and never exported without them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from edgerl.errors import DamagedCheckpoint, UnsupportedPolicy
from edgerl.policy import Activation, ActivationKind, Array, BatchNorm, Block, Conv, Dense, Recurrent, RecurrentLayer
from edgerl.untrusted.foreign import Foreign, brief

if TYPE_CHECKING:
    from collections.abc import Iterable

_INDEX = re.compile("[0-9]{1,4}")
_ACTIVATIONS: Mapping[str, tuple[ActivationKind, float | None]] = {
    "ReLU": ("relu", None),
    "Tanh": ("tanh", None),
    "Sigmoid": ("sigmoid", None),
    "ELU": ("elu", 1.0),
    "SELU": ("selu", None),
    "CELU": ("celu", 1.0),
    "LeakyReLU": ("leaky_relu", 0.01),
    "SiLU": ("silu", None),
    "GELU": ("gelu", None),
    "Softplus": ("softplus", None),
    "Softsign": ("softsign", None),
    "Mish": ("mish", None),
    "Hardtanh": ("hard_tanh", None),
    "ReLU6": ("relu6", None),
    "Identity": ("identity", None),
}
"""Modules of torch.nn with the default of their one parameter. Reference: torch/nn/modules/activation.py."""


class Weights:
    """A ``state_dict``, and which of its tensors were taken.

    Args:
        tensors: By name, as :func:`edgerl.untrusted.torch_zip.read_torch` returned them.
        where: Names the file in errors.
    """

    def __init__(self, tensors: object, where: str) -> None:
        if not isinstance(tensors, dict) or not all(isinstance(name, str) for name in tensors):
            raise DamagedCheckpoint(where, "it holds no parameters by name")
        self.where = where
        self._tensors: dict[str, object] = tensors
        self._taken: set[str] = set()

    def __contains__(self, name: object) -> bool:
        return name in self._tensors

    def has(self, prefix: str) -> bool:
        """Tell whether any tensor's name begins with ``prefix``."""
        return any(name.startswith(prefix) for name in self._tensors)

    def take(self, name: str, axes: int) -> Array:
        """Return a tensor as float32, C order, read-only.

        Raises:
            DamagedCheckpoint: It is missing, has another number of axes, or holds values that are not finite.
            UnsupportedPolicy: Its type would lose digits as float32.
        """
        tensor = self._tensors.get(name)
        if not isinstance(tensor, np.ndarray):
            raise DamagedCheckpoint(self.where, f"it has no tensor {name!r}")
        if tensor.dtype not in (np.float32, np.float16):
            raise UnsupportedPolicy(self.where, f"{name!r} has the type {tensor.dtype}", "float32 and half precision")
        if tensor.ndim != axes:
            raise DamagedCheckpoint(self.where, f"{name!r} has the shape {tensor.shape}, expected {axes} axes")
        array = np.ascontiguousarray(tensor, np.float32)
        if not np.isfinite(array).all():
            raise DamagedCheckpoint(self.where, f"{name!r} holds values that are not finite")
        array.flags.writeable = False
        self._taken.add(name)
        return array

    def take_if_there(self, name: str, axes: int) -> Array | None:
        """Return a tensor, or None where there is none of this name."""
        return self.take(name, axes) if name in self._tensors else None

    def ignore(self, name: str) -> None:
        """Count a tensor as taken that has no part in the action."""
        self._taken.add(name)

    def left_over(self, known: Iterable[str]) -> tuple[str, ...]:
        """Return the names that nobody took and that begin with none of ``known``."""
        prefixes = tuple(known)
        return tuple(name for name in self._tensors if name not in self._taken and not name.startswith(prefixes))

    def indices(self, prefix: str) -> tuple[int, ...]:
        """Return the numbers of the layers with parameters under ``prefix``, as of ``torch.nn.Sequential``."""
        rests = (name[len(prefix) + 1 :].split(".") for name in self._tensors if name.startswith(prefix + "."))
        return tuple(sorted({int(rest[0]) for rest in rests if len(rest) > 1 and _INDEX.fullmatch(rest[0])}))


def dense(weights: Weights, prefix: str) -> Dense:
    """Return the block of a ``torch.nn.Linear``."""
    return Dense(weights.take(f"{prefix}.weight", 2), weights.take_if_there(f"{prefix}.bias", 1))


def sequential(
    weights: Weights, prefix: str, activation: Activation, *, output: bool, norm_eps: float | None = None
) -> list[Block]:
    """Return the blocks of a ``torch.nn.Sequential`` of linear layers with one kind of activation.

    Layers without parameters leave a gap in the numbering: one gap after a linear layer is its activation.

    Args:
        weights: Where the tensors are.
        prefix: Name of the sequence.
        activation: What acts in the gaps.
        output: Whether it ends in a linear layer without activation.
        norm_eps: Of the batch (re)normalization between the layers; ``None``: there is none.

    Raises:
        UnsupportedPolicy: Layers of another kind or order.
    """
    blocks: list[Block] = []
    expected = 0
    for index in weights.indices(prefix):
        if index == expected + 1 and blocks and isinstance(blocks[-1], Dense):
            blocks.append(activation)
        elif index != expected:
            raise UnsupportedPolicy(
                weights.where, f"{prefix} has no layer {expected}", "linear layers with activations"
            )
        expected = index + 1
        blocks.append(_layer(weights, f"{prefix}.{index}", norm_eps))
    ends_linear = bool(blocks) and isinstance(blocks[-1], Dense)
    if output and not ends_linear:
        raise UnsupportedPolicy(weights.where, f"{prefix} does not end in a linear layer", "linear layers, activations")
    if ends_linear and not output:
        blocks.append(activation)
    return blocks


def _layer(weights: Weights, name: str, norm_eps: float | None) -> Block:
    if f"{name}.ra_mean" in weights and norm_eps is not None:
        weights.ignore(f"{name}.steps")
        return BatchNorm(
            mean=weights.take(f"{name}.ra_mean", 1),
            variance=weights.take(f"{name}.ra_var", 1),
            eps=norm_eps,
            scale=weights.take(f"{name}.scale", 1),
            bias=weights.take(f"{name}.bias", 1),
        )
    return dense(weights, name)


def conv(weights: Weights, prefix: str, stride: int) -> Conv:
    """Return the block of a ``torch.nn.Conv2d`` without padding, dilation or groups."""
    return Conv(
        weight=weights.take(f"{prefix}.weight", 4),
        bias=weights.take_if_there(f"{prefix}.bias", 1),
        stride=(stride, stride),
        padding=(0, 0),
        dilation=(1, 1),
        groups=1,
    )


def lstm(weights: Weights, prefix: str, name: str) -> Recurrent:
    """Return the block of a ``torch.nn.LSTM``; dropout between its layers acts in training only.

    Raises:
        UnsupportedPolicy: It is bidirectional or projects its state.
    """
    layers: list[RecurrentLayer] = []
    while f"{prefix}.weight_ih_l{len(layers)}" in weights:
        at = len(layers)
        if f"{prefix}.weight_ih_l{at}_reverse" in weights or f"{prefix}.weight_hr_l{at}" in weights:
            raise UnsupportedPolicy(
                weights.where, f"{prefix} is bidirectional or projects its state", "LSTM layers forward in time"
            )
        layers.append(
            RecurrentLayer(
                weight_input=weights.take(f"{prefix}.weight_ih_l{at}", 2),
                weight_hidden=weights.take(f"{prefix}.weight_hh_l{at}", 2),
                bias_input=weights.take_if_there(f"{prefix}.bias_ih_l{at}", 1),
                bias_hidden=weights.take_if_there(f"{prefix}.bias_hh_l{at}", 1),
            )
        )
    if not layers:
        raise DamagedCheckpoint(weights.where, f"{prefix} has no layers")
    # linear_before_reset is a property of GRUs; torch's own cells all have it.
    return Recurrent(name, "lstm", "ifgo", tuple(layers), linear_before_reset=True)


def activation_of(record: object, default: Activation, where: str) -> Activation:
    """Return the activation that an ``activation_fn`` names: a class of torch.nn, or a ``functools.partial`` of one.

    Raises:
        UnsupportedPolicy: Any other function, which would have to be run to know what it does.
    """
    if record is None:
        return default
    arguments: Mapping[object, object] = {}
    function = record
    if isinstance(record, Foreign) and record.qualified == "functools.partial" and isinstance(record.state, tuple):
        function, positional, keywords = (*record.state, None, None, None)[:3]
        if positional:
            raise _unknown_activation(record, where)
        arguments = keywords if isinstance(keywords, dict) else {}
    if not isinstance(function, Foreign) or function.args is not None or not function.module.startswith("torch.nn."):
        raise _unknown_activation(record, where)
    if function.name not in _ACTIVATIONS:
        raise _unknown_activation(record, where)
    kind, alpha = _ACTIVATIONS[function.name]
    for name, value in arguments.items():
        if name in ("alpha", "negative_slope") and alpha is not None and isinstance(value, (int, float)):
            alpha = float(value)
        elif name == "approximate" and kind == "gelu" and value in ("none", "tanh"):
            kind = "gelu_tanh" if value == "tanh" else "gelu"
        elif name != "inplace":
            raise _unknown_activation(record, where)
    return Activation(kind, alpha)


def _unknown_activation(record: object, where: str) -> UnsupportedPolicy:
    return UnsupportedPolicy(
        where, f"the activation is {brief(record)}", "activations of torch.nn: " + ", ".join(_ACTIVATIONS)
    )
