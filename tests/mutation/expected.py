"""Mutants that no test can kill, each with the reason; ``(line, mutated line)``, both stripped."""

from __future__ import annotations

_CLIP = "at equality both sides of the choice are the same number"
_SANITIZER = (
    "reaches past an array; the sanitizer run dies of it (tests/native/test_sanitizers.py), nothing else can see it"
)
_NO_LADDER = "a replay of the envelope has no ladder: reads its rungs at address 0"

EQUIVALENT: dict[tuple[str, str], str] = {
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
    ): _SANITIZER,
    (
        "for (uint32_t event = 0; event < ERL_EVENT_COUNT; event++) {",
        "for (uint32_t event = 1; event < ERL_EVENT_COUNT; event++) {",
    ): "event 0 is what the result begins with",
    (
        "for (uint32_t event = 0; event < ERL_EVENT_COUNT; event++) {",
        "for (uint32_t event = 0; event <= ERL_EVENT_COUNT; event++) {",
    ): "no event has that bit",
    (
        "return mode < ERL_MODE_COUNT ? MODE_NAMES[mode] : NULL;",
        "return mode <= ERL_MODE_COUNT ? MODE_NAMES[mode] : NULL;",
    ): _SANITIZER,
    (
        "return event < ERL_EVENT_COUNT ? EVENT_NAMES[event] : NULL;",
        "return event <= ERL_EVENT_COUNT ? EVENT_NAMES[event] : NULL;",
    ): _SANITIZER,
    (
        "return source < ERL_SOURCE_NAMES ? SOURCE_NAMES[source] : NULL;",
        "return source <= ERL_SOURCE_NAMES ? SOURCE_NAMES[source] : NULL;",
    ): _SANITIZER,
    (
        "for (uint32_t i = 0; i < loop->config.command_count; i++) {",
        "for (uint32_t i = 0; i <= loop->config.command_count; i++) {",
    ): _SANITIZER,
    (
        "uint64_t *word = &bucket->bits[bucket->next / 64u];",
        "uint64_t *word = &bucket->bits[bucket->next / 63u];",
    ): _SANITIZER,
    (
        "uint8_t all = 0;",
        "uint8_t all = 1;",
    ): "of all bits together only REJECTED is asked for",
    (
        "blockers |= loop->tick.observed && erl_source_written(loop) ? 0u : ERL_ARM_NO_STATE;",
        "blockers = loop->tick.observed && erl_source_written(loop) ? 0u : ERL_ARM_NO_STATE;",
    ): "it is the first of them",
    (
        "const bool past = ramp->spent_ns >= loop->config.prepare_ns;",
        "const bool past = ramp->spent_ns > loop->config.prepare_ns;",
    ): "at its end the ramp is at the start pose by itself",
}
"""They change nothing that a test of values can see."""

CRASHES: dict[tuple[str, str], str] = {
    ("envelope->channels = channels;", ";"): "reads limits at address 0",
    (
        "for (uint32_t i = 0; i < envelope->count; i++) {",
        "for (uint32_t i = 0; i <= envelope->count; i++) {",
    ): "where all channels are in use it writes past the end of its arrays",
    ("memset(bucket, 0, sizeof *bucket);", "memset(bucket, 1, sizeof *bucket);"): "its next tick is number 16,843,009",
    ("bucket->window = window;", ";"): "divides by 0",
    ("if (source == ERL_SOURCE_LADDER) {", "if (source != ERL_SOURCE_LADDER) {"): _NO_LADDER,
    ("if (source == ERL_SOURCE_LADDER) {", "if (!(source == ERL_SOURCE_LADDER)) {"): _NO_LADDER,
}
"""They cannot but crash or hang, so that no assertion gets a say."""
