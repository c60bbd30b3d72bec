"""What people see: tables and progress on stderr, and with ``--json`` exactly one document on stdout.

Knows rows, tables and progress, not what they are about. Names come from untrusted files, so every text is made
harmless for terminals here, in one place. A reader who goes away (``| head``) never ends a command.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from edgerl import canonical
from edgerl.errors import EdgerlError, GateFailed, OutputError


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Go on without a reader: a robot that is being driven must not depend on who watches."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


err = _Console(stderr=True, highlight=False)

STATUS_STYLE = {
    "passed": "green",
    "failed": "bold red",
    "undecided": "yellow",
    "not_run": "yellow",
    "pass": "green",
    "fail": "bold red",
    "warn": "yellow",
}
LINE_EVERY_S = 5.0


def json_text(value: object) -> str:
    """Return a value as the JSON document that people read."""
    return json.dumps(canonical.to_plain(value), indent=2, sort_keys=True, ensure_ascii=False)


def show_json(value: object) -> None:
    """Print one JSON document on stdout; where that cannot be written, say so and leave with exit code 1."""
    text = json_text(value)
    try:
        print(text, flush=True)  # noqa: T201
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is buffered must not fail once more
        if not isinstance(error, BrokenPipeError):
            show_error(
                OutputError(f"stdout: could not be written ({error.strerror}). Send it elsewhere."), as_json=False
            )
        sys.exit(OutputError.exit_code)


def show_error(error: EdgerlError, *, as_json: bool) -> None:
    """Print one error: what happened, what would be valid, what to do next."""
    if as_json:
        show_json_error(type(error).__name__, str(error), error.exit_code)
        return
    word = "no" if isinstance(error, GateFailed) else "error"
    err.print(Text(f"{word}: ", "bold red") + Text(visible(str(error)), "default"), soft_wrap=True)


def show_json_error(kind: str, message: str, exit_code: int) -> None:
    """Print the one JSON document of a command that did not do what it should."""
    show_json({"error": {"type": kind, "message": message, "exit_code": exit_code}})


def heading(title: str, text: str) -> None:
    """Print what follows is about."""
    err.print(Text(visible(title), "bold") + Text(f"  {visible(text)}" if text else ""), soft_wrap=True)


def show_table(title: str, header: list[str], rows: list[list[str]]) -> None:
    """Print a table; words with a status of their own are coloured."""
    table = Table(box=None, padding=(0, 2), collapse_padding=True, header_style="cyan")
    if title:
        table.title, table.title_justify, table.title_style = Text(visible(title)), "left", "bold"
    for name in header:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(status(cell) for cell in row))
    err.print(table)


def status(word: str) -> Text:
    """Return a word in its colour, where it is one of a verification's."""
    return Text(visible(word), STATUS_STYLE.get(word, ""))


def visible(text: str) -> str:
    """Return the text with an escape for every character that would steer a terminal or hide, new lines left out."""
    return "".join(one if one.isprintable() or one == "\n" else one.encode("unicode_escape").decode() for one in text)


def show_pairs(rows: list[list[str]]) -> None:
    """Print rows of a name and a text."""
    table = Table(show_header=False, box=None, padding=(0, 2), collapse_padding=True)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in rows:
        table.add_row(Text(visible(name)), status(text))
    err.print(table)


def note(text: str) -> None:
    """Print one line for people."""
    err.print(Text(visible(text)), soft_wrap=True)


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
