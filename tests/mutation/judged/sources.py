"""The mutants of sources.c."""

from __future__ import annotations

from tests.mutation.judged import SANITIZER

TESTS = ("candidate", "sources", "slots", "inner", "prepare")

EQUIVALENT = {
    (
        "for (uint32_t i = 0; i < loop->config.command_count; i++) {",
        "for (uint32_t i = 0; i <= loop->config.command_count; i++) {",
    ): SANITIZER,
}
