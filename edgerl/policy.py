"""Policy: the one named type between importers and ONNX.

A policy is its spec and a small closed set of blocks, each with its constants written out (eps, gate order, affine
parameters), so that nothing about a trainer needs to be known after import. Per input an *encoder* (a sequence of
blocks), then the *trunk* over their concatenated features, then the *head*, which turns the last features into the
action. Arrays are float32, C order, read-only; weights have the shape (out, in) and act as ``y = W x + b``.

A policy that exists only as a graph (adopted from a file, or traced) is an :class:`OpaqueGraph`.
This module knows neither files nor ONNX; lowering is in :mod:`edgerl.export`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from edgerl.spec import PolicySpec

Array: TypeAlias = npt.NDArray[np.float32]

ActivationKind = Literal[
    "relu", "tanh", "sigmoid", "elu", "selu", "leaky_relu", "silu", "gelu", "gelu_tanh", "softplus", "softsign", "mish",
    "hard_tanh", "relu6", "celu", "identity",
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Normalize:
    """``clip((x - mean) / divisor, low, high)``, element by element.

    The divisor is ``sqrt(variance + eps)`` or ``sqrt(variance) + eps``, as the trainer has it: mistaking one for the
    other is an error of per cent.
    """

    mean: npt.NDArray[np.float64]
    """Shape of the input, or () for one value."""
    variance: npt.NDArray[np.float64]
    eps: float
    eps_inside: bool
    """True: ``sqrt(variance + eps)``. False: ``sqrt(variance) + eps``."""
    clip: tuple[float, float] | None

    @property
    def divisor(self) -> npt.NDArray[np.float64]:
        """What the centred value is divided by, float64, shape of ``variance``."""
        if self.eps_inside:
            return np.asarray(np.sqrt(self.variance + self.eps))
        return np.asarray(np.sqrt(self.variance) + self.eps)


@dataclass(frozen=True)
class OneHot:
    """Integers to concatenated one-hot vectors, one per element of the flattened input."""

    choices: tuple[int, ...]
    """Number of choices of each element; a value outside gives zeros."""


@dataclass(frozen=True)
class Transpose:
    """Axes of the input, without the batch, in a new order: (2, 0, 1) makes CHW of HWC."""

    axes: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Dense:
    """``y = W x + b``."""

    weight: Array
    """Shape (out, in)."""
    bias: Array | None
    """Shape (out,)."""


@dataclass(frozen=True, eq=False)
class Conv:
    """Two-dimensional convolution over CHW, as cross-correlation."""

    weight: Array
    """Shape (out, in / groups, height, width)."""
    bias: Array | None
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int


@dataclass(frozen=True, eq=False)
class LayerNorm:
    """Normalization over the last axis with the biased variance, then an affine map where there is one."""

    size: int
    eps: float
    scale: Array | None
    """Shape (size,); ``None``: no affine map, which is not the same as forgetting it."""
    bias: Array | None


@dataclass(frozen=True, eq=False)
class BatchNorm:
    """``(x - mean) / sqrt(variance + eps) * scale + bias`` with the running statistics, per feature."""

    mean: Array
    variance: Array
    eps: float
    scale: Array | None
    bias: Array | None


@dataclass(frozen=True)
class Activation:
    """An element-wise nonlinearity."""

    kind: ActivationKind
    alpha: float | None = None
    """Slope of leaky_relu, saturation of elu and celu, bound of hard_tanh (there ``None`` is 1); else ``None``."""


@dataclass(frozen=True, eq=False)
class RecurrentLayer:
    """Weights of one layer of a recurrent block, gates stacked along the first axis in the block's order."""

    weight_input: Array
    """Shape (gates x hidden, in)."""
    weight_hidden: Array
    """Shape (gates x hidden, hidden)."""
    bias_input: Array | None
    """Shape (gates x hidden,)."""
    bias_hidden: Array | None


@dataclass(frozen=True, eq=False)
class Recurrent:
    """LSTM or GRU, one step at a time; its state is ``state.<name>.h`` and for the LSTM ``state.<name>.c``."""

    name: str
    cell: Literal["lstm", "gru"]
    gates: Literal["ifgo", "rzn"]
    """Order of the gates in the weights: input, forget, cell, output; or reset, update, new."""
    layers: tuple[RecurrentLayer, ...]
    linear_before_reset: bool
    """GRU: the reset gate multiplies ``W_h h + b_h`` (torch, always true there) and not ``h``."""

    @property
    def hidden(self) -> int:
        """Width of the state."""
        return int(self.layers[0].weight_hidden.shape[1])


@dataclass(frozen=True)
class Concat:
    """Features of the encoders side by side, in this order of inputs; first block of a trunk with several inputs."""

    inputs: tuple[str, ...]


@dataclass(frozen=True)
class Flatten:
    """All axes but the batch into one, in C order."""


@dataclass(frozen=True)
class ActionMap:
    """The head: features to action.

    Continuous: squash, then ``low + (x + 1) / 2 * (high - low)`` where ``unscale``, then clip to low and high where
    ``clip``. Discrete: arg-max of each group of logits, the lowest index wins ties. Multi-binary: logit above zero.
    """

    kind: Literal["continuous", "discrete", "multi_discrete", "multi_binary"]
    low: tuple[float, ...]
    high: tuple[float, ...]
    squash: Literal["none", "tanh"] = "none"
    unscale: bool = False
    clip: bool = False
    choices: tuple[int, ...] = ()
    """Logits per group for discrete and multi_discrete."""


Block: TypeAlias = (
    Normalize | OneHot | Transpose | Dense | Conv | LayerNorm | BatchNorm | Activation | Recurrent | Concat | Flatten
)


@dataclass(frozen=True, eq=False)
class Network:
    """The blocks of a policy, in the order in which they act."""

    encoders: Mapping[str, tuple[Block, ...]]
    """By input name. Leading Normalize, OneHot, Transpose and Flatten blocks become the graph's ``pre`` region."""
    trunk: tuple[Block, ...]
    head: ActionMap
    """Becomes the graph's ``post`` region."""


@dataclass(frozen=True)
class OpaqueGraph:
    """An ONNX model that is taken as it is."""

    onnx: bytes


@dataclass(frozen=True, eq=False)
class Policy:
    """A policy as an importer read it."""

    spec: PolicySpec
    network: Network | OpaqueGraph
