"""The mutants of inner.c."""

from __future__ import annotations

from tests.mutation.judged import SANITIZER

TESTS = ("setpoints", "inner", "widest", "candidate", "switch", "slots", "prepare")

_ARRIVED = "a way of 1 and more is all the way"
_UNUSED = "no verdict has the bit after the causes"
_LOOP = "for (uint32_t i = 0; i < loop->config.command_count; i++) {"
_TOO_FAR = "for (uint32_t i = 0; i <= loop->config.command_count; i++) {"
_WANTED = "for (uint32_t i = 0; i < config->command_count; i++) {"
_WANTED_TOO_FAR = "for (uint32_t i = 0; i <= config->command_count; i++) {"
_CAUSES = "for (uint32_t cause = 0; verdict != 0 && cause < ERL_CAUSE_COUNT; cause++) {"

EQUIVALENT = {
    (_LOOP, _TOO_FAR): SANITIZER,
    (_WANTED, _WANTED_TOO_FAR): SANITIZER,
    (
        "for (uint32_t i = 0; i < loop->config.action_count; i++) {",
        "for (uint32_t i = 0; i <= loop->config.action_count; i++) {",
    ): SANITIZER,
    (
        "const bool hold = loop->config.inner_law != ERL_INNER_INTERPOLATE || ticks >= loop->config.policy_divider;",
        "const bool hold = loop->config.inner_law != ERL_INNER_INTERPOLATE || ticks > loop->config.policy_divider;",
    ): _ARRIVED,
    (
        "const float weight = hold ? 1.0f : (float)ticks / (float)loop->config.policy_divider;",
        "const float weight = hold ? (1.0f * 2) : (float)ticks / (float)loop->config.policy_divider;",
    ): _ARRIVED,
    (
        "return ERL_CAUSE_NOT_FINITE | ERL_VERDICT_REJECTED;",
        "return ERL_CAUSE_NOT_FINITE & ERL_VERDICT_REJECTED;",
    ): "the torque of such a position is not finite either, and is rejected for the same cause",
    (
        "const bool low = *target < channel->target_low;",
        "const bool low = *target <= channel->target_low;",
    ): "a position at its limit does not come here",
    (
        _CAUSES,
        "for (uint32_t cause = 0; verdict != 1 && cause < ERL_CAUSE_COUNT; cause++) {",
    ): "no verdict is 1, a cause without what was done about it; where it is 0, 0 is added",
    (_CAUSES, "for (uint32_t cause = 0; verdict != 0 && cause <= ERL_CAUSE_COUNT; cause++) {"): _UNUSED,
    (
        "loop->tick.causes = all & ((1u << ERL_CAUSE_COUNT) - 1u);",
        "loop->tick.causes = all & ((2u << ERL_CAUSE_COUNT) - 1u);",
    ): _UNUSED,
}

CRASHES = {
    (_LOOP, _TOO_FAR): "where all channels are in use it writes past the end of its arrays",
    (_WANTED, _WANTED_TOO_FAR): "where all channels are in use it writes past the end of its arrays",
    (_CAUSES, "for (uint32_t cause = 0; verdict != 0 || cause < ERL_CAUSE_COUNT; cause++) {"): "does not end",
}
