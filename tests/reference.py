"""A Policy computed block by block in numpy, float64: the oracle for importers and for lowering.

Written from the definitions in edgerl/policy.py alone, one observation at a time, with nothing shared with the code
that builds graphs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np

from edgerl.policy import (
    ActionMap,
    Activation,
    BatchNorm,
    Concat,
    Conv,
    Dense,
    Flatten,
    LayerNorm,
    Normalize,
    OneHot,
    Policy,
    Recurrent,
    Transpose,
)

_erf = np.vectorize(math.erf, otypes=[float])


def _sigmoid(x):
    return 0.5 * (np.tanh(x / 2) + 1)


def _softplus(x):
    return np.logaddexp(x, 0)


ACTIVATIONS = {
    "identity": lambda x, a: x,
    "relu": lambda x, a: np.maximum(x, 0),
    "relu6": lambda x, a: np.clip(x, 0, 6),
    "tanh": lambda x, a: np.tanh(x),
    "sigmoid": lambda x, a: _sigmoid(x),
    "elu": lambda x, a: np.where(x > 0, x, (1.0 if a is None else a) * np.expm1(np.minimum(x, 0))),
    "celu": lambda x, a: np.where(x > 0, x, a * np.expm1(np.minimum(x, 0) / a)),
    "selu": lambda x, a: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(np.minimum(x, 0))),
    "leaky_relu": lambda x, a: np.where(x > 0, x, (0.01 if a is None else a) * x),
    "silu": lambda x, a: x * _sigmoid(x),
    "gelu": lambda x, a: 0.5 * x * (1 + _erf(x / math.sqrt(2))),
    "gelu_tanh": lambda x, a: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "softplus": lambda x, a: _softplus(x),
    "softsign": lambda x, a: x / (1 + np.abs(x)),
    "mish": lambda x, a: x * np.tanh(_softplus(x)),
    "hard_tanh": lambda x, a: np.clip(x, -(a or 1.0), a or 1.0),
}


class Reference:
    """Runs one policy; recurrent state is kept between calls until ``reset``."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.state: dict[str, np.ndarray] = {}
        self.logits = np.zeros(0)
        self.reset()

    def reset(self) -> None:
        for tensor in self.policy.spec.state:
            self.state[tensor.name] = np.reshape(np.array(tensor.initial, float), tensor.shape)[:, 0]

    def act(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the action, flat, for inputs by name."""
        features = {}
        for given in self.policy.spec.inputs:
            x = np.asarray(observation[given.name]).reshape(given.shape).astype(given.dtype).astype(float)
            features[given.name] = self._run(self.policy.network.encoders[given.name], x)
        trunk = self.policy.network.trunk
        names = trunk[0].inputs if trunk and isinstance(trunk[0], Concat) else [self.policy.spec.inputs[0].name]
        self.logits = self._run(trunk, np.concatenate([features[name].ravel() for name in names]))
        return head(self.policy.network.head, self.logits)

    def _run(self, blocks, x):
        for block in blocks:
            x = self._block(block, x)
        return x

    def _block(self, block, x):
        match block:
            case Concat():
                return x
            case Flatten():
                return x.ravel()
            case Transpose():
                return x.transpose(block.axes)
            case Normalize():
                y = (x - block.mean) / block.divisor
                return np.clip(y, *block.clip) if block.clip else y
            case OneHot():
                parts = [np.arange(n) == value for n, value in zip(block.choices, x.ravel(), strict=True)]
                return np.concatenate(parts).astype(float)
            case Dense():
                return block.weight.astype(float) @ x + (0 if block.bias is None else block.bias)
            case Conv():
                return convolve(block, x)
            case LayerNorm():
                y = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + block.eps)
                return y if block.scale is None else y * block.scale + block.bias
            case BatchNorm():
                y = (x - block.mean) / np.sqrt(block.variance.astype(float) + block.eps)
                return y * (1 if block.scale is None else block.scale) + (0 if block.bias is None else block.bias)
            case Activation():
                return ACTIVATIONS[block.kind](x, block.alpha)
            case Recurrent():
                return self._recurrent(block, x)
        raise AssertionError(block)

    def _recurrent(self, block, x):
        name = f"state.{block.name}"
        for index, layer in enumerate(block.layers):
            h = self.state[f"{name}.h"][index]
            given = layer.weight_input.astype(float) @ x + (0 if layer.bias_input is None else layer.bias_input)
            kept = layer.weight_hidden.astype(float) @ h + (0 if layer.bias_hidden is None else layer.bias_hidden)
            if block.cell == "lstm":
                i, f, g, o = np.split(given + kept, 4)
                c = _sigmoid(f) * self.state[f"{name}.c"][index] + _sigmoid(i) * np.tanh(g)
                self.state[f"{name}.c"][index] = c
                x = _sigmoid(o) * np.tanh(c)
            else:
                (r, z, n), (hr, hz, hn) = np.split(given, 3), np.split(kept, 3)
                r, z = _sigmoid(r + hr), _sigmoid(z + hz)
                x = (1 - z) * np.tanh(n + r * hn) + z * h
            self.state[f"{name}.h"][index] = x
        return x


def convolve(block: Conv, x: np.ndarray) -> np.ndarray:
    """Cross-correlation of CHW, one group, no dilation."""
    assert block.groups == 1 and block.dilation == (1, 1)
    x = np.pad(x, ((0, 0), *((p, p) for p in block.padding)))
    windows = np.lib.stride_tricks.sliding_window_view(x, block.weight.shape[2:], axis=(1, 2))
    windows = windows[:, :: block.stride[0], :: block.stride[1]]
    y = np.einsum("chwij,ocij->ohw", windows, block.weight.astype(float), optimize=True)
    return y if block.bias is None else y + block.bias[:, None, None]


def head(block: ActionMap, x: np.ndarray) -> np.ndarray:
    low, high = np.array(block.low), np.array(block.high)
    if block.kind == "continuous":
        y = np.tanh(x) if block.squash == "tanh" else x
        y = low + (y + 1) / 2 * (high - low) if block.unscale else y
        return np.clip(y, low, high) if block.clip else y
    if block.kind == "multi_binary":
        return (x > 0).astype(np.int32)
    return np.array([int(np.argmax(part)) for part in np.split(x, np.cumsum(block.choices)[:-1])], np.int32)


def observations(truth: Mapping[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
    """Yield the inputs, by name, of each recorded observation of a truth file."""
    names = {key: key.replace("obs", "observation", 1) for key in truth if key == "obs" or key.startswith("obs.")}
    for index in range(len(truth["action"])):
        yield {name: truth[key][index] for key, name in names.items()}
