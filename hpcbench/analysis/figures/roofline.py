"""The roofline: what training computes below what its device can, by operations a byte.

Williams, Waterman and Patterson, Roofline: an insightful visual performance model for multicore
architectures, CACM 52(4), 2009.
"""

from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from hpcbench.analysis.figures import style
from hpcbench.analysis.figures.panels import (
    TITLE_LENGTH,
    Look,
    error_lengths,
    label_axes,
    legend,
    log_axis,
    make_grid,
    note,
    thousands,
)
from hpcbench.analysis.machine import INTENSITY, RATE, ROOFS

# What has roofs of its own.
ROOFED = ["device_kind", "precision"]
TERA, GIGA = 1e12, 1e9
# Beyond the outermost points and the corner of the roof, as a factor; and below the peak at least.
ROOM, DEPTH = 2.0, 20.0
# Lines often lie on each other: hollow marks show it.
MARK: dict[str, Any] = {"fillstyle": "none", "markeredgewidth": 0.8, "linestyle": "none"}


def roofline_figure(points: pd.DataFrame) -> Figure:
    """Of the rows that :func:`hpcbench.analysis.machine.under_roofs` gives, a panel a kind of
    device and precision, a mark a line."""
    looks = {model: Look.at(n, model) for n, model in enumerate(sorted(points["model"].unique()))}
    parts = list(points.groupby(ROOFED, sort=True))
    figure, grid = make_grid(len(parts))
    for axes, (_, rows) in zip(grid, parts, strict=True):
        peak, bandwidth = (float(rows[name].iloc[0]) for name in ROOFS)
        _roof(axes, rows[INTENSITY], peak * TERA, bandwidth * GIGA)
        for model, lines in rows.groupby("model", sort=True):
            look = looks[str(model)]
            axes.errorbar(
                lines[INTENSITY],
                lines[RATE] * TERA,
                yerr=[error * TERA for error in error_lengths(lines, RATE)],
                color=look.colour,
                marker=look.marker,
                elinewidth=0.7,
                capsize=1.5,
                **MARK,
            )
        axes.set_ylim(
            min(rows[RATE].min() / ROOM, peak / DEPTH) * TERA,
            max(rows[RATE].max(), peak) * ROOM * TERA,
        )
        log_axis(axes)
        roofs = f"{_in_units(peak * TERA, 'FLOP/s')}, {_in_units(bandwidth * GIGA, 'B/s')}"
        words = [*rows[ROOFED].iloc[0], roofs]
        length = TITLE_LENGTH if len(parts) > 1 else style.LABEL_LENGTH
        axes.set_title("\n".join(fill(str(word), length) for word in words))
    _grow(figure, grid)
    label_axes(grid, "FLOP/byte, at most", "FLOP/s a device")
    marks: list[Line2D | Patch] = [
        Line2D([], [], color=look.colour, marker=look.marker, label=look.label, **MARK)
        for look in looks.values()
    ]
    legend(figure, [*marks, Line2D([], [], color=style.GREY, label="measured roof")])
    note(
        figure,
        "each line at its smallest count, bar: 95 % interval over runs\n"
        "bytes: weights and optimizer state, read and written once a step; samples, activations "
        "and gradients come on top, so marks lie as far to the right as they can",
    )
    return figure


def _in_units(value: float, unit: str) -> str:
    """1.636e11 FLOP/s as 164 GFLOP/s."""
    short = thousands(float(f"{value:.3g}"))
    return f"{short[:-1]} {short[-1]}{unit}"


def _grow(figure: Figure, grid: list[Axes]) -> None:
    """Make room for titles of several lines."""
    lines = max(axes.get_title().count("\n") for axes in grid)
    rows = -(-len(grid) // style.COLUMNS)
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + rows * lines * style.FONT * 1.2 / 72)


def _roof(axes: Axes, intensities: "pd.Series[float]", peak: float, bandwidth: float) -> None:
    """Bandwidth times intensity, up to the peak; operations and bytes a second."""
    corner = peak / bandwidth
    left = min(intensities.min(), corner) / ROOM
    right = max(intensities.max(), corner) * ROOM
    ends = np.array([left, corner, right])
    axes.plot(ends, np.minimum(peak, bandwidth * ends), color=style.GREY)
    axes.set_xscale("log")
    axes.set_xlim(left, right)
    axes.xaxis.set_major_locator(LogLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(thousands))
    axes.xaxis.set_minor_locator(NullLocator())
