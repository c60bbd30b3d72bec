"""The mutants of sense.c."""

from __future__ import annotations

TESTS = ("sense", "watch", "tick", "supervisor", "state")

_SAME = "at equality both sides of the choice are the same number"
_PAST = "either is long past: nobody waits"
_NONE = "a size of 0 was answered before"
_ON_TIME = "1 ns late is within every budget"

EQUIVALENT = {
    ("if (size < 0) {", "if (size <= 0) {"): _NONE,
    ("if (size < 0) {", "if (size < 1) {"): _NONE,
    (
        "} else if (cause < ERL_DROP_CAUSES) {",
        "} else if (cause <= ERL_DROP_CAUSES) {",
    ): "with that one the state was taken before",
    (
        "while (may_read(loop) && read_one(loop, 0) != READ_NONE) {",
        "while (may_read(loop) && read_one(loop, 1) != READ_NONE) {",
    ): _PAST,
    (
        "const uint64_t slice_ns = deadline_ns - now_ns < SLICE_NS ? deadline_ns : now_ns + SLICE_NS;",
        "const uint64_t slice_ns = deadline_ns - now_ns <= SLICE_NS ? deadline_ns : now_ns + SLICE_NS;",
    ): _SAME,
    (
        "const uint64_t late_ns = start_ns > loop->next_ns ? start_ns - loop->next_ns : 0;",
        "const uint64_t late_ns = start_ns >= loop->next_ns ? start_ns - loop->next_ns : 0;",
    ): _SAME,
    (
        "const uint64_t late_ns = start_ns > loop->next_ns ? start_ns - loop->next_ns : 0;",
        "const uint64_t late_ns = start_ns > loop->next_ns ? start_ns - loop->next_ns : 1;",
    ): _ON_TIME,
    ("loop->late_ns = 0;", "loop->late_ns = 1;"): _ON_TIME,
    (
        "loop->tick.missed_periods = missed < UINT32_MAX ? (uint32_t)missed : UINT32_MAX;",
        "loop->tick.missed_periods = missed <= UINT32_MAX ? (uint32_t)missed : UINT32_MAX;",
    ): _SAME,
    (
        "tick->missed_periods = missed < UINT32_MAX ? (uint32_t)missed : UINT32_MAX;",
        "tick->missed_periods = missed <= UINT32_MAX ? (uint32_t)missed : UINT32_MAX;",
    ): _SAME,
    (
        "const uint64_t missed = periods > 1 ? periods - 1u : 0;",
        "const uint64_t missed = periods >= 1 ? periods - 1u : 0;",
    ): _SAME,
    (
        "const uint64_t missed = periods > 1 ? periods - 1u : 0;",
        "const uint64_t missed = periods > 0 ? periods - 1u : 0;",
    ): _SAME,
    (
        "loop->late_ns = real_ns > passed_ns ? real_ns - passed_ns : 0;",
        "loop->late_ns = real_ns >= passed_ns ? real_ns - passed_ns : 0;",
    ): _SAME,
    (
        "return by_ns < UINT64_MAX - time_ns ? time_ns + by_ns : UINT64_MAX;",
        "return by_ns <= UINT64_MAX - time_ns ? time_ns + by_ns : UINT64_MAX;",
    ): _SAME,
    (
        "const uint64_t ahead_ns = loop->ahead_ns < loop->elapsed_ns ? loop->ahead_ns : loop->elapsed_ns;",
        "const uint64_t ahead_ns = loop->ahead_ns <= loop->elapsed_ns ? loop->ahead_ns : loop->elapsed_ns;",
    ): _SAME,
}

_ENDLESS = "goes on without calling anybody who could end it"

CRASHES = {
    (
        "while (may_read(loop) && read_one(loop, 0) != READ_NONE) {",
        "while (may_read(loop) || read_one(loop, 0) != READ_NONE) {",
    ): _ENDLESS,
    (
        "while (!loop->tick.observed && may_read(loop) &&",
        "while (!loop->tick.observed || may_read(loop) &&",
    ): _ENDLESS,
    (
        "while (!loop->tick.observed && may_read(loop) &&",
        "while (!loop->tick.observed && may_read(loop) ||",
    ): _ENDLESS,
}
