"""The mutants of ask.c."""

from __future__ import annotations

TESTS = ("ask", "candidate", "switch", "slots", "delay", "observed", "policies", "tick", "arming")

_PAST = "the first nanosecond after the computer's start is as long past as the one before it"

EQUIVALENT = {
    ("return waits ? loop->asked.due_ns : 0;", "return waits ? loop->asked.due_ns : 1;"): _PAST,
    ("if (erl_policies_hear(loop, 0)) {", "if (erl_policies_hear(loop, 1)) {"): _PAST,
    ("(void)erl_policies_take(loop, 0);", "(void)erl_policies_take(loop, 1);"): _PAST,
    (
        "loop->asked.ticks = passed < UINT32_MAX ? (uint32_t)passed : UINT32_MAX;",
        "loop->asked.ticks = passed <= UINT32_MAX ? (uint32_t)passed : UINT32_MAX;",
    ): "at equality both sides of the choice are the same number",
}
