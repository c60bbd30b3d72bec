"""The safety code's tests notice every defect that mutation can put in."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.core_build import SOURCES
from tests.mutation.mutants import mutants_of

ROOT = SOURCES.parents[1]


@pytest.mark.slow
def test_every_mutant_of_the_safety_code_is_killed(capsys):
    command = [sys.executable, "-m", "tests.mutation.mutate_core"]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=1200)
    with capsys.disabled():
        sys.stdout.write("\n" + done.stdout[-2000:])
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-4000:]


def mutants_of_text(tmp_path, text):
    path = tmp_path / "one.c"
    path.write_text(text)
    return [mutant.after for mutant in mutants_of(path)]


def test_operators_numbers_conditions_and_statements_are_mutated(tmp_path):
    after = mutants_of_text(tmp_path, "    if (a < b && !c) {\n")
    assert after == [
        "if (a <= b && !c) {",
        "if (a > b && !c) {",
        "if (a < b || !c) {",
        "if (a < b && c) {",
        "if (!(a < b && !c)) {",
    ]
    assert mutants_of_text(tmp_path, "    level++;\n") == ["level--;", ";"]
    assert mutants_of_text(tmp_path, "    return 7u;\n") == ["return 8u;", "return 6u;"]
    assert mutants_of_text(tmp_path, "    x = CELL(HOLD, SAFE);\n")[:2] == [
        "x = CELL(POLICY, SAFE);",
        "x = CELL(HOLD, ACTIVE);",
    ]


def test_comments_preprocessor_and_loop_increments_are_left_alone(tmp_path):
    assert mutants_of_text(tmp_path, "/* a < b\n * c > d */\n#define X 3\n") == []
    after = mutants_of_text(tmp_path, "    for (i = 0; i < n; i++) {\n")
    assert after == ["for (i = 1; i < n; i++) {", "for (i = 0; i <= n; i++) {", "for (i = 0; i > n; i++) {"]
