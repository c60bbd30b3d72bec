"""How much of the C core its own tests reach, by gcov. Nothing of the safety code may be left out."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgerl.runtime import core
from tests.core_build import SOURCES, compile_core

ROOT = SOURCES.parents[1]
COMPLETE = [
    "arm.c",
    "ask.c",
    "assembler.c",
    "blake2s.c",
    "bucket.c",
    "config.c",
    "confine.c",
    "datagram.c",
    "envelope.c",
    "frame.c",
    "inner.c",
    "loop.c",
    "modes.c",
    "operator.c",
    "policies.c",
    "prepare.c",
    "replay.c",
    "requests.c",
    "sense.c",
    "sources.c",
    "state.c",
    "status.c",
    "switch.c",
    "tick.c",
    "watch.c",
    "wire.c",
]
"""Every line and every branch of these is reached."""
LEAST = 0.9
"""Least share of reached lines in any other file; what is missing there are refusals of the kernel."""


@pytest.mark.slow
def test_the_cores_tests_reach_all_of_the_safety_code(tmp_path, capsys):
    gcov = shutil.which("gcov")
    if gcov is None or "clang" in os.environ.get("CC", ""):
        pytest.skip("gcov and gcc measure this, and one of them is missing")
    folder = compile_core(tmp_path, "-O0", "-g", "--coverage", "-fprofile-abs-path", "-fprofile-update=atomic")
    tests = [str(path) for path in sorted((ROOT / "tests" / "unit").glob("test_core_*.py"))]
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-m",
        "not slow",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        *tests,
    ]
    environment = {**os.environ, core.CORE_DIR_VARIABLE: str(folder)}
    done = subprocess.run(
        [*command, "tests/integration/test_guardian.py"],
        check=False,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    reached = merge(measure(folder, gcov))
    table = [
        f"{name:14} lines {share(lines):6.1%}  branches {share(branches):6.1%}  {missing(lines, branches)}"
        for name, (lines, branches) in sorted(reached.items())
    ]
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(table) + "\n")
    gaps = {name: missing(*reached[name]) for name in COMPLETE if missing(*reached[name])}
    assert not gaps, gaps
    for name, (lines, _) in reached.items():
        assert share(lines) >= LEAST, f"{name}: {missing(lines, {})}"


def measure(folder: Path, gcov: str) -> list[dict]:
    """Return gcov's JSON of every unit that ran."""
    reports = []
    for data in sorted(folder.glob("*.gcda")):
        command = [gcov, "--json-format", "--branch-probabilities", "--stdout", data.name]
        done = subprocess.run(command, check=True, cwd=folder, capture_output=True, text=True)
        reports.append(json.loads(done.stdout))
    return reports


def merge(reports: list[dict]) -> dict[str, tuple[dict[int, int], dict[tuple[int, int], int]]]:
    """Return by file name how often each line and each branch was taken, in library and guardian together."""
    files: dict[str, tuple[dict[int, int], dict[tuple[int, int], int]]] = {}
    for report in reports:
        for file in report["files"]:
            if not file["file"].endswith(".c"):
                continue
            lines, branches = files.setdefault(Path(file["file"]).name, ({}, {}))
            for line in file["lines"]:
                number = line["line_number"]
                lines[number] = lines.get(number, 0) + line["count"]
                for i, branch in enumerate(line["branches"]):
                    branches[number, i] = branches.get((number, i), 0) + branch["count"]
    return files


def share(counts: dict) -> float:
    return sum(count > 0 for count in counts.values()) / len(counts) if counts else 1.0


def missing(lines: dict, branches: dict) -> str:
    parts = [str(number) for number, count in sorted(lines.items()) if count == 0]
    parts += [f"{number}:b{branch}" for (number, branch), count in sorted(branches.items()) if count == 0]
    return " ".join(parts)
