"""Mutation testing of the core's safety code: every defect must make a test fail.

``python -m tests.mutation.mutate_core [FILE.c ...]`` collects the tests that judge the core once, then forks for each
mutant: the child compiles the library with the defect and runs the tests until one fails. A mutant counts as killed
only by a failed test: a crash, a hang or an error of the harness is a failure of this program, since it would otherwise
pass for vigilance. Mutants that change nothing, and those that cannot but crash, are listed by hand in ``expected.py``
with their reasons. Exit code 0: all others were killed, and nothing in that list has become superfluous.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgerl.runtime import core
from tests.core_build import FLAGS, SOURCES, compile_c
from tests.mutation.expected import CRASHES, EQUIVALENT
from tests.mutation.mutants import Mutant, mutants_of

FILES = {
    "envelope.c": "envelope",
    "modes.c": "modes",
    "bucket.c": "faults",
    "prepare.c": "prepare",
    "arm.c": "arming",
}
"""Which sources are mutated, and which tests judge each of them first."""
TESTS = [
    "modes",
    "envelope",
    "faults",
    "inner",
    "prepare",
    "sources",
    "arming",
    "tick",
]
ROOT = SOURCES.parents[1]
TIMEOUT_S = 60
SURVIVED, KILLED, REFUSED = 0, 1, 10
WORDS = {SURVIVED: "survived", KILLED: "killed", REFUSED: "refused", None: "hung"}


@dataclass
class Running:
    """A child at work on a mutant."""

    mutant: Mutant
    since: float


class MutationLoop:
    """A pytest plugin that runs the collected tests once for each mutant instead of once."""

    def __init__(self, files: list[str], folder: Path) -> None:
        self.mutants = [mutant for file in files for mutant in mutants_of(SOURCES / file)]
        self.folder = folder
        self.verdicts: list[tuple[Mutant, str]] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        whole = os.fork()
        if whole == 0:
            os._exit(self._run(session, link(self.folder, "whole", None), ""))
        if os.waitstatus_to_exitcode(os.waitpid(whole, 0)[1]) != SURVIVED:
            sys.__stdout__.write("The tests fail on the core as it is: nothing was judged.\n")
            return True
        for mutant, status in self._judged(session):
            self.verdicts.append((mutant, WORDS.get(status, "crashed")))
        return True

    def _judged(self, session: pytest.Session) -> Iterator[tuple[Mutant, int | None]]:
        """Yield each mutant with its child's exit code; less than 0 for a signal, None for a hang."""
        waiting = list(reversed(list(enumerate(self.mutants))))
        running: dict[int, Running] = {}
        while waiting or running:
            while waiting and len(running) < (os.cpu_count() or 1):
                index, mutant = waiting.pop()
                child = os.fork()
                if child == 0:
                    os._exit(self._run(session, link(self.folder, str(index), mutant), FILES[mutant.file]))
                running[child] = Running(mutant, time.monotonic())
            for child, one in list(running.items()):
                done, status = os.waitpid(child, os.WNOHANG)
                if done:
                    yield running.pop(child).mutant, os.waitstatus_to_exitcode(status)
                elif time.monotonic() - one.since > TIMEOUT_S:
                    os.kill(child, 9)
                    os.waitpid(child, 0)
                    yield running.pop(child).mutant, None
            time.sleep(0.005)

    def _run(self, session: pytest.Session, out: Path | None, first: str) -> int:
        """Run the tests in this child until one fails."""
        if out is None:
            return REFUSED
        os.environ[core.CORE_DIR_VARIABLE] = str(out)
        items = sorted(session.items, key=lambda item: f"core_{first}." not in item.nodeid)
        for item, after in zip(items, [*items[1:], None], strict=True):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
            if session.testsfailed:
                return KILLED
        return SURVIVED


def main(files: list[str]) -> int:
    """Judge all mutants, print those that matter, and return the exit code."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        compile_objects(Path(name))
        loop = MutationLoop(files or list(FILES), Path(name))
        options = [
            "-o",
            "addopts=--import-mode=importlib",
            "--assert=plain",
            "-p",
            "no:terminal",
            "-p",
            "no:faulthandler",
        ]
        tests = [f"{ROOT}/tests/unit/test_core_{test}.py" for test in TESTS]
        pytest.main([*options, "-p", "no:cacheprovider", f"--rootdir={ROOT}", *tests], plugins=[loop])
    return report(loop.verdicts, time.monotonic() - started, complete=not files)


def report(verdicts: list[tuple[Mutant, str]], seconds: float, *, complete: bool) -> int:
    """Print what went wrong and the counts; return the exit code."""
    counts: Counter[str] = Counter()
    met = set()
    for mutant, word in verdicts:
        key = (mutant.before, mutant.after)
        met.add(key)
        expected = (word == "survived" and key in EQUIVALENT) or (word in ("crashed", "hung") and key in CRASHES)
        counts[f"{word} as expected" if expected else word] += 1
        if word in ("survived", "crashed", "hung") and not expected:
            sys.stdout.write(f"{word}: {mutant.file}:{mutant.number}\n    {mutant.before}\n    {mutant.after}\n")
    superfluous = (EQUIVALENT.keys() | CRASHES.keys()) - met if complete else set()
    for before, after in sorted(superfluous):
        sys.stdout.write(f"expected, but no longer a mutant:\n    {before}\n    {after}\n")
    sys.stdout.write(f"{len(verdicts)} mutants in {seconds:.0f} s: {dict(counts)}\n")
    bad = counts["survived"] + counts["crashed"] + counts["hung"] + len(superfluous)
    return int(bad > 0 or counts["killed"] == 0)


def compile_objects(folder: Path) -> None:
    """Compile every unit once; a mutant replaces one of them."""
    for unit in SOURCES.glob("*.c"):
        if unit.name != "guardian.c":
            compile_c(*FLAGS, "-O1", "-fPIC", "-c", str(unit), "-o", str(folder / f"{unit.stem}.o"))


def link(folder: Path, name: str, mutant: Mutant | None) -> Path | None:
    """Build the library with a mutant in it; None where the compiler refuses the mutant."""
    out = folder / name
    out.mkdir()
    objects = {path.stem: path for path in folder.glob("*.o")}
    if mutant is not None:
        stem = Path(mutant.file).stem
        (out / mutant.file).write_text(mutant.text)
        objects[stem] = out / f"{stem}.o"
        flags = ["-std=c11", "-w", "-O1", "-ffp-contract=off", "-fPIC", f"-I{SOURCES}"]
        command = ["cc", *flags, "-c", str(out / mutant.file), "-o", str(objects[stem])]
        if subprocess.run(command, check=False, capture_output=True, timeout=60).returncode != 0:
            return None
    compile_c("-shared", *map(str, objects.values()), "-o", str(out / core.LIBRARY_NAME), "-lm")
    return out


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
