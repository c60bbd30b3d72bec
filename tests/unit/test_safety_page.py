"""The mode table in docs/safety.md is the one that the guardian runs by."""

from __future__ import annotations

import re
from pathlib import Path

from edgerl.runtime.core import modes_table

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "safety.md").read_text()


def _cells() -> dict[tuple[str, str], tuple[str, str]]:
    """(source, next mode) by mode and event, as the page says it."""
    table = PAGE[PAGE.index("| event |") :].split("\n\n")[0]
    (_, *modes), _, *rows = (line.strip("| ").split(" | ") for line in table.splitlines())
    cells = {}
    for event, *texts in rows:
        for mode, text in zip(modes, texts, strict=True):
            source, _, following = text.partition(" → ")
            cells[mode, event] = source, following or mode
    return cells


def test_the_page_holds_every_cell_of_the_table():
    table = {(row.mode, row.event): (row.source, row.next_mode) for row in modes_table()}
    assert _cells() == table


def test_every_test_that_the_page_names_exists():
    names = set(re.findall(r"`(test_\w+\.py)`", PAGE))
    assert len(names) >= 6
    assert all(list((ROOT / "tests").rglob(name)) for name in names)
