"""The head: features of the core to the action, in the ``post`` region.

Bounds are applied so that NaN passes through: an action that is not a number must reach the envelope as one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgerl.errors import ModelError
from edgerl.lowering.builder import GraphBuilder, Tensor
from edgerl.policy import ActionMap


def lower_head(builder: GraphBuilder, head: ActionMap, features: Tensor) -> Tensor:
    """Return the action, shape (1, channels): float32 for the continuous kind, int32 for the others.

    Args:
        builder: The graph, in its ``post`` region.
        head: What to do.
        features: The core's answer, shape (1, channels) or (1, logits).

    Raises:
        ModelError: The number of features does not fit the head.
    """
    expected = sum(head.choices) if head.choices else len(head.low)
    if features.shape != (1, expected):
        raise ModelError(f"The head expects {expected} features and gets the shape {features.shape[1:]}.")
    if head.kind == "continuous":
        return _continuous(builder, head, features)
    if head.kind == "multi_binary":
        zero = builder.constant("zero", 0.0)
        return builder.cast(builder.emit("Greater", [features, zero], features.shape, "bool"), "int32")
    return lower_choices(builder, head.choices, features)


def lower_choices(builder: GraphBuilder, choices: Sequence[int], logits: Tensor) -> Tensor:
    """Return the index of the largest logit of each group, int32, shape (1, groups); the lowest index wins ties."""
    if len(choices) == 1:
        best = [_arg_max(builder, logits)]
    else:
        sizes = builder.constant("groups", choices, "int64")
        groups = builder.emit_many("Split", [logits, sizes], [(1, count) for count in choices], axis=1)
        best = [_arg_max(builder, group) for group in groups]
    joined = best[0] if len(best) == 1 else builder.emit("Concat", best, (1, len(best)), "int64", axis=1)
    return builder.cast(joined, "int32")


def _arg_max(builder: GraphBuilder, logits: Tensor) -> Tensor:
    return builder.emit("ArgMax", [logits], (1, 1), "int64", axis=1, keepdims=1, select_last_index=0)


def _continuous(builder: GraphBuilder, head: ActionMap, x: Tensor) -> Tensor:
    low, high = np.asarray(head.low, np.float64), np.asarray(head.high, np.float64)
    if head.squash == "tanh":
        x = builder.emit("Tanh", [x], x.shape)
    if head.unscale:
        if not (np.all(np.isfinite(low)) and np.all(np.isfinite(high))):
            raise ModelError(f"The head un-scales to {head.low} ... {head.high}, which is not finite.")
        # low + (x + 1) * ((high - low) / 2): halving is exact, so this rounds as the trainer's own order does
        x = builder.emit("Add", [x, builder.constant("one", 1.0)], x.shape)
        x = builder.emit("Mul", [x, builder.constant("half_range", (high - low) / 2)], x.shape)
        x = builder.emit("Add", [x, builder.constant("low", low)], x.shape)
    return _clip(builder, x, low, high) if head.clip else x


def _clip(builder: GraphBuilder, x: Tensor, low: npt.NDArray[np.float64], high: npt.NDArray[np.float64]) -> Tensor:
    if np.all(low == low[0]) and np.all(high == high[0]) and np.isfinite(low[0]) and np.isfinite(high[0]):
        bounds = [builder.constant("clip_low", low[0]), builder.constant("clip_high", high[0])]
        return builder.emit("Clip", [x, *bounds], x.shape)
    # Clip takes one bound for all channels; Max and Min take one each. A side without any bound is left out.
    if np.any(np.isfinite(low)):
        x = builder.emit("Max", [x, builder.constant("clip_low", low)], x.shape)
    if np.any(np.isfinite(high)):
        x = builder.emit("Min", [x, builder.constant("clip_high", high)], x.shape)
    return x
