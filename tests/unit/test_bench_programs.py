"""The programs of the benchmarks compile without a warning, and without a compiler there is one clear message."""

from __future__ import annotations

from pathlib import Path

import pytest

import edgerl.bench
from edgerl.bench.cyclictest import CyclicTest, run_cyclictest, samples_of
from edgerl.bench.footprint import read_ticks
from edgerl.bench.programs import compile_program
from edgerl.bench.suite import BENCHMARKS, bench_runtime
from edgerl.errors import PlatformError, UnknownBenchmark

SOURCES = sorted((Path(edgerl.bench.__file__).parent / "fixtures").glob("*.c"))
STRICT = ("-Wpedantic", "-Wconversion", "-Wshadow", "-Werror")


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_program_compiles_without_a_warning(source, tmp_path):
    made = compile_program(source.stem, tmp_path, with_core=source.stem in ("policy", "ticks"), flags=STRICT)
    assert made.stat().st_mode & 0o111


def test_without_a_compiler_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(PlatformError, match=r"no-such-compiler.*Install a C compiler"):
        compile_program("hog", tmp_path)


def test_a_compiler_that_refuses_is_quoted(tmp_path):
    with pytest.raises(PlatformError, match=r"refused hog\.c"):
        compile_program("hog", tmp_path, flags=("--no-such-flag",))


def test_without_cyclictest_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(PlatformError, match="apt-get install rt-tests"):
        run_cyclictest(CyclicTest(80, 0, 1_000_000, 10))


def test_the_samples_of_cyclictest_are_read_and_its_words_are_not():
    text = "Max CPUs = 2\nOnline CPUs = 2\n       0:       0:   24920\n       0:       1:   7514154\n# done: 1:2\n"
    assert samples_of(text).tolist() == [24920, 7514154]
    assert samples_of("policy: fifo: loadavg: 0.11").size == 0


def test_the_line_of_the_faked_clock_is_read():
    said = read_ticks("12 0 3 15000 0 884000 6000 95000 906911 3712805693")
    assert (said.calls_before, said.calls, said.page_faults) == (12, 0, 3)
    assert said.modes == (15000, 0, 884000, 6000, 95000)
    assert (said.sent, said.took_ns) == (906911, 3712805693)


def test_an_unknown_benchmark_is_refused_before_anything_runs():
    with pytest.raises(UnknownBenchmark, match=r"'lateness'\. Valid: wakeup, "):
        bench_runtime(only=("wakeup", "lateness"))


def test_every_benchmark_has_the_name_that_it_is_called_by():
    assert list(BENCHMARKS) == [
        "wakeup", "wakeup-4khz", "round-trip", "faults", "stall", "neighbour", "allocation", "page-faults", "recording",
    ]  # fmt: skip
