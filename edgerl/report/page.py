"""The report as one HTML file that needs nothing else: no network, no script, no font of its own."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from edgerl.files import write_file
from edgerl.report import figures, sections
from edgerl.report.markup import Html, element, join
from edgerl.report.run_report import RunReport
from edgerl.report.verdict import judge

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""Even a name that got past the escaping could load and run nothing."""


def render_report(report: RunReport) -> str:
    """Return the page about one run; the same report gives the same text with the same matplotlib.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    head = (
        Html('<meta charset="utf-8">'),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'),
        Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        Html('<meta name="color-scheme" content="light dark">'),
        element("title", f"{report.title}: run report"),
        element("style", Html(resources.files(__package__).joinpath("report.css").read_text("utf-8"))),
    )
    body = (
        element("header", element("p", "edgerl run report", class_="kind"), element("h1", report.title)),
        element(
            "main",
            sections.verdict(judge(report)),
            sections.facts(report),
            sections.timing(report),
            figures.timing(report),
            figures.commands(report),
            figures.returns(report),
            sections.counters(report),
            sections.parity(report.parity),
            sections.events(report),
        ),
    )
    page = join((element("head", *head), element("body", *body)))
    return f'<!DOCTYPE html>\n<html lang="en">{page}</html>\n'


def write_report(path: Path | str, report: RunReport) -> None:
    """Write the page about one run to ``path``, whole or not at all.

    Raises:
        MissingExtra: matplotlib is not installed.
        OutputError: The file could not be written.
    """
    write_file(path, render_report(report).encode())
