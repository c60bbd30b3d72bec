"""What all tests share: skips are counted by reason, and those named in ``--must-run FILE`` may not skip."""

from __future__ import annotations

from collections import Counter
from fnmatch import fnmatch

import pytest
from hypothesis import settings

# How long an example takes says something about the machine and its neighbours, not about the code.
settings.register_profile("edgerl", deadline=None)
settings.load_profile("edgerl")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--must-run", metavar="FILE", help="patterns of test ids, one a line, that fail when skipped")


MUST_RUN = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Read the list once: a test may stand in another folder."""
    name = config.getoption("--must-run")
    lines = (config.rootpath / name).read_text().splitlines() if name else []
    config.stash[MUST_RUN] = [line for line in lines if line and not line.startswith("#")]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    report = yield
    if not hasattr(report, "wasxfail"):
        _refuse_skip(report, item.config.stash[MUST_RUN], item.nodeid)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector):
    """A module that skips as a whole has no tests to report."""
    report = yield
    _refuse_skip(report, collector.config.stash[MUST_RUN], f"{collector.nodeid}::")
    return report


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport, patterns: list[str], name: str) -> None:
    if report.skipped and any(fnmatch(name, one) for one in patterns):
        reason = _reason(report)
        report.outcome = "failed"
        report.longrepr = f"{name} may not skip here, but did: {reason}"


def pytest_terminal_summary(terminalreporter) -> None:
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = Counter(_reason(report) for report in skipped)
    terminalreporter.section(f"skipped: {len(skipped)}")
    for reason, count in reasons.most_common():
        terminalreporter.line(f"{count:4d}  {reason}")


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    return str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
