"""The mutants of envelope.c."""

from __future__ import annotations

from tests.mutation.judged import SANITIZER

TESTS = ("envelope", "tick", "inner", "sources", "faults")

_CLIP = "at equality both sides of the choice are the same number"

EQUIVALENT = {
    (
        "const double raised = value < limits.low ? limits.low : value;",
        "const double raised = value <= limits.low ? limits.low : value;",
    ): _CLIP,
    (
        "return raised > limits.high ? limits.high : raised;",
        "return raised >= limits.high ? limits.high : raised;",
    ): _CLIP,
    (
        "return (window){.low = a.low > b.low ? a.low : b.low, .high = a.high < b.high ? a.high : b.high};",
        "return (window){.low = a.low >= b.low ? a.low : b.low, .high = a.high < b.high ? a.high : b.high};",
    ): _CLIP,
    (
        "return (window){.low = a.low > b.low ? a.low : b.low, .high = a.high < b.high ? a.high : b.high};",
        "return (window){.low = a.low > b.low ? a.low : b.low, .high = a.high <= b.high ? a.high : b.high};",
    ): _CLIP,
    ("*out = channel->safe;", ";"): "nobody reads a rejected command; it is set so that nobody ever finds an old one",
    (
        "for (uint32_t i = 0; i < envelope->count; i++) {",
        "for (uint32_t i = 0; i <= envelope->count; i++) {",
    ): SANITIZER,
    ("uint8_t all = 0;", "uint8_t all = 1;"): "of all bits together only REJECTED is asked for",
}

CRASHES = {
    ("envelope->channels = channels;", ";"): "reads limits at address 0",
    (
        "for (uint32_t i = 0; i < envelope->count; i++) {",
        "for (uint32_t i = 0; i <= envelope->count; i++) {",
    ): "where all channels are in use it writes past the end of its arrays",
}
