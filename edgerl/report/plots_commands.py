"""Drawings of what was sent: each command channel over the run, with its limits and what the envelope changed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgerl.envelope import ChannelLimits
from edgerl.report.axes import shade_modes, tick_axis
from edgerl.report.bins import Floats, min_max
from edgerl.report.markup import Html
from edgerl.report.measure import column
from edgerl.report.run_report import SentChannel
from edgerl.report.svg import BLUE, GREEN, MUTED, ORANGE, SKY, VERMILLION, Size, drawing
from edgerl.runtime.enums import Mode
from edgerl.runtime.plant_lines import EpisodeResult
from edgerl.runtime.recording import Records

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CELL = Size(400, 165)
_BINS = 60
"""Of a whole run: few enough that a gait fills a bin and a change of it is seen."""
_CYCLE_S = 0.5
"""A bin that is shorter may hold less than one cycle of a gait; then it is the gait itself that is drawn."""
_FINE_BINS = 300
_MARK_BINS = 150
DETAIL_TICKS = 120
"""So many ticks or fewer are drawn one by one."""
_VIEW = 4.0
"""Limits further out than this many times the spread of the commands are not drawn: these would be a flat line."""


def channel(ticks: Records, index: int, sent: SentChannel, name: str) -> Html:
    """Return one command channel over ``ticks``, of which there is at least one.

    Args:
        ticks: Recorded ticks, oldest first.
        index: Of the channel.
        sent: The channel.
        name: Of the drawing, unique in the page.
    """
    x = column(ticks, "tick")
    command = np.where(ticks["write_ns"] > 0, ticks["command"][:, index], np.nan)
    limits, bins = sent.limits, _bins(ticks)
    action = np.full(ticks.size, np.nan)
    if sent.said is not None:
        action = np.where(ticks["action_ns"] > 0, ticks["action"][:, sent.said], np.nan)

    def draw(axes: Axes) -> None:
        low, high = _view(command, limits)
        shade_modes(axes, x, ticks["mode"], _MARK_BINS)
        _series(axes, x, action, bins, behind=True)
        _series(axes, x, command, bins, behind=False)
        for limit in (limits.low, limits.high):
            if low <= limit <= high:
                axes.axhline(limit, color=MUTED, linestyle="--", linewidth=1)
        _rug(axes, x, _bits(ticks["saturated"], index), ORANGE, 0.97)
        _rug(axes, x, _bits(ticks["rejected"], index), VERMILLION, 0.03)
        axes.set_ylim(low, high)
        tick_axis(axes, labels=6)

    return drawing(name, f"Command channel {index} over {ticks.size} ticks", CELL, draw)


def detail(ticks: Records) -> Records | None:
    """Return the first ticks in which the policy drove, as many as can be told apart; None where that is the run."""
    active = np.flatnonzero(ticks["mode"] == Mode.ACTIVE)
    if ticks.size <= DETAIL_TICKS or not active.size:
        return None
    first = int(active[0])
    return ticks[first : first + DETAIL_TICKS]


def legend(ticks: Records) -> str:
    """Return what the bands of :func:`channel` over these ticks are."""
    if _bins(ticks) == _BINS:
        return "faint: smallest to largest of a bin, full: its middle half"
    return "smallest to largest of each bin"


def returns(episodes: tuple[EpisodeResult, ...], mean: float | None, std: float) -> Html:
    """Return the return of each episode beside the trainer's own, mean ± standard deviation where it is known."""

    def draw(axes: Axes) -> None:
        from matplotlib.ticker import MaxNLocator  # noqa: PLC0415

        if mean is not None:
            axes.axhspan(mean - std, mean + std, color=GREEN, alpha=0.2, linewidth=0)
            axes.axhline(mean, color=GREEN, linewidth=1.2)
        whole = [(e.index, e.episode_return) for e in episodes if e.episode_return is not None and e.left is None]
        axes.plot(*zip(*whole, strict=True), "o", color=BLUE, markersize=6)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
        axes.margins(x=0.1, y=0.25)
        axes.set(xlabel="episode", ylabel="return")

    return drawing("returns", f"Return of {len(episodes)} episodes beside the trainer's own", CELL, draw)


def _bits(words: NDArray[np.uint64], index: int) -> NDArray[np.bool_]:
    return np.asarray(words[:, index // 64] >> np.uint64(index % 64) & np.uint64(1) != 0)


def _view(command: NDArray[np.floating], limits: ChannelLimits) -> tuple[float, float]:
    """Return the values to show: all that was sent, and the limits where they are near."""
    sent = command[np.isfinite(command)]
    low, high = (float(np.min(sent)), float(np.max(sent))) if sent.size else (0.0, 0.0)
    spread = max(high - low, 1e-6 * max(abs(low), abs(high)), 1e-9)
    near = [limit for limit in (limits.low, limits.high) if math.isfinite(limit)]
    near = [limit for limit in near if not sent.size or low - _VIEW * spread <= limit <= high + _VIEW * spread]
    low, high = (min([low, *near]), max([high, *near])) if sent.size or not near else (min(near), max(near))
    margin = 0.12 * (high - low) or 0.5 * max(abs(high), 1e-9)
    return low - margin, high + margin


def _bins(ticks: Records) -> int:
    """Return in how many bins a series is drawn."""
    if ticks.size <= DETAIL_TICKS:
        return int(ticks.size)
    seconds = (int(ticks["tick_ns"][-1]) - int(ticks["tick_ns"][0])) * 1e-9
    return _BINS if seconds >= _BINS * _CYCLE_S else _FINE_BINS


def _series(axes: Axes, x: NDArray[np.int64], y: NDArray[np.floating], count: int, *, behind: bool) -> None:
    colour, alpha, width = (SKY, 0.45, 2.4) if behind else (BLUE, 1.0, 1.0)
    bins = min_max(x, y, count)
    if bins.size == 1:
        axes.step(bins.x, _ended(bins.low), where="post", color=colour, alpha=alpha, linewidth=width)
        return
    if behind:  # two bands over each other would hide each other; the marks at the edges say where they differ
        return
    bands = [(bins.low, bins.high, 0.35, 0.0), (bins.lower_quarter, bins.upper_quarter, 1.0, 0.6)]
    if count == _FINE_BINS:
        bands = [(bins.low, bins.high, 1.0, 0.6)]
    for low, high, faint, edge in bands:  # with an edge, or a command that stays the same would not be seen
        axes.fill_between(bins.x, _ended(low), _ended(high), step="post", color=colour, alpha=faint, linewidth=edge)


def _ended(values: Floats) -> Floats:
    """Repeat the last value at the end of its bin."""
    return np.append(values, values[-1])


def _rug(axes: Axes, x: NDArray[np.int64], where: NDArray[np.bool_], colour: str, at: float) -> None:
    starts = np.arange(0, x.size, -(-x.size // _MARK_BINS))
    hit = x[starts][np.logical_or.reduceat(where, starts)]
    axes.plot(hit, np.full(hit.size, at), "|", color=colour, markersize=6, transform=axes.get_xaxis_transform())
