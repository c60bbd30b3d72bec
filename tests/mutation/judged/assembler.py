"""The mutants of assembler.c."""

from __future__ import annotations

from tests.mutation.judged import SANITIZER

TESTS = ("terms", "assembler")

_REACHES = "the newest values are written after it, so that only where the record ends is it seen: " + SANITIZER

EQUIVALENT = {
    (
        "for (uint32_t i = 0; i < config->element_count; i++) {",
        "for (uint32_t i = 0; i <= config->element_count; i++) {",
    ): SANITIZER,
    (
        "return whole >= -2147483648.0 && whole <= 2147483647.0;",
        "return whole >= -2147483648.0 && whole < 2147483647.0;",
    ): "no float32 is that number",
    (
        "return dtype == ERL_UINT8 ? whole >= 0.0 && whole <= 255.0 : isfinite(value);",
        "return dtype == ERL_UINT8 ? whole >= (0.0 * 2) && whole <= 255.0 : isfinite(value);",
    ): "twice nothing is nothing",
    (
        "for (uint32_t k = 0; k + 1u < term->history; k++) {",
        "for (uint32_t k = 0; k + 0u < term->history; k++) {",
    ): _REACHES,
    (
        "for (uint32_t k = 0; k + 1u < term->history; k++) {",
        "for (uint32_t k = 0; k + 1u <= term->history; k++) {",
    ): _REACHES,
}

CRASHES = {
    (
        "for (uint32_t i = 0; i < config->element_count; i++) {",
        "for (uint32_t i = 0; i <= config->element_count; i++) {",
    ): "where all elements are in use it writes past the end of its values",
    ("return dtype == ERL_UINT8 ? 1u : 4u;", "return dtype == ERL_UINT8 ? 0u : 4u;"): "divides by 0",
    (
        "const uint64_t past = term->history >= 1 ? (uint64_t)(term->history - 1u) * term->stride : UINT64_MAX;",
        "const uint64_t past = term->history >= 1 ? (uint64_t)(term->history - 1u) / term->stride : UINT64_MAX;",
    ): "divides by 0: a term without a history may have no stride",
    (
        "if (!representable(values[term->first + k], term->dtype)) {",
        "if (!representable(values[term->first - k], term->dtype)) {",
    ): "reads 16 GiB beyond its values",
    (
        "put(newest + k * value_bytes(term->dtype), term->dtype, values[term->first + k]);",
        "put(newest + k * value_bytes(term->dtype), term->dtype, values[term->first - k]);",
    ): "reads 16 GiB beyond its values",
}
