"""A run of the benchmarks as Markdown, for ``docs/benchmarks.md``: ``python -m edgerl.bench.markdown RESULT.json``.

Prints the tables and writes a drawing of each benchmark's distributions beside the document. A test compares the page
with the document that it is about.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable
from pathlib import Path

from edgerl import canonical
from edgerl.bench.page import gate_row, sample_row, tails
from edgerl.bench.result import Benchmark, RuntimeBench
from edgerl.files import write_files
from edgerl.report import words
from edgerl.report.svg import BLUE, GREEN, GRID, INK, MUTED, ORANGE, PURPLE, SKY, VERMILLION

_WHITE = "#ffffff"
_COLOURS = {
    "ink": INK, "muted": MUTED, "grid": GRID, "blue": BLUE, "sky": SKY,
    "orange": ORANGE, "vermillion": VERMILLION, "green": GREEN, "purple": PURPLE,
}  # fmt: skip
"""A picture by itself has no page that says what a colour is."""


def load_bench(path: Path) -> RuntimeBench:
    """Return the document in a file.

    Raises:
        SpecError: It is none of this version.
    """
    return canonical.loads(RuntimeBench, path.read_bytes(), str(path))


def markdown(found: RuntimeBench, pictures: str) -> str:
    """Return machine, gates and times as Markdown.

    Args:
        found: The document.
        pictures: What the path of each picture begins with, as seen from the page.
    """
    machine = found.machine
    head = (
        f"Made on {found.date} in {found.seconds / 60:.0f} minutes, with edgerl {found.edgerl}, Python {found.python}: "
        f"{machine.processor}, {machine.cpus} processors, kernel {machine.kernel} (preemption {machine.preemption}), "
        f"{f'a {machine.hypervisor} guest' if machine.hypervisor else 'not virtual'}; load average before it "
        f"{found.load_before:g}. What `edgerl doctor` objects to at 1 kHz: {', '.join(found.unfit_for) or 'nothing'}."
    )
    return "\n\n".join([head, *(_benchmark(one, pictures) for one in found.benchmarks)]) + "\n"


def _benchmark(one: Benchmark, pictures: str) -> str:
    parts = [f"### {one.title}", one.how]
    if one.gates:
        head = ("gate", "verdict", "found", "95 % interval", "limit", "remark")
        parts.append(_table(head, map(gate_row, one.gates)))
    if one.samples:
        quantiles = (words.quantile(q.q) for q in one.samples[0].summary.quantiles)
        parts.append(_table(("times in µs", "n", *quantiles, "max"), map(sample_row, one.samples)))
        names = ", ".join(row.name for row in one.samples)
        parts.append(f"![Share that took longer than a time: {names}]({pictures}-{one.name}.svg)")
    if one.facts:
        rows = [(fact.name, f"{words.number(fact.value)} {fact.unit}".strip()) for fact in one.facts]
        parts.append(_table(("beside", ""), rows))
    return "\n\n".join(part for part in parts if part)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def picture(one: Benchmark) -> bytes:
    """Return the drawing of a benchmark as a file of its own.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    drawn = str(tails(one))
    for name, value in _COLOURS.items():
        drawn = drawn.replace(f"var(--{name})", value)
    left, top, width, height = re.findall(r'viewBox="([\d.]+) ([\d.]+) ([\d.]+) ([\d.]+)"', drawn)[0]
    drawn = drawn.replace("<svg ", f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" ', 1)
    ground = f'<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="{_WHITE}"/>'
    return drawn.replace("</title>", f"</title>{ground}", 1).encode()


def main() -> None:
    """Print the tables of a document and write its pictures beside it."""
    parser = argparse.ArgumentParser(prog="python -m edgerl.bench.markdown", description=__doc__)
    parser.add_argument("document", type=Path)
    path = parser.parse_args().document
    found = load_bench(path)
    write_files(
        {path.with_name(f"{path.stem}-{one.name}.svg"): picture(one) for one in found.benchmarks if one.samples}
    )
    print(markdown(found, f"{path.parent.name}/{path.stem}"))  # noqa: T201  its purpose


if __name__ == "__main__":
    main()
