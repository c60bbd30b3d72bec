"""A run of the benchmarks as one self-contained HTML file, and its distributions as one SVG, with the report's drawing.

Every number here stands in the document; the drawings need nothing else.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgerl.bench.result import Benchmark, Gate, RuntimeBench, Sample
from edgerl.files import write_file
from edgerl.report import words
from edgerl.report.axes import log_axis
from edgerl.report.markup import Html, element, join, table
from edgerl.report.plots_timing import FLOOR_US
from edgerl.report.sections import paragraph, section
from edgerl.report.svg import BLUE, GREEN, INK, MUTED, ORANGE, PURPLE, SKY, VERMILLION, Size, drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SIZE = Size(900, 320)
_COLOURS = (BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY, INK, MUTED)
_STYLES = ("-", ":")
_MARKS = {"passed": "✓", "failed": "✗", "undecided": "?", "not_run": words.NONE}
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def render_bench(found: RuntimeBench) -> str:
    """Return the page.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    css = resources.files("edgerl.report").joinpath("report.css").read_text("utf-8")
    head = (
        Html('<meta charset="utf-8">'),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'),
        Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        Html('<meta name="color-scheme" content="light dark">'),
        element("title", "edgerl bench runtime"),
        element("style", Html(css)),
    )
    body = (
        element("header", element("p", "edgerl bench runtime", class_="kind"), element("h1", _headline(found))),
        element("main", _machine(found), *(_benchmark(one) for one in found.benchmarks)),
    )
    page = join((element("head", *head), element("body", *body)))
    return f'<!DOCTYPE html>\n<html lang="en">{page}</html>\n'


def write_bench(path: Path | str, found: RuntimeBench) -> None:
    """Write the page to ``path``, whole or not at all.

    Raises:
        MissingExtra: matplotlib is not installed.
        OutputError: The file could not be written.
    """
    write_file(path, render_bench(found).encode())


def _headline(found: RuntimeBench) -> str:
    gates = [gate for one in found.benchmarks for gate in one.gates]
    passed = sum(gate.verdict == "passed" for gate in gates)
    quick = ", made with --quick: not to be quoted" if found.quick else ""
    return f"{passed} of {words.plural(len(gates), 'gate')} passed{quick}"


def _machine(found: RuntimeBench) -> Html:
    machine = found.machine
    rows = (
        ("processor", f"{machine.processor} ({machine.architecture}, {words.plural(machine.cpus, 'core')})"),
        ("kernel", f"{machine.kernel}, preemption {machine.preemption or 'not said'}"),
        ("virtual machine", machine.hypervisor or "no"),
        ("unfit for, by edgerl doctor", ", ".join(found.unfit_for) or "nothing"),
        ("load before", words.number(found.load_before)),
        ("made", f"{found.date} with edgerl {found.edgerl}, Python {found.python}, in {found.seconds:,.0f} s"),
    )
    cells = (element("div", element("dt", name), element("dd", value)) for name, value in rows)
    return section("machine", "Machine", element("div", element("dl", *cells), class_="facts"))


def _benchmark(one: Benchmark) -> Html:
    parts: list[Html] = [paragraph(one.how)] if one.how else []
    if one.gates:
        titles = ("", "verdict", "found", "95 % interval", "limit", "remark")
        parts.append(table("Gates", titles, (gate_row(gate) for gate in one.gates)))
    if one.samples:
        head = ("", "n", *(words.quantile(q.q) for q in one.samples[0].summary.quantiles), "max")
        parts.append(table("Times in µs", head, (sample_row(row) for row in one.samples), class_="numbers"))
        parts.append(element("figure", tails(one)))
    if one.facts:
        rows = ((fact.name, f"{words.number(fact.value)} {fact.unit}".strip()) for fact in one.facts)
        parts.append(table("Beside", ("", ""), rows, class_="counts"))
    return section(one.name, one.title, *parts)


def gate_row(gate: Gate) -> tuple[str, ...]:
    """Return a gate in words: name, verdict, number, interval, limit and remark."""
    interval = words.NONE
    if gate.low is not None and gate.high is not None:
        interval = f"{_said(gate.low, gate.unit)} … {_said(gate.high, gate.unit)}"
    return (
        gate.name,
        f"{_MARKS[gate.verdict]} {gate.verdict}",
        _said(gate.value, gate.unit),
        interval,
        f"≤ {_said(gate.limit, gate.unit)}",
        gate.reason,
    )


def sample_row(one: Sample) -> tuple[str, ...]:
    """Return a sample in words: name, size, quantiles that it carries and maximum, in [µs]."""
    summary = one.summary
    quantiles = (words.microseconds(q.value) for q in summary.quantiles)
    return (one.name, words.count(summary.n), *quantiles, words.microseconds(summary.maximum))


def _said(value: float | None, unit: str) -> str:
    if value is None:
        return words.NONE
    if unit == "ns":
        return f"{words.microseconds(round(value))} µs"
    return f"{words.number(value)} {unit}".strip()


def tails(one: Benchmark) -> Html:
    """Return the share of ticks that took longer than a time, a curve for each sample of a benchmark.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    curves = [np.array(row.curve, np.float64).reshape(-1, 2) for row in one.samples]
    times = [np.maximum(curve[:, 0] / 1000, FLOOR_US) for curve in curves]
    every = np.concatenate([*times, [FLOOR_US, 1.0]])
    least = min((float(curve[:, 1].min()) for curve in curves if curve.size), default=0.1)

    def draw(axes: Axes) -> None:
        log_axis(axes, "x", float(every.min()) / 1.2, float(every.max()) * 1.5)
        log_axis(axes, "y", least / 2, 1.5)
        for index, (x, curve) in enumerate(zip(times, curves, strict=True)):
            colour, style = _COLOURS[index % len(_COLOURS)], _STYLES[index // len(_COLOURS) % len(_STYLES)]
            axes.step(x, curve[:, 1], where="post", color=colour, linestyle=style, linewidth=1.6)
        names = [row.name for row in one.samples]
        axes.legend(names, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=9)
        axes.set(xlabel="time in µs", ylabel="share that took longer")

    names = ", ".join(row.name for row in one.samples)
    return drawing(f"tails-{one.name}", f"{one.title}: share that took longer than a time: {names}", _SIZE, draw)
