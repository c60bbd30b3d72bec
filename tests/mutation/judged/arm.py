"""The mutants of arm.c."""

from __future__ import annotations

TESTS = ("arming", "prepare", "tick", "faults")

EQUIVALENT = {
    (
        "blockers |= loop->tick.observed && erl_source_written(loop) ? 0u : ERL_ARM_NO_STATE;",
        "blockers = loop->tick.observed && erl_source_written(loop) ? 0u : ERL_ARM_NO_STATE;",
    ): "it is the first of them",
}
