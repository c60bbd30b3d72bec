"""The mutants of watch.c."""

from __future__ import annotations

TESTS = ("watch",)

CRASHES = {
    (
        "if (loop->config.jitter_budget_ns == 0) {",
        "if (loop->config.jitter_budget_ns == 1) {",
    ): "a bucket without a window divides by 0",
}
