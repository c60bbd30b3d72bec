"""HTML as values: text is escaped when it enters an element, so that no section can forget it.

Nothing here knows what a report is.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

_HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
"""Control, zero-width, direction and surrogate characters: in a name they could only mislead."""


class Html(str):
    """Markup, which is not escaped again."""

    __slots__ = ()


def text(value: str) -> Html:
    """Return ``value`` escaped, with a code such as ``U+202E`` for each character that nobody could see."""
    if isinstance(value, Html):
        return value
    return Html(html.escape(_HIDDEN.sub(lambda match: f"U+{ord(match[0]):04X}", value)))


def element(name: str, *children: str, **attributes: str) -> Html:
    """Return an element; a trailing ``_`` of an attribute's name is dropped and ``_`` inside it becomes ``-``."""
    opening = "".join(f' {key.rstrip("_").replace("_", "-")}="{text(value)}"' for key, value in attributes.items())
    return Html(f"<{name}{opening}>{join(children)}</{name}>")


def join(parts: Iterable[str]) -> Html:
    """Return the parts one after the other, each escaped unless it is markup."""
    return Html("".join(map(text, parts)))


def table(caption: str, head: Iterable[str], rows: Iterable[Iterable[str]], *, class_: str = "") -> Html:
    """Return a table in a box that scrolls sideways on a narrow screen; the first cell of a row names the row."""
    titles = element("tr", *(element("th", title, scope="col") for title in head))
    body = [element("tr", *_cells(tuple(row))) for row in rows]
    whole = element("table", element("caption", caption), element("thead", titles), element("tbody", *body))
    return element("div", whole, class_=f"scroll {class_}".strip(), tabindex="0", role="region", aria_label=caption)


def _cells(row: tuple[str, ...]) -> Iterable[Html]:
    yield element("th", row[0], scope="row")
    for cell in row[1:]:
        yield element("td", cell)
