"""Verdicts of the benchmarks: what passes, what fails, and what is not enough to say."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from edgerl import canonical
from edgerl.bench.result import (
    Benchmark,
    Fact,
    Gate,
    RuntimeBench,
    at_most,
    counted,
    difference_gate,
    judged,
    not_run,
    ratio_gate,
    sample,
)
from edgerl.bench.statistics import Estimate
from edgerl.deploy.doctor.facts import Facts

MACHINE = Facts("", "a processor", "x86_64", 2, "a system", "6.1", "rt", "", "")


def document(*gates: Gate, quick: bool = False) -> RuntimeBench:
    times = np.arange(1000, 5000, dtype=np.int64)
    one = Benchmark(
        "one", "The first", "As it was done.", 1.5, (sample("ours", times),), (Fact("share", 2.5, "%"),), gates
    )
    return RuntimeBench(1, "0.1", "2026-01-31", quick, MACHINE, "3.11", ("governor",), 0.5, 3.0, (one,))


def turns(scale: float, count: int = 6, n: int = 400) -> list[np.ndarray]:
    return [(scale * np.arange(1000, 1000 + n)).astype(np.int64) for _ in range(count)]


@pytest.mark.parametrize(
    ("estimate", "verdict"),
    [
        (Estimate(0.5, 0.4, 0.6), "passed"),
        (Estimate(0.9, 0.8, 1.0), "passed"),
        (Estimate(0.9, 0.8, 1.1), "undecided"),
        (Estimate(1.1, 0.8, 1.2), "failed"),
        (Estimate(math.inf, 0.8, math.inf), "failed"),
        (Estimate(math.nan, math.nan, math.nan), "failed"),
    ],
)
def test_only_an_interval_that_is_all_within_the_limit_passes(estimate, verdict):
    assert judged("ratio", estimate, 1.0, "").verdict == verdict


def test_a_ratio_of_turns_is_judged():
    assert ratio_gate("r", turns(0.5), turns(1.0), 0.99, 0.6).verdict == "passed"
    assert ratio_gate("r", turns(0.7), turns(1.0), 0.99, 0.6).verdict == "failed"
    assert difference_gate("d", turns(1.0), turns(1.0), 0.5, 10).verdict == "passed"
    assert difference_gate("d", turns(2.0), turns(1.0), 0.5, 10).verdict == "failed"


@pytest.mark.parametrize(
    "ours", [[], turns(1.0, count=2), turns(1.0, n=20), [*turns(1.0), np.zeros(0, np.int64)]]
)  # fmt: skip
def test_too_few_samples_are_not_enough_to_say(ours):
    gate = ratio_gate("r", ours, turns(1.0), 0.99, 2.0)
    assert gate.verdict == "undecided"
    assert gate.value is None and gate.reason


def test_what_never_happened_needs_enough_trials_to_say_so():
    assert counted("c", 0, of=100, needed=100).verdict == "passed"
    assert counted("c", 0, of=99, needed=100).verdict == "undecided"
    wrong = counted("c", 1, of=3, needed=100, said="the third")
    assert wrong.verdict == "failed" and wrong.reason == "of 3; the third"


def test_a_number_that_is_none_does_not_pass():
    assert at_most("n", math.nan, 1.0, "").verdict == "failed"
    assert at_most("n", 1.0, 1.0, "").verdict == "passed"


@pytest.mark.parametrize("verdict", ["failed", "undecided", "not_run"])
def test_a_document_passes_only_where_every_gate_did(verdict):
    good = at_most("good", 0.0, 1.0, "")
    other = Gate("other", verdict, None, 1.0, "", None, None, "why")
    assert document(good).passed
    assert not document(good, other).passed
    assert not document().passed


def test_the_document_reads_back_as_it_was_written():
    found = document(at_most("n", 1.0, 2.0, "ns"), not_run("m", 1.0, "", "no tool"))
    text = canonical.dumps(found)
    assert canonical.loads(RuntimeBench, text, "the document") == found
    assert json.loads(text)["benchmarks"][0]["gates"][1]["verdict"] == "not_run"
