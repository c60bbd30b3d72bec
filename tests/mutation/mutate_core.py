"""Mutation testing of the core's safety code: every defect must make a test fail.

``python -m tests.mutation.mutate_core [FILE.c ...]`` collects the tests that judge the core once, then forks for each
mutant: the child compiles the library with the defect and runs the tests until one fails. A mutant counts as killed
only by a failed test: a crash, a hang or an error of the harness is a failure of this program, since it would otherwise
pass for vigilance. Tests with random examples have no vote, so that no verdict hangs on luck. Mutants that change
nothing, and those that cannot but crash, are listed by hand in ``judged/`` with their reasons. Exit code 0: all others
were killed, and nothing in that list has become superfluous.
"""

from __future__ import annotations

import os
import shutil
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
from tests.mutation.judged import FILES, judge_of
from tests.mutation.mutants import Mutant, mutants_of

ROOT = SOURCES.parents[1]
TIMEOUT_S = 30
SURVIVED, KILLED, REFUSED = 0, 1, 10
WORDS = {SURVIVED: "survived", KILLED: "killed", REFUSED: "refused", None: "hung"}


@dataclass
class Running:
    """A child at work on a mutant."""

    mutant: Mutant
    folder: Path
    since: float


class MutationLoop:
    """A pytest plugin that runs the collected tests once for each mutant instead of once."""

    def __init__(self, files: list[str], folder: Path) -> None:
        self.mutants = [mutant for file in files for mutant in mutants_of(SOURCES / file)]
        self.folder = folder
        self.verdicts: list[tuple[Mutant, str]] = []
        self.items: dict[str, list[pytest.Item]] = {}
        """The tests that judge each source; those that killed last come first."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        whole = os.fork()
        if whole == 0:
            os._exit(run(session, session.items, link(self.folder / "whole", None)))
        if os.waitstatus_to_exitcode(os.waitpid(whole, 0)[1]) != SURVIVED:
            sys.__stdout__.write("The tests fail on the core as it is: nothing was judged.\n")
            return True
        for file in dict.fromkeys(mutant.file for mutant in self.mutants):
            names = [f"test_core_{test}" for test in judge_of(file).tests]
            chosen = [item for item in session.items if item.path.stem in names]
            self.items[file] = sorted(chosen, key=lambda item, names=names: names.index(item.path.stem))
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
                folder = self.folder / str(index)
                child = os.fork()
                if child == 0:
                    os._exit(run(session, self.items[mutant.file], link(folder, mutant)))
                running[child] = Running(mutant, folder, time.monotonic())
            for child, one in list(running.items()):
                done, status = os.waitpid(child, os.WNOHANG)
                late = time.monotonic() - one.since > TIMEOUT_S
                if not done and late:
                    os.kill(child, 9)
                    os.waitpid(child, 0)
                if done or late:
                    self._remember(running.pop(child))
                    yield one.mutant, os.waitstatus_to_exitcode(status) if done else None
            time.sleep(0.005)

    def _remember(self, one: Running) -> None:
        """Let the test that killed this mutant judge its neighbours first, and make room."""
        killer = one.folder / KILLER
        if killer.exists():
            name = killer.read_text()
            self.items[one.mutant.file].sort(key=lambda item: item.nodeid != name)
        shutil.rmtree(one.folder, ignore_errors=True)


def run(session: pytest.Session, items: list[pytest.Item], out: Path | None) -> int:
    """Run the tests in this child until one fails."""
    if out is None:
        return REFUSED
    os.environ[core.CORE_DIR_VARIABLE] = str(out)
    for item, after in zip(items, [*items[1:], None], strict=True):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
        if session.testsfailed:
            (out / KILLER).write_text(item.nodeid)
            return KILLED
    return SURVIVED


KILLER = "killer"
"""The file in a mutant's folder that names the test which failed."""


def main(files: list[str]) -> int:
    """Judge all mutants, print those that matter, and return the exit code."""
    started = time.monotonic()
    files = files or FILES
    with tempfile.TemporaryDirectory() as name:
        compile_objects(Path(name))
        loop = MutationLoop(files, Path(name))
        options = ["-o", "addopts=--import-mode=importlib", "--assert=plain", "-m", "not hypothesis"]
        plugins = [word for plugin in ("terminal", "faulthandler", "cacheprovider") for word in ("-p", f"no:{plugin}")]
        names = dict.fromkeys(test for file in files for test in judge_of(file).tests)
        tests = [f"{ROOT}/tests/unit/test_core_{test}.py" for test in names]
        pytest.main([*options, *plugins, f"--rootdir={ROOT}", *tests], plugins=[loop])
    return report(loop.verdicts, time.monotonic() - started)


def report(verdicts: list[tuple[Mutant, str]], seconds: float) -> int:
    """Print what went wrong and the counts; return the exit code."""
    counts: Counter[str] = Counter()
    met: dict[str, set[tuple[str, str]]] = {}
    for mutant, word in verdicts:
        judge, key = judge_of(mutant.file), (mutant.before, mutant.after)
        met.setdefault(mutant.file, set()).add(key)
        expected = (word == "survived" and key in judge.equivalent) or (
            word in ("crashed", "hung") and key in judge.crashes
        )
        counts[f"{word} as expected" if expected else word] += 1
        if word in ("survived", "crashed", "hung") and not expected:
            sys.stdout.write(f"{word}: {mutant.file}:{mutant.number}\n    {mutant.before}\n    {mutant.after}\n")
    for file, keys in met.items():
        for before, after in sorted((judge_of(file).equivalent.keys() | judge_of(file).crashes.keys()) - keys):
            counts["superfluous"] += 1
            sys.stdout.write(f"expected, but no longer a mutant: {file}\n    {before}\n    {after}\n")
    sys.stdout.write(f"{len(verdicts)} mutants in {seconds:.0f} s: {dict(counts)}\n")
    bad = counts["survived"] + counts["crashed"] + counts["hung"] + counts["superfluous"]
    return int(bad > 0 or counts["killed"] == 0)


def compile_objects(folder: Path) -> None:
    """Compile every unit once; a mutant replaces one of them."""
    for unit in SOURCES.glob("*.c"):
        if unit.name != "guardian.c":
            compile_c(*FLAGS, "-O1", "-fPIC", "-c", str(unit), "-o", str(folder / f"{unit.stem}.o"))


def link(out: Path, mutant: Mutant | None) -> Path | None:
    """Build the library with a mutant in it; None where the compiler refuses the mutant."""
    out.mkdir()
    objects = {path.stem: path for path in out.parent.glob("*.o")}
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
