"""What a step's milliseconds are spent on."""

from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from hpcbench.analysis.figures import style
from hpcbench.analysis.figures.panels import (
    WITHIN,
    RunsOf,
    error_lengths,
    legend,
    looks,
    note,
    panels,
)
from hpcbench.analysis.load import POINT, SERIES
from hpcbench.analysis.step_time import PARTS, timed_apart

MOST_BARS = 24
# Bars apart; runs are drawn between a bar and the next.
DOTS_BELOW = 0.45
# Characters of a bar's label in a line.
BAR_LABEL = 30
ROOM = 1.03
# Of a step; what is shorter everywhere is neither drawn nor in the legend.
LEAST_DRAWN = 0.01
# A colour and a hatch for each of PARTS, in the order in which they are drawn.
FILLS = {
    "base_compute": ("#0072B2", ""),
    "extra_compute": ("#D55E00", "////"),
    "extra_input": ("#F0E442", "\\\\\\\\"),
    "extra_background": ("#999999", "++++"),
    "contention": ("#009E73", "...."),
    "waiting": ("#CC79A7", "xxxx"),
    "exchange": ("#E69F00", "----"),
}


def step_parts(table: pd.DataFrame) -> pd.DataFrame:
    """Where the milliseconds of a step go, a row a point of ``timed_apart``: each of :data:`PARTS`
    with ``_ms``, as long as it is drawn.

    They add up to the step, but for medians being taken of each.
    """
    known = timed_apart(table)
    compute = 1e3 * (known["base_compute_seconds"] + known["extra_compute_seconds"])
    base = (1e3 * known["base_compute_seconds"]).clip(upper=compute)
    others = {
        f"{part}_ms": 1e3 * known[f"{part}_seconds"].fillna(0).clip(lower=0)
        for part in list(PARTS)[2:]
    }
    return known.assign(base_compute_ms=base, extra_compute_ms=compute - base, **others)


def step_figure(table: pd.DataFrame, runs: RunsOf) -> Figure:
    """A bar a point: what a step's time is spent on; the whole step's interval, a dot a run."""
    parts = step_parts(table)
    looks_of = looks(table)
    shortened = len(parts) > MOST_BARS
    if shortened:
        parts = parts.loc[parts.groupby(SERIES)["devices"].idxmax()]
    groups = list(panels(parts))
    bars = [len(rows) for _, rows in groups]
    labels = [fill(f"{look.label} × 0000", BAR_LABEL) for look in looks_of.values()]
    lines = 1 + max(label.count("\n") for label in labels)
    least = LEAST_DRAWN * 1e3 * parts["step_seconds"]
    drawn = [part for part in PARTS if (parts[f"{part}_ms"] > least).any()]
    titled = max(title.count("\n") + 1 for title, _ in groups)
    # In inches: bars, and of each panel its numbers and its title.
    height = 0.19 * lines * sum(bars) + (0.2 + 0.15 * titled) * len(bars) + style.MARGIN
    figure = Figure(figsize=(style.WIDTH, height))
    grid = figure.subplots(len(groups), 1, squeeze=False, height_ratios=[n + 1 for n in bars])
    for axes, (title, rows) in zip(grid[:, 0], groups, strict=True):
        ordered = rows.sort_values(["framework", "strategy", "devices"], ascending=False)
        places = np.arange(len(ordered))
        left = np.zeros(len(ordered))
        for part in drawn:
            colour, hatch = FILLS[part]
            axes.barh(
                places,
                ordered[f"{part}_ms"],
                left=left,
                height=0.7,
                color=colour,
                hatch=hatch,
                edgecolor="white",
                linewidth=0.4,
            )
            left += ordered[f"{part}_ms"].to_numpy()
        axes.errorbar(
            1e3 * ordered["step_seconds"],
            places,
            xerr=[1e3 * error for error in error_lengths(ordered, "step_seconds")],
            fmt="|",
            markersize=5,
            color="black",
            elinewidth=0.7,
            capsize=1.5,
        )
        for place, (*key, devices) in zip(places, ordered[POINT].to_numpy(), strict=True):
            of_series = runs[tuple(key)]
            own = of_series.loc[of_series["devices"] == devices, "step_seconds"]
            axes.plot(
                1e3 * own,
                np.full(len(own), place - DOTS_BELOW),
                ".",
                color="black",
                **style.DOTS,
            )
        ticks = [
            fill(f"{looks_of[tuple(row[n] for n in WITHIN)].label} × {row['devices']}", BAR_LABEL)
            for row in ordered.to_dict("records")
        ]
        axes.set_yticks(places, ticks)
        axes.set_ylim(-0.5 - 2 * (DOTS_BELOW - 0.35), len(ordered) - 0.4)
        # Else the longest bar ends at the edge, as if it were cut there.
        axes.set_xlim(0, ROOM * axes.get_xlim()[1])
        axes.set_title(title, loc="left")
        axes.grid(False, axis="y")
        axes.xaxis.set_major_locator(MaxNLocator(5))
    grid[-1, 0].set_xlabel("milliseconds per step")
    patches: list[Line2D | Patch] = [
        Patch(facecolor=FILLS[p][0], hatch=FILLS[p][1], edgecolor="white", label=PARTS[p])
        for p in drawn
    ]
    legend(figure, patches)
    marks = "parts: medians; black: the step's median, 95 % interval, runs (dots)"
    note(figure, marks + ("\neach strategy at its largest count alone" if shortened else ""))
    return figure
