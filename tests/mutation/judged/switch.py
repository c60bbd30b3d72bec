"""The mutants of switch.c."""

from __future__ import annotations

TESTS = ("switch", "slots")
