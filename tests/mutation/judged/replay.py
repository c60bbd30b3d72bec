"""The mutants of replay.c."""

from __future__ import annotations

from tests.mutation.judged import SANITIZER

TESTS = ("replay", "envelope", "assembler")

_ROWS = ("for (uint64_t row = 0; row < rows; row++) {", "for (uint64_t row = 0; row <= rows; row++) {")

EQUIVALENT = {
    ("for (uint32_t i = 0; i < count; i++) {", "for (uint32_t i = 0; i <= count; i++) {"): SANITIZER,
    (
        "for (uint32_t i = 0; i < envelope->count; i++) {",
        "for (uint32_t i = 0; i <= envelope->count; i++) {",
    ): SANITIZER,
    _ROWS: SANITIZER,
    ("float gravity[3];", "float gravity[2];"): SANITIZER,
    ("float gravity[3];", "float gravity[4];"): "the fourth is never used",
    (
        "const uint32_t resolved = erl_modes_resolve(source, source, envelope->has_last, NULL, 0);",
        "const uint32_t resolved = erl_modes_resolve(source, source, envelope->has_last, NULL, 1);",
    ): "without a ladder nobody asks for the time spent on it",
    (
        "erl_envelope_advance(&envelope, times_ns[row] > times_ns[row - 1] ? times_ns[row] - times_ns[row - 1] : 0);",
        "erl_envelope_advance(&envelope, times_ns[row] >= times_ns[row - 1] ? times_ns[row] - times_ns[row - 1] : 0);",
    ): "the difference of two equal times is 0",
}

_BEFORE = "writes in front of its array"
_BY_ZERO = "divides by 0 where there are none"

_NO_ENVELOPE = "the first row finds an envelope that was never begun, whose channels are anywhere"

CRASHES = {
    ("erl_envelope_start(envelope, channels, count);", ";"): _NO_ENVELOPE,
    (
        "for (uint64_t row = 0; row < rows; row++) {",
        "for (uint64_t row = 1; row < rows; row++) {",
    ): _NO_ENVELOPE,
    (
        "if (row == 0 || episode_start[row] != 0) {",
        "if (!(row == 0 || episode_start[row] != 0)) {",
    ): _NO_ENVELOPE,
    ("begin_episode(&envelope, channels, count, seed_ns);", ";"): _NO_ENVELOPE,
    _ROWS: "reads and writes a row that there is not",
    ("candidate, verdicts + row * count);", "candidate, verdicts - row * count);"): _BEFORE,
    (
        "write_row(&envelope, source, source != last_source, candidate, written + row * count);",
        "write_row(&envelope, source, source != last_source, candidate, written - row * count);",
    ): _BEFORE,
    (
        "memcpy(records + row * config->observation_bytes, record, config->observation_bytes);",
        "memcpy(records - row * config->observation_bytes, record, config->observation_bytes);",
    ): _BEFORE,
    (
        ".operators = operators + row * config->operator_count,",
        ".operators = operators + row / config->operator_count,",
    ): _BY_ZERO,
    (
        ".last_raw = restart ? no_raw : raws + row * config->raw_count,",
        ".last_raw = restart ? no_raw : raws + row / config->raw_count,",
    ): _BY_ZERO,
}
