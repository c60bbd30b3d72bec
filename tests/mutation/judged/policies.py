"""The mutants of policies.c."""

from __future__ import annotations

from tests.mutation.judged import SANITIZER

TESTS = ("policies", "slots", "delay", "observed", "faults")

EQUIVALENT = {
    (
        "for (uint32_t i = 0; i < loop->config.raw_count; i++) {",
        "for (uint32_t i = 0; i <= loop->config.raw_count; i++) {",
    ): SANITIZER,
    (
        "for (uint32_t i = 0; i < loop->config.action_count && !finite; i++) {",
        "for (uint32_t i = 0; i <= loop->config.action_count && !finite; i++) {",
    ): SANITIZER,
}

CRASHES = {
    (
        "for (uint32_t i = 0; i < loop->config.action_count && !finite; i++) {",
        "for (uint32_t i = 0; i < loop->config.action_count || !finite; i++) {",
    ): "does not end",
}
