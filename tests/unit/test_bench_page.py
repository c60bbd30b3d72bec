"""The page of the benchmarks: every gate and sample is on it, and a text is never markup."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

from edgerl.bench.markdown import load_bench, markdown, picture
from edgerl.bench.page import gate_row, render_bench, sample_row, tails
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
    one = document().benchmarks[0]
    many = replace(one, samples=tuple(replace(one.samples[0], name=f"curve {index}") for index in range(10)))
    drawn = str(tails(many))
    assert all(f"curve {index}" in drawn for index in range(10))
    assert "stroke-dasharray" in drawn


def test_a_picture_stands_by_itself():
    drawn = picture(document().benchmarks[0]).decode()
    root = ElementTree.fromstring(drawn)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "var(--" not in drawn and "ours" in drawn


def test_the_markdown_has_every_gate_and_sample():
    found = document(at_most("median | of all", 46_012.0, 100_000, "ns"))
    text = markdown(found, "benchmarks/here")
    assert "| median \\| of all | ✓ passed | 46.0 µs | — | ≤ 100 µs |  |" in text
    assert "(benchmarks/here-one.svg)" in text
    assert "a processor, 2 processors, kernel 6.1 (preemption rt), not virtual" in text


PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"


def test_the_page_of_the_docs_shows_the_document_that_it_is_about():
    text = PAGE.read_text()
    (name,) = re.findall(r"\(benchmarks/(runtime-[\w-]+)\.json\)", text)
    path = PAGE.parent / "benchmarks" / f"{name}.json"
    found = load_bench(path)
    assert not found.quick
    assert markdown(found, f"benchmarks/{name}") in text
    for one in found.benchmarks:
        if one.samples:
            assert (path.parent / f"{name}-{one.name}.svg").is_file()
