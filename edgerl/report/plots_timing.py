"""Drawings of when things happened: lateness over the run, distributions, and the share of slow ticks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from edgerl.report.axes import log_axis, shade_modes, tick_axis
from edgerl.report.bins import log_edges, min_max
from edgerl.report.markup import Html, join
from edgerl.report.measure import Timing, column, has_event, lateness, real_time
from edgerl.report.svg import BLUE, GREEN, INK, MUTED, ORANGE, VERMILLION, Size, drawing
from edgerl.report.words import microseconds, quantile
from edgerl.runtime.enums import Event
from edgerl.runtime.recording import Records

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FLOOR_US = 0.1
"""Shorter times are drawn here: no clock of ours tells them apart."""
WIDE, NARROW, HALF = Size(950, 240), Size(370, 240), Size(400, 215)
_BINS = 60
_CURVE_POINTS = 200
CURVE_COLOURS = (BLUE, ORANGE, GREEN)


def timeline(ticks: Records, period_ns: int, budget_ns: int) -> Html:
    """Return the lateness of the real-time ticks over the run, twice: for wide and for narrow screens.

    Args:
        ticks: At least one of them in real time.
        period_ns: Drawn as a line where the scale reaches it.
        budget_ns: The same.
    """
    real = ticks[real_time(ticks)]
    label = f"Lateness of {real.size} real-time ticks over the run, late actions and skipped periods marked"

    def draw(axes: Axes, bins: int) -> None:
        x, late = column(real, "tick"), np.maximum(lateness(real) / 1000, FLOOR_US)
        series = min_max(x, late, bins)
        low, high = np.append(series.low, series.low[-1]), np.append(series.high, series.high[-1])
        axes.fill_between(series.x, low, high, step="post", color=BLUE, linewidth=0.8, zorder=3)
        top = max(float(late.max()) * 3, 10 * FLOOR_US)
        log_axis(axes, "y", min(float(late.min()) / 1.5, top / 100), top)
        tick_axis(axes, labels=bins // 60 + 2)
        shade_modes(axes, x, real["mode"], bins)
        _mark(axes, series.x, x[has_event(real, Event.ACTION_LATE)], _Glyph("x", ORANGE, 0.95))
        _mark(axes, series.x, x[real["missed_periods"] > 0], _Glyph("v", VERMILLION, 0.87))
        _level(axes, budget_ns, "budget", top, "top")
        _level(axes, period_ns, "period", top, "bottom")
        axes.set_ylabel("lateness in µs")

    wide = drawing("timeline", label, WIDE, lambda axes: draw(axes, 480), class_="wide")
    return join((wide, drawing("timeline-narrow", label, NARROW, lambda axes: draw(axes, 180), class_="narrow")))


def histogram(name: str, timing: Timing, limits: tuple[tuple[str, int], ...]) -> Html:
    """Return the distribution of one measured time.

    Args:
        name: Unique in the page.
        timing: At least one sample.
        limits: (name, [ns]) drawn as lines where the scale reaches them.
    """
    summary = timing.summary
    values = np.maximum(timing.values_ns / 1000, FLOOR_US)
    edges = log_edges(values, _BINS)
    counts, _ = np.histogram(values, edges)

    def draw(axes: Axes) -> None:
        tall = int(np.max(counts))
        axes.fill_between(edges, 0.5 if tall > 50 else 0, np.append(counts, 0), step="post", color=BLUE, linewidth=0)
        if tall > 50:
            log_axis(axes, "y", 0.5, tall * 2)
        within = [(text, value / 1000) for text, value in limits if value / 1000 < edges[-1] * 5]
        log_axis(axes, "x", edges[0] / 1.1, max([edges[-1] * 1.1, *(value * 1.3 for _, value in within)]))
        for text, value in within:
            _limit(axes, value, text)
        carried = [q for q in summary.quantiles if q.value is not None]
        for q, side in zip({q.q: q for q in (*carried[:1], *carried[-1:])}.values(), ("left", "right"), strict=False):
            _upright(axes, max((q.value or 0) / 1000, FLOOR_US), quantile(q.q), side)
        axes.set(xlabel=f"{timing.name} in µs", ylabel="ticks")

    label = f"Distribution of {timing.name} over {summary.n} ticks, largest {microseconds(summary.maximum)} µs"
    return drawing(name, label, HALF, draw)


def tail_curves(timings: tuple[Timing, ...]) -> Html:
    """Return, for each of up to three times, the share of ticks that took longer; each has at least one sample."""
    smallest = min(1 / timing.summary.n for timing in timings)
    everything = np.concatenate([timing.values_ns for timing in timings]) / 1000

    def draw(axes: Axes) -> None:
        log_axis(axes, "y", smallest / 2, 1.5)
        log_axis(axes, "x", max(float(np.min(everything)), FLOOR_US) / 1.2, max(float(np.max(everything)), 1.0) * 1.5)
        for timing, colour in zip(timings, CURVE_COLOURS, strict=False):
            x, share = _survival(timing.values_ns)
            axes.step(x, share, where="post", color=colour, linewidth=1.6)
        axes.set(xlabel="time in µs", ylabel="share of ticks that took longer")

    names = ", ".join(timing.name for timing in timings)
    return drawing("tails", f"Share of ticks that took longer than a time: {names}", HALF, draw)


def _survival(values_ns: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return times in [µs] and the share of samples at or above each, thinned to what can be seen."""
    ordered = np.sort(values_ns)
    n = ordered.size
    above = np.unique(np.geomspace(1, n, _CURVE_POINTS).round().astype(np.int64))[::-1]
    return np.maximum(ordered[n - above] / 1000, FLOOR_US), above / n


@dataclass(frozen=True)
class _Glyph:
    marker: str
    colour: str
    at: float
    """Height in the axes, 0 to 1."""


def _mark(axes: Axes, edges: NDArray[np.float64], ticks: NDArray[np.int64], glyph: _Glyph) -> None:
    """Mark the bins that hold one of ``ticks``."""
    bins = np.unique(np.searchsorted(edges, ticks, side="right") - 1)
    x, y = (edges[bins] + edges[bins + 1]) / 2, np.full(bins.size, glyph.at)
    above = axes.get_xaxis_transform()
    axes.plot(x, y, glyph.marker, color=glyph.colour, markersize=5, transform=above, zorder=5)


def _level(axes: Axes, value_ns: int, name: str, top: float, side: Literal["top", "bottom"]) -> None:
    if value_ns / 1000 < top:
        axes.axhline(value_ns / 1000, color=MUTED, linestyle=":", linewidth=1.2)
        beside = axes.get_yaxis_transform()
        axes.text(0.005, value_ns / 1000, name, transform=beside, ha="left", va=side, color=MUTED)


def _upright(axes: Axes, value: float, name: str, side: str) -> None:
    """Draw a line at a value, named above the axes to its ``left`` or ``right``."""
    axes.axvline(value, color=INK, linewidth=1)
    said = f"{name}\N{NO-BREAK SPACE}" if side == "left" else f"\N{NO-BREAK SPACE}{name}"
    anchor: Literal["left", "right"] = "right" if side == "left" else "left"
    axes.text(value, 1.0, said, transform=axes.get_xaxis_transform(), ha=anchor, va="bottom", color=INK)


def _limit(axes: Axes, value: float, name: str) -> None:
    """Draw a limit, named along its line."""
    axes.axvline(value, color=VERMILLION, linestyle=":", linewidth=1.4)
    along = axes.get_xaxis_transform()
    axes.text(value, 0.97, name, transform=along, rotation=90, ha="right", va="top", color=VERMILLION)
