"""The page of the benchmarks: every gate and sample is on it, and a text is never markup."""

from __future__ import annotations

import re

from edgerl.bench.page import gate_row, render_bench, sample_row
from edgerl.bench.result import at_most, counted, judged, not_run, sample
from edgerl.bench.statistics import Estimate
from tests.unit.test_bench_result import document, turns


def test_every_gate_and_sample_is_on_the_page():
    page = render_bench(
        document(judged("p50, a / b", Estimate(0.25, 0.2, 0.3), 0.6, ""), not_run("c", 1.0, "", "no tool"))
    )
    for text in ("1 of 2 gates passed", "p50, a / b", "0.25", "0.2 … 0.3", "≤ 0.6", "no tool", "ours", "a processor"):
        assert text in page
    assert page.count("<svg") == 1


def test_a_quick_run_says_so():
    assert "not to be quoted" in render_bench(document(quick=True))


def test_a_text_is_never_markup():
    page = render_bench(document(not_run("<script>alert(1)</script>", 1.0, "", '"><img src=x>')))
    assert "<script" not in page and "<img" not in page


def test_the_same_document_gives_the_same_page():
    assert render_bench(document()) == render_bench(document())


def test_a_row_says_times_in_microseconds():
    assert gate_row(at_most("median", 46_012.0, 100_000, "ns")) == (
        "median",
        "✓ passed",
        "46.0 µs",
        "—",
        "≤ 100 µs",
        "",
    )
    assert gate_row(counted("bursts", 0, of=3, needed=20))[1:3] == ("? undecided", "0")
    row = sample_row(sample("ours", turns(1.0)[0]))
    assert row[:3] == ("ours", "400", "1.2")


def test_a_benchmark_with_more_curves_than_colours_tells_them_apart():
    page = render_bench(document())
    assert re.search(r'style="color:var\(--blue\)"', page)
