"""The mutants of modes.c."""

from __future__ import annotations

from tests.mutation.judged import SANITIZER

TESTS = ("modes", "faults", "sources", "tick", "envelope", "prepare", "arming")

_NO_LADDER = "a replay of the envelope has no ladder: reads its rungs at address 0"

EQUIVALENT = {
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
    ): SANITIZER,
    (
        "return event < ERL_EVENT_COUNT ? EVENT_NAMES[event] : NULL;",
        "return event <= ERL_EVENT_COUNT ? EVENT_NAMES[event] : NULL;",
    ): SANITIZER,
    (
        "return source < ERL_SOURCE_NAMES ? SOURCE_NAMES[source] : NULL;",
        "return source <= ERL_SOURCE_NAMES ? SOURCE_NAMES[source] : NULL;",
    ): SANITIZER,
}

CRASHES = {
    ("if (source == ERL_SOURCE_LADDER) {", "if (source != ERL_SOURCE_LADDER) {"): _NO_LADDER,
    ("if (source == ERL_SOURCE_LADDER) {", "if (!(source == ERL_SOURCE_LADDER)) {"): _NO_LADDER,
}
