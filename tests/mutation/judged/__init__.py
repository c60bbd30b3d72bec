"""What judges the mutants of one source each: ``envelope.py`` those of ``envelope.c``.

Each module says three things. ``TESTS``: the files ``tests/unit/test_core_*.py`` that judge its mutants, those that
tell most first. ``EQUIVALENT``: mutants that change nothing that a test of values can see. ``CRASHES``: mutants that
cannot but crash or hang, so that no assertion gets a say. A mutant is written ``(line, mutated line)``, both stripped,
with the reason as its value.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path

Expected = dict[tuple[str, str], str]
SANITIZER = (
    "reaches past an array; the sanitizer run dies of it (tests/native/test_sanitizers.py), nothing else can see it"
)
FILES = sorted(f"{path.stem}.c" for path in Path(__file__).parent.glob("[a-z]*.py"))
"""Which sources are mutated."""


@dataclass(frozen=True)
class Judge:
    """What is known of the mutants of one source."""

    tests: tuple[str, ...]
    equivalent: Expected
    crashes: Expected


def judge_of(file: str) -> Judge:
    """Return what the module named like the source says."""
    module = importlib.import_module(f"{__name__}.{Path(file).stem}")
    return Judge(module.TESTS, getattr(module, "EQUIVALENT", {}), getattr(module, "CRASHES", {}))
