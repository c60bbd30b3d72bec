"""The mutants of prepare.c."""

from __future__ import annotations

from tests.mutation.judged import SANITIZER

TESTS = ("prepare", "arming")

EQUIVALENT = {
    (
        "for (uint32_t i = 0; i < loop->config.command_count; i++) {",
        "for (uint32_t i = 0; i <= loop->config.command_count; i++) {",
    ): SANITIZER,
    (
        "const bool past = ramp->spent_ns >= loop->config.prepare_ns;",
        "const bool past = ramp->spent_ns > loop->config.prepare_ns;",
    ): "at its end the ramp is at the start pose by itself",
}
