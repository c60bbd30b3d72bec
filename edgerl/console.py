"""What people see: tables and progress on stderr, and with ``--json`` exactly one document on stdout.

Knows how results look, not how they are made. Values are frozen dataclasses; what has no form of its own here is shown
field by field.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from edgerl import canonical
from edgerl.errors import EdgerlError, GateFailed

err = Console(stderr=True, highlight=False)

STATUS_STYLE = {"passed": "green", "failed": "bold red", "not_run": "yellow"}
LINE_EVERY_S = 5.0
LONGEST_LIST = 12
"""Elements of a list that are shown before the rest is counted."""


def show_json(value: object) -> None:
    """Print one JSON document on stdout."""
    print(json.dumps(canonical.to_plain(value), indent=2, sort_keys=True, ensure_ascii=False))  # noqa: T201


def show_error(error: EdgerlError, *, as_json: bool) -> None:
    """Print one error: what happened, what would be valid, what to do next."""
    if as_json:
        show_json({"error": {"type": type(error).__name__, "message": str(error), "exit_code": error.exit_code}})
        return
    word = "no" if isinstance(error, GateFailed) else "error"
    err.print(Text(f"{word}: ", "bold red") + Text(str(error), "default"), soft_wrap=True)


def show(value: object, title: str) -> None:
    """Print a frozen dataclass as a table of its fields, nested ones indented below it."""
    table = Table(title=title, title_justify="left", title_style="bold", show_header=False, box=None, padding=(0, 2))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in _rows(value, ""):
        table.add_row(name, text)
    err.print(table)


def show_table(title: str, header: list[str], rows: list[list[str]]) -> None:
    """Print a table; words with a status of their own are coloured."""
    table = Table(title=title, title_justify="left", title_style="bold", header_style="cyan", box=None, padding=(0, 2))
    for name in header:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(status(cell) for cell in row))
    err.print(table)


def status(word: str) -> Text:
    """Return a word in its colour, where it is one of a verification's."""
    return Text(word, STATUS_STYLE.get(word, ""))


def show_pairs(rows: list[list[str]]) -> None:
    """Print rows of a name and a text."""
    table = Table(show_header=False, box=None, padding=(0, 2))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in rows:
        table.add_row(name, status(text))
    err.print(table)


def note(text: str) -> None:
    """Print one line for people."""
    err.print(Text(text), soft_wrap=True)


@contextmanager
def display(*, quiet: bool) -> Iterator[Callable[[str], None]]:
    """Yield a function that shows on stderr what goes on now; where stderr is no terminal, a line now and then."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=err, disable=quiet or not err.is_terminal, transient=True) as bar:
        task = bar.add_task("", total=None)
        said_s = time.monotonic()

        def say(text: str) -> None:
            nonlocal said_s
            bar.update(task, description=text)
            if not quiet and not err.is_terminal and time.monotonic() - said_s >= LINE_EVERY_S:
                said_s = time.monotonic()
                note(text)

        yield say


def _rows(value: object, indent: str) -> Iterator[tuple[str, Text]]:
    for name, item in _fields(value):
        if _is_nested(item):
            yield indent + name, Text("")
            yield from _rows(item, indent + "  ")
        elif isinstance(item, tuple) and item and all(_is_nested(one) for one in item):
            for index, one in enumerate(item):
                yield f"{indent}{name}[{index}]", Text("")
                yield from _rows(one, indent + "  ")
        else:
            yield indent + name, _text(item)


def _fields(value: object) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        yield from ((str(key), item) for key, item in value.items())
    else:
        yield from ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))  # type: ignore[arg-type]


def _is_nested(item: object) -> bool:
    return (dataclasses.is_dataclass(item) and not isinstance(item, type)) or (isinstance(item, Mapping) and bool(item))


def _text(item: object) -> Text:
    if item is None:
        return Text("unknown", "yellow")
    if isinstance(item, str):
        return status(item)
    if isinstance(item, (tuple, list)):
        shown = ", ".join(_scalar(one) for one in item[:LONGEST_LIST])
        rest = len(item) - LONGEST_LIST
        return Text(shown + (f", … {rest} more" if rest > 0 else "") or "none")
    return Text(_scalar(item) if not isinstance(item, Mapping) else "none")


def _scalar(item: object) -> str:
    return f"{item:g}" if isinstance(item, float) else str(item)
