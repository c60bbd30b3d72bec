"""The mutants of requests.c."""

from __future__ import annotations

from tests.mutation.judged import SANITIZER

TESTS = ("supervisor", "sense", "slots", "deaths", "arming")

EQUIVALENT = {
    (
        "for (uint32_t kind = 0; kind < ERL_REQUEST_COUNT; kind++) {",
        "for (uint32_t kind = 0; kind <= ERL_REQUEST_COUNT; kind++) {",
    ): SANITIZER,
    (
        "switches |= kind == ERL_REQUEST_SWITCH;",
        "switches = kind == ERL_REQUEST_SWITCH;",
    ): "SWITCH is the last kind of them",
}
