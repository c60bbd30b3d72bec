"""matplotlib figures as SVG that can stand inside a page: small, themed by the page's colours, the same every time.

Colours are drawn as fixed values and replaced by CSS variables, so that one drawing is legible on light and dark. No
string of a user ever comes here: names stand in the page beside the drawing. matplotlib is imported when a figure is
made, not before.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgerl.errors import MissingExtra
from edgerl.report.markup import Html, element

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    Draw = Callable[[Axes], None]

INK, MUTED, GRID = "#1c2127", "#5a6570", "#d3d9df"
BLUE, SKY, ORANGE, VERMILLION, GREEN, PURPLE = "#0072b2", "#56b4e9", "#e69f00", "#d55e00", "#009e73", "#cc79a7"
"""Okabe and Ito's palette, told apart with every common colour blindness."""
_VARIABLES = {
    INK: "ink", MUTED: "muted", GRID: "grid", BLUE: "blue", SKY: "sky",
    ORANGE: "orange", VERMILLION: "vermillion", GREEN: "green", PURPLE: "purple",
}  # fmt: skip
_STYLE = {
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that the layout is the same everywhere
    "font.size": 11,
    "text.parse_math": False,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "path.simplify": True,
}
_POINTS = 72


@dataclass(frozen=True)
class Size:
    """Size of a drawing in its own units, 11 of which are the height of its letters."""

    width: int
    height: int


def drawing(name: str, label: str, size: Size, draw: Draw, *, class_: str = "") -> Html:
    """Return one drawing as an inline ``<svg>``.

    Args:
        name: Unique in the page; salts the identifiers, so that two drawings never share one.
        label: What is seen, for those who cannot see it.
        size: Its proportions; the page scales it.
        draw: Fills the axes.
        class_: CSS classes.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl  # noqa: PLC0415
        from matplotlib.backends.backend_svg import FigureCanvasSVG  # noqa: PLC0415
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtra("A report with plots", "report") from error
    buffer = io.StringIO()
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of matplotlib about its own layout: nobody could act on it
        figure = Figure(figsize=(size.width / _POINTS, size.height / _POINTS), dpi=_POINTS, layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure.add_subplot())
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _inline(buffer.getvalue(), name, label, class_)


def _inline(svg: str, name: str, label: str, class_: str) -> Html:
    view = svg[svg.index("viewBox=") :].split('"', 2)[1]
    body = svg[svg.index(">", svg.index("<svg")) + 1 : svg.rindex("</svg>")]
    body = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", body, flags=re.S)
    body = body.replace("xlink:href", "href")
    body = re.sub(r' d="([^"]*)"', lambda match: f' d="{_rounded(match[1])}"', body)
    body = re.sub(r"#[0-9a-f]{6}\b", lambda match: _variable(match[0]), body)
    used = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", body))
    body = re.sub(r' id="([^"]*)"', lambda match: match[0] if match[1] in used else "", body)
    body = re.sub(r"(url\(#|href=\"#| id=\")([^)\"]+)", lambda match: f"{match[1]}{name}-{match[2]}", body)
    body = re.sub(r"\s*\n\s*", "\n", body).strip()
    title = element("title", label)
    return Html(
        f'<svg class="{class_}" role="img" viewBox="{view}" preserveAspectRatio="xMidYMid meet">{title}{body}</svg>'
    )


def _rounded(path: str) -> str:
    """A tenth of a unit is less than a pixel on any screen that the page is made for."""
    numbers = re.sub(r"-?\d+\.\d+", lambda match: f"{float(match[0]):.1f}".removesuffix(".0"), path)
    return " ".join(numbers.split())


def _variable(colour: str) -> str:
    return f"var(--{_VARIABLES[colour]})" if colour in _VARIABLES else colour
