"""The mutants of state.c."""

from __future__ import annotations

from tests.mutation.judged import SANITIZER

TESTS = ("state",)

EQUIVALENT = {
    (
        "for (uint32_t i = 0; i < loop->config.state_count; i++) {",
        "for (uint32_t i = 0; i <= loop->config.state_count; i++) {",
    ): SANITIZER,
    (
        "} else if (loop->unchanged[i] < loop->config.frozen_ticks) {",
        "} else if (loop->unchanged[i] <= loop->config.frozen_ticks) {",
    ): "all that is asked of the count is whether it has got as far as frozen_ticks",
}

_BELOW = "an index below 0 is one of 4 thousand million"

CRASHES = {
    ("const double y = (double)at[vector + 1u];", "const double y = (double)at[vector - 1u];"): _BELOW,
    ("const double z = (double)at[vector + 2u];", "const double z = (double)at[vector - 2u];"): _BELOW,
}
