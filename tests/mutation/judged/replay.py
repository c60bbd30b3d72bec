"""The mutants of replay.c."""

from __future__ import annotations

TESTS = ("envelope", "assembler")
