"""Test accuracy (or error) as training goes on."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from hpcbench.analysis.accuracy import CURVE
from hpcbench.analysis.figures import style
from hpcbench.analysis.figures.panels import (
    label_axes,
    legend,
    looks,
    make_grid,
    note,
    panels,
    series_of,
)
from hpcbench.records.schema import ACCURACY
from hpcbench.words import count

# Of more dots than this an SVG is larger and slower than a picture of them.
MANY = 2000


def accuracy_figure(curves: pd.DataFrame, epochs: pd.DataFrame, against: str, label: str) -> Figure:
    """Test metric against ``epoch`` or ``elapsed_seconds``, a line a device count and a dot a
    run; ``curves`` are ``accuracy_curves`` of ``epochs``."""
    looks_of = looks(curves)
    parts = list(panels(curves))
    figure, grid = make_grid(len(parts))
    counts = sorted(curves["devices"].unique())
    of_curves = dict(list(epochs.groupby(CURVE)))
    alone = (curves.groupby(CURVE).size() == 1).any()
    # Series often lie on each other (that is their point): hollow marks of several sizes show it.
    labels = sorted({look.label for look in looks_of.values()})
    growth = min(1.6, 5 / len(labels))
    sizes = {label: 2.8 + growth * place for place, label in enumerate(reversed(labels))}
    for axes, (title, rows) in zip(grid, parts, strict=True):
        metric = str(rows["metric"].iloc[0])
        scale = 100 if metric == ACCURACY else 1
        for key, series in series_of(rows):
            for (devices, _), curve in series.groupby(["devices", "training"]):
                look = looks_of[key]
                curve = curve.sort_values("epoch")  # noqa: PLW2901
                dashes = style.DASHES[counts.index(devices) % len(style.DASHES)]
                axes.plot(
                    curve[against],
                    scale * curve["test_metric"],
                    color=look.colour,
                    marker=look.marker,
                    markersize=sizes[look.label],
                    markeredgewidth=0.7,
                    fillstyle="none",
                    linestyle=dashes,
                    linewidth=0.9,
                )
                if len(curve) == 1:
                    # There are no dashes to tell counts apart by.
                    axes.annotate(
                        str(devices),
                        (curve[against].iloc[0], scale * curve["test_metric"].iloc[0]),
                        xytext=(-5, 0),
                        textcoords="offset points",
                        ha="right",
                        va="center",
                        fontsize=style.SMALL,
                        color=style.GREY,
                    )
                own = of_curves[tuple(curve[CURVE].iloc[0])]
                axes.plot(
                    own[against],
                    scale * own["test_metric"],
                    ".",
                    color=look.colour,
                    rasterized=len(epochs) > MANY,
                    **style.DOTS,
                )
                axes.fill_between(
                    curve[against],
                    scale * curve["lowest"],
                    scale * curve["highest"],
                    color=look.colour,
                    alpha=0.15,
                    linewidth=0,
                )
        axes.set_title(title)
        axes.set_xlim(0, max(rows[against].max(), axes.dataLim.x1) * 1.08)
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=against == "epoch"))
        axes.set_ylabel("accuracy, %" if metric == ACCURACY else metric.replace("_", " "))
    label_axes(grid, label, "")
    unique = {look.label: look for look in looks_of.values()}
    handles: list[Line2D | Patch] = [
        Line2D(
            [],
            [],
            color=look.colour,
            marker=look.marker,
            markersize=sizes[name],
            markeredgewidth=0.7,
            fillstyle="none",
            linestyle="none",
            label=name,
        )
        for name, look in sorted(unique.items())
    ]
    handles += [
        Line2D(
            [],
            [],
            color=style.GREY,
            linestyle=style.DASHES[i % len(style.DASHES)],
            label=count(devices, "device"),
            linewidth=0.9,
        )
        for i, devices in enumerate(counts)
    ]
    legend(figure, handles)
    note(
        figure,
        f"medians over runs (dots){'; numbers: devices' if alone else ''}; band: lowest to highest "
        "run\n(of six or more runs it covers the true median with 97 % confidence)",
    )
    return figure
