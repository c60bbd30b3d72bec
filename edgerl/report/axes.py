"""What all drawings have in common: axes in plain numbers, and the shading of modes."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from edgerl.report.svg import MUTED, ORANGE, PURPLE, VERMILLION
from edgerl.runtime.enums import Mode

if TYPE_CHECKING:
    from matplotlib.axes import Axes
MODE_COLOURS = {Mode.SAFE: MUTED, Mode.PREPARE: PURPLE, Mode.FALLBACK: ORANGE, Mode.STOPPED: VERMILLION}
"""ACTIVE is not shaded: it is what should be."""
_SEVERITY = (Mode.ACTIVE, Mode.PREPARE, Mode.SAFE, Mode.FALLBACK, Mode.STOPPED)
"""Where one bin holds several modes, the last of these is shown."""


def tick_axis(axes: Axes, *, labels: int = 8) -> None:
    """Make x the number of the tick."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator  # noqa: PLC0415

    axes.margins(x=0)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=labels, integer=True, min_n_ticks=1))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_xlabel("tick")


def log_axis(axes: Axes, which: Literal["x", "y"], low: float, high: float) -> None:
    """Make one axis logarithmic from ``low`` to ``high``, both > 0, with numbers that are written out."""
    from matplotlib.ticker import (  # noqa: PLC0415
        FuncFormatter,
        LogLocator,
        MaxNLocator,
        NullFormatter,
        NullLocator,
    )

    decades = np.log10(high / low)
    axis = axes.xaxis if which == "x" else axes.yaxis
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    (axes.set_xlim if which == "x" else axes.set_ylim)(low, high)
    if decades > 0.7:
        axis.set_major_locator(LogLocator(subs=(1.0,) if decades > 2 else (1.0, 2.0, 5.0)))
    else:  # within less than a decade a logarithmic axis would have no number, or too many
        axis.set_major_locator(MaxNLocator(nbins=5))
        axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_formatter(NullFormatter())


def shade_modes(axes: Axes, ticks: NDArray[np.int64], modes: NDArray[np.uint8], bins: int) -> None:
    """Shade where the mode was not ACTIVE.

    Args:
        axes: With the number of the tick on x.
        ticks: Number of each tick, shape (n,), n > 0.
        modes: Mode of each tick, shape (n,).
        bins: Finest resolution worth drawing.
    """
    rank = np.full(256, len(_SEVERITY) - 1)
    rank[list(map(int, _SEVERITY))] = range(len(_SEVERITY))
    starts = np.arange(0, ticks.size, -(-ticks.size // bins))
    worst = np.maximum.reduceat(rank[modes], starts)
    edges = np.append(ticks[starts], ticks[-1] + 1)
    changes = [0, *(np.flatnonzero(np.diff(worst)) + 1).tolist(), worst.size]
    for first, stop in pairwise(changes):
        mode = _SEVERITY[worst[first]]
        if mode in MODE_COLOURS:
            axes.axvspan(edges[first], edges[stop], color=MODE_COLOURS[mode], alpha=0.18, linewidth=0)
