"""One self-contained HTML file about a run of the control loop (``docs/report.md``)."""

from edgerl.report.page import render_report, write_report
from edgerl.report.run_report import RunReport

__all__ = ["RunReport", "render_report", "write_report"]
