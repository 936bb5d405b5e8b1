"""Collective operations against the size of the buffer."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from hpcbench.analysis.collectives import LINE
from hpcbench.analysis.figures.panels import (
    Look,
    error_lengths,
    handles,
    label_axes,
    legend,
    log_axis,
    make_grid,
    note,
)
from hpcbench.collective import OPERATIONS
from hpcbench.collective.rows import SINGLE
from hpcbench.words import significant

# At most so many sizes are named on an axis.
NAMED = 4


def collectives_figure(
    points: pd.DataFrame, value: str, label: str, scale: float, small_print: str
) -> Figure:
    """``value`` of ``collective_points``' single buffers, a panel an operation."""
    single = points[points["form"] == SINGLE]
    looks = _looks(single)
    operations = [name for name in OPERATIONS if name in set(single["operation"])]
    figure, grid = make_grid(len(operations))
    for axes, operation in zip(grid, operations, strict=True):
        of_operation = single[single["operation"] == operation]
        for key, line in of_operation.groupby(LINE, sort=True):
            look, sizes = looks[key], line.sort_values("bytes")
            axes.errorbar(
                sizes["bytes"],
                sizes[value] * scale,
                yerr=[error * scale for error in error_lengths(sizes, value)],
                color=look.colour,
                marker=look.marker,
                markersize=2.8,
                capsize=1.5,
                elinewidth=0.7,
            )
        axes.set_xscale("log", base=2)
        log_axis(axes)
        _size_axis(axes, sorted(of_operation["bytes"].unique()))
        axes.set_title(operation.replace("_", "-"))
    label_axes(grid, "buffer, bytes", label)
    legend(figure, handles(looks))
    note(figure, f"{_where(single)}\n{small_print}")
    return figure


def _looks(single: pd.DataFrame) -> dict[tuple[object, ...], Look]:
    """A look a line, named by the library and by what else differs."""
    lines = single[LINE].drop_duplicates().sort_values(LINE)
    varying = [name for name in LINE if name != "library" and lines[name].nunique() > 1]
    named = {"ranks": "{} ranks", "nodes": "{} nodes"}
    found = {}
    for index, line in enumerate(lines.to_dict("records")):
        parts = [line["library"], *(named.get(n, "{}").format(line[n]) for n in varying)]
        found[tuple(line[name] for name in LINE)] = Look.at(index, ", ".join(map(str, parts)))
    return found


def _size_axis(axes: Axes, sizes: list[int]) -> None:
    every = -(-len(sizes) // NAMED)
    axes.xaxis.set_major_locator(FixedLocator(sizes[::every]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(_binary))


def _binary(size: float, _: object = None) -> str:
    """A tick's label: 4194304 as 4M."""
    for power, letter in ((3, "G"), (2, "M"), (1, "K")):
        if size >= 1024**power:
            return f"{significant(size / 1024**power)}{letter}"
    return f"{size:g}"


def _where(single: pd.DataFrame) -> str:
    words = []
    for name, form in (("ranks", "{} ranks"), ("nodes", "{} nodes"), ("device_kind", "{}")):
        values = single[name].unique()
        if len(values) == 1 and values[0]:
            words.append(form.format(values[0]).replace("1 nodes", "1 node"))
    return ", ".join(words)
