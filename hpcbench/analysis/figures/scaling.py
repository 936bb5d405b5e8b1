"""Throughput, speedup or efficiency against devices, a panel a model."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from hpcbench.analysis.figures import style
from hpcbench.analysis.figures.panels import (
    Key,
    Look,
    RunsOf,
    caption,
    device_axis,
    draw_points,
    handles,
    ideal_handle,
    label_axes,
    legend,
    log_axis,
    looks,
    make_grid,
    note,
    panels,
    series_of,
    thousands,
)

# Beyond this factor a linear axis would press small counts into a corner.
WIDE_RANGE = 16


def scaling_figure(
    table: pd.DataFrame, runs: RunsOf, value: str, label: str, scale: float = 1.0
) -> Figure:
    """``value`` (a column of the scaling table and of ``runs``) times ``scale`` against devices."""
    looks_of = looks(table)
    parts = list(panels(table))
    figure, grid = make_grid(len(parts))
    for axes, (title, rows) in zip(grid, parts, strict=True):
        scaling_panel(axes, rows, runs, value, looks_of, scale)
        axes.set_title(title)
    label_axes(grid, "devices", label)
    legend(figure, [*handles(looks_of), ideal_handle()])
    note(figure, caption(table))
    return figure


def scaling_panel(
    axes: Axes,
    rows: pd.DataFrame,
    runs: RunsOf,
    value: str,
    looks_of: dict[Key, Look],
    scale: float,
) -> None:
    """One measure against devices, with intervals, single runs and the ideal."""
    for key, series in series_of(rows):
        draw_points(axes, series, runs, value, looks_of[key], scale, "-")
    _ideal(axes, rows, value, looks_of)
    devices = sorted(rows["devices"].unique())
    device_axis(axes, devices)
    if value != "efficiency" and devices[-1] > WIDE_RANGE * devices[0]:
        log_axis(axes)
        return
    # A little more than matplotlib leaves, or the marks at the top are cut.
    axes.set_ylim(0, 1.03 * axes.get_ylim()[1])
    axes.yaxis.set_major_formatter(FuncFormatter(thousands))
    axes.yaxis.set_major_locator(MaxNLocator(5))


def _ideal(axes: Axes, rows: pd.DataFrame, value: str, looks_of: dict[Key, Look]) -> None:
    devices = sorted(rows["devices"].unique())
    if value == "efficiency":
        axes.axhline(100, color=style.GREY, linestyle="--", linewidth=0.8, zorder=1)
    elif value == "speedup":
        base = rows["base_devices"].min()
        axes.plot(devices, [n / base for n in devices], "--", color=style.GREY, lw=0.8, zorder=1)
    else:
        for key, series in series_of(rows):
            first = series.sort_values("devices").iloc[0]
            axes.plot(
                devices,
                [first[value] * n / first["devices"] for n in devices],
                "--",
                color=looks_of[key].colour,
                linewidth=0.7,
                alpha=0.6,
                zorder=1,
            )
