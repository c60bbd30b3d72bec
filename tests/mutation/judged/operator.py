"""The mutants of operator.c."""

from __future__ import annotations

from tests.mutation.judged import SANITIZER

TESTS = ("operator",)

_CLIP = "at equality both sides of the choice are the same number"

EQUIVALENT = {
    (
        "for (uint32_t i = 0; i < config->operator_count; i++) {",
        "for (uint32_t i = 0; i <= config->operator_count; i++) {",
    ): SANITIZER,
    (
        "const float raised = value < channel->low ? channel->low : value;",
        "const float raised = value <= channel->low ? channel->low : value;",
    ): _CLIP,
    (
        "return raised > channel->high ? channel->high : raised;",
        "return raised >= channel->high ? channel->high : raised;",
    ): _CLIP,
}
