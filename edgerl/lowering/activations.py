"""Activations as operators that TensorRT 8.6, ONNX Runtime and the emitted C all have at opset 17.

What ONNX has only in later opsets (Gelu, Mish) or as a function (Celu) is written out in primitives.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from edgerl.errors import ModelError
from edgerl.lowering.builder import GraphBuilder, Tensor
from edgerl.policy import Activation, ActivationKind

_OPERATORS: dict[ActivationKind, str] = {
    "relu": "Relu",
    "tanh": "Tanh",
    "sigmoid": "Sigmoid",
    "softplus": "Softplus",
    "softsign": "Softsign",
    "selu": "Selu",  # ONNX's default alpha and gamma are torch's, rounded to float32
}


def lower_activation(builder: GraphBuilder, block: Activation, x: Tensor) -> Tensor:
    """Return the activation of a float32 tensor, in its shape.

    Raises:
        ModelError: The kind needs an ``alpha`` that the block does not have, or is not known.
    """
    if block.kind == "identity":
        return x
    if block.kind in _OPERATORS:
        return builder.emit(_OPERATORS[block.kind], [x], x.shape)
    if block.kind in _WITH_ALPHA:
        if block.alpha is None:
            raise ModelError(f"Activation '{block.kind}' has no alpha. The importer must say its value.")
        return _WITH_ALPHA[block.kind](builder, x, block.alpha)
    if block.kind == "hard_tanh":
        bound = 1.0 if block.alpha is None else block.alpha
        return _clip(-bound, bound)(builder, x)
    if block.kind in _COMPOSED:
        return _COMPOSED[block.kind](builder, x)
    raise ModelError(f"Activation '{block.kind}' is not known. Known: {', '.join(_known())}.")


def _known() -> list[str]:
    return sorted([*_OPERATORS, *_WITH_ALPHA, *_COMPOSED, "hard_tanh", "identity"])


def _elu(builder: GraphBuilder, x: Tensor, alpha: float) -> Tensor:
    return builder.emit("Elu", [x], x.shape, alpha=alpha)


def _leaky_relu(builder: GraphBuilder, x: Tensor, alpha: float) -> Tensor:
    return builder.emit("LeakyRelu", [x], x.shape, alpha=alpha)


def _celu(builder: GraphBuilder, x: Tensor, alpha: float) -> Tensor:
    # celu(x) = alpha * elu(x / alpha): above zero the two factors cancel.
    if alpha == 1.0:
        return _elu(builder, x, 1.0)
    divisor = builder.constant("alpha", alpha)
    scaled = builder.emit("Div", [x, divisor], x.shape)
    return builder.emit("Mul", [_elu(builder, scaled, 1.0), divisor], x.shape)


def _silu(builder: GraphBuilder, x: Tensor) -> Tensor:
    return builder.emit("Mul", [x, builder.emit("Sigmoid", [x], x.shape)], x.shape)


def _mish(builder: GraphBuilder, x: Tensor) -> Tensor:
    softplus = builder.emit("Softplus", [x], x.shape)
    return builder.emit("Mul", [x, builder.emit("Tanh", [softplus], x.shape)], x.shape)


def _gelu(builder: GraphBuilder, x: Tensor) -> Tensor:
    """``x / 2 * (1 + erf(x / sqrt(2)))``."""
    scaled = builder.emit("Mul", [x, builder.constant("sqrt_half", math.sqrt(0.5))], x.shape)
    return _gate(builder, x, builder.emit("Erf", [scaled], x.shape))


def _gelu_tanh(builder: GraphBuilder, x: Tensor) -> Tensor:
    """``x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))``.

    Reference: Hendrycks and Gimpel, Gaussian Error Linear Units, 2016, section 2.
    """
    square = builder.emit("Mul", [x, x], x.shape)
    cube = builder.emit("Mul", [square, x], x.shape)
    term = builder.emit("Mul", [cube, builder.constant("cubic", 0.044715)], x.shape)
    inner = builder.emit("Add", [x, term], x.shape)
    scaled = builder.emit("Mul", [inner, builder.constant("sqrt_2_over_pi", math.sqrt(2 / math.pi))], x.shape)
    return _gate(builder, x, builder.emit("Tanh", [scaled], x.shape))


def _gate(builder: GraphBuilder, x: Tensor, gate: Tensor) -> Tensor:
    shifted = builder.emit("Add", [gate, builder.constant("one", 1.0)], x.shape)
    half = builder.emit("Mul", [x, builder.constant("half", 0.5)], x.shape)
    return builder.emit("Mul", [half, shifted], x.shape)


def _clip(low: float, high: float) -> Callable[[GraphBuilder, Tensor], Tensor]:
    def lower(builder: GraphBuilder, x: Tensor) -> Tensor:
        return builder.emit("Clip", [x, builder.constant("low", low), builder.constant("high", high)], x.shape)

    return lower


_WITH_ALPHA: dict[ActivationKind, Callable[[GraphBuilder, Tensor, float], Tensor]] = {
    "elu": _elu,
    "leaky_relu": _leaky_relu,
    "celu": _celu,
}
_COMPOSED: dict[ActivationKind, Callable[[GraphBuilder, Tensor], Tensor]] = {
    "silu": _silu,
    "mish": _mish,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "relu6": _clip(0.0, 6.0),
}
