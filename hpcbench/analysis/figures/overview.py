"""The figure to show first."""

import pandas as pd
from matplotlib.figure import Figure

from hpcbench.analysis.figures import style
from hpcbench.analysis.figures.panels import (
    RunsOf,
    caption,
    handles,
    ideal_handle,
    legend,
    looks,
    note,
    panels,
)
from hpcbench.analysis.figures.scaling import scaling_panel
from hpcbench.analysis.units import counted

# More panels than this would not fit on a page with text.
MOST_IN_OVERVIEW = 4


def overview_figure(table: pd.DataFrame, runs: RunsOf) -> Figure:
    """Throughput beside parallel efficiency, a line a model: the figure to show first."""
    looks_of = looks(table)
    every = list(panels(table))
    parts = every[:MOST_IN_OVERVIEW]
    height = style.PANEL_HEIGHT * len(parts) + style.MARGIN + 0.3
    figure = Figure(figsize=(style.WIDTH, height))
    grid = figure.subplots(len(parts), 2, squeeze=False)
    for line, (title, rows) in zip(grid, parts, strict=True):
        scaling_panel(line[0], rows, runs, "samples_per_second", looks_of, 1.0)
        scaling_panel(line[1], rows, runs, "efficiency", looks_of, 100.0)
        line[0].set_ylabel(title)
    for axes in grid[-1]:
        axes.set_xlabel("devices")
    grid[0][0].set_title(f"throughput, {counted(table)}/s")
    grid[0][1].set_title("parallel efficiency, %")
    legend(figure, [*handles(looks_of), ideal_handle()])
    left = f"\n{len(parts)} of {len(every)} panels" if len(every) > len(parts) else ""
    note(figure, caption(table) + left)
    return figure
