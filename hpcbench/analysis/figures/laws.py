"""Measured points and the scaling law fitted to them."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hpcbench.analysis.extrapolation import Extrapolation
from hpcbench.analysis.figures import style
from hpcbench.analysis.figures.panels import (
    Key,
    RunsOf,
    device_axis,
    draw_points,
    handles,
    label_axes,
    legend,
    log_axis,
    looks,
    make_grid,
    note,
    panels,
    series_of,
)
from hpcbench.analysis.load import SERIES
from hpcbench.analysis.units import counted

# Points of a curve; a step at a node's boundary looks like one.
_SMOOTH = 400


def laws_figure(
    table: pd.DataFrame, runs: RunsOf, extrapolations: Mapping[Key, Extrapolation]
) -> Figure:
    """Points, and the law of each series that has one, dashed beyond its largest count."""
    drawn = {key: one for key, one in extrapolations.items() if one.choice.best}
    fitted = pd.DataFrame([dict(zip(SERIES, key, strict=True)) for key in drawn])
    shown = table.merge(fitted, on=SERIES)
    looks_of = looks(shown)
    parts = list(panels(shown))
    figure, grid = make_grid(len(parts))
    for axes, (title, rows) in zip(grid, parts, strict=True):
        measured = sorted(rows["devices"].unique())
        last = float(measured[-1])
        for key, series in series_of(rows):
            look = looks_of[key]
            one = drawn[tuple(series[SERIES].iloc[0])]
            draw_points(axes, series, runs, "samples_per_second", look, 1.0, "none")
            counts = np.geomspace(series["devices"].min(), one.reach, _SMOOTH)
            rate, low, high = one.choice.rates(counts)
            inside = counts <= series["devices"].max()
            axes.plot(counts[inside], rate[inside], color=look.colour)
            axes.plot(counts[~inside], rate[~inside], "--", color=look.colour)
            axes.fill_between(counts, low, high, color=look.colour, alpha=0.15, linewidth=0)
            last = max(last, one.reach)
        extra = [n for n in (measured[-1] * 2**k for k in range(1, 30)) if n <= last]
        device_axis(axes, [*measured, *extra], last)
        log_axis(axes)
        axes.set_title(title)
    label_axes(grid, "devices", f"throughput, {counted(shown)}/s")
    legend(
        figure,
        [
            *handles(looks_of),
            Line2D([], [], color=style.GREY, label="fitted law"),
            Line2D([], [], color=style.GREY, linestyle="--", label="extrapolated"),
        ],
    )
    names = sorted({one.choice.best.law.name for one in drawn.values() if one.choice.best})
    note(
        figure,
        f"laws: {', '.join(names)}\n"
        "band: 95 % intervals of all laws that the runs do not contradict",
    )
    return figure
