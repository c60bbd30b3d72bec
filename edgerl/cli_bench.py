"""The commands below ``edgerl bench``.

As in :mod:`edgerl.cli`: parse, call one function, print.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgerl import console
from edgerl.cli_options import Json
from edgerl.errors import GateFailed

if TYPE_CHECKING:
    from edgerl.bench.result import Benchmark, RuntimeBench


def add_to(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    bench = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    bench.command("runtime")(runtime)
    app.add_typer(bench, name="bench", help="Measure this machine: ratios, with the machine in the result.")


def runtime(
    only: Annotated[
        list[str] | None, typer.Option(help="Run this benchmark, and others where given again; otherwise all.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A fraction of it, to see that everything runs.")] = False,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="JSON file to write the result into.")] = None,
    report: Annotated[Path | None, typer.Option(help="HTML file to draw the distributions into.")] = None,
    as_json: Json = False,
) -> None:
    """Measure the control loop: lateness, round trips, reactions to faults, footprint. Takes a quarter of an hour.

    Needs a C compiler, and cyclictest (Debian: rt-tests) for the comparison with it. Exit code 3: a gate said no, or
    there were not enough samples to say.
    """
    from edgerl.bench.page import write_bench
    from edgerl.bench.suite import bench_runtime
    from edgerl.files import check_place, write_file
    from edgerl.run import check_extras

    for path in (output, report):
        if path is not None:
            check_place(path)
    check_extras("", report)
    with console.display(quiet=as_json) as on_stage:
        found = bench_runtime(only=only or (), quick=quick, on_progress=on_stage)
    if output is not None:
        write_file(output, f"{console.json_text(found)}\n".encode())
    if report is not None:
        write_bench(report, found)
    if as_json:
        console.show_json(found)
    else:
        _show(found)
    if not found.passed:
        raise typer.Exit(GateFailed.exit_code)


def _show(found: RuntimeBench) -> None:
    for one in found.benchmarks:
        _show_benchmark(one)
    if found.quick:
        console.note("Made with --quick: it shows that everything runs. The numbers are not to be quoted.")


def _show_benchmark(one: Benchmark) -> None:
    from edgerl.bench.page import gate_row, sample_row

    console.heading(one.title, f"({one.seconds:,.0f} s)")
    if one.samples:
        quantiles = [f"p{100 * q.q:g}" for q in one.samples[0].summary.quantiles]
        rows = [list(sample_row(row)) for row in one.samples]
        console.show_table("", ["times in µs", "n", *quantiles, "max"], rows)
    if one.facts:
        console.show_table("", ["beside", "", ""], [[fact.name, f"{fact.value:g}", fact.unit] for fact in one.facts])
    rows = []
    for gate in one.gates:
        name, _, *rest = gate_row(gate)
        rows.append([gate.verdict, name, *rest])
    if rows:
        console.show_table("", ["gate", "", "found", "95 % interval", "limit", "remark"], rows)
