"""Draws the figures, a panel a model; a line joins only points that are comparable."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

import style
from scaling import SERIES

# Points of different panels are never compared: weak beside strong, or one machine beside another.
PANEL = ["model", "dataset", "scaling", "device_kind"]
WITHIN = [name for name in SERIES if name not in PANEL]
# One of a strategy's settings; named in a legend only where it differs.
ALWAYS_NAMED = "strategy"


@dataclass(frozen=True)
class Look:
    """How one series is drawn, the same in every panel."""

    label: str
    colour: str
    marker: str


def looks(table: pd.DataFrame) -> dict[tuple[Any, ...], Look]:
    """A look for each series, labelled by strategy and by whatever else differs between them."""
    kinds = table[WITHIN].drop_duplicates().sort_values(WITHIN)
    varying = [
        name for name in WITHIN
        if name != ALWAYS_NAMED
        # The batch and the exchange follow from model and strategy unless they were varied.
        and table.groupby([*PANEL, ALWAYS_NAMED], observed=True)[name].nunique().max() > 1
    ]  # fmt: skip
    labels: dict[tuple[Any, ...], str] = {}
    for kind in kinds.to_dict("records"):
        extra = [f"{name} {kind[name]}" for name in varying]
        labels[tuple(kind[name] for name in WITHIN)] = ", ".join([kind[ALWAYS_NAMED], *extra])
    order = sorted(set(labels.values()))
    return {
        key: Look(
            label,
            style.COLOURS[order.index(label) % len(style.COLOURS)],
            style.MARKERS[order.index(label) % len(style.MARKERS)],
        )
        for key, label in labels.items()
    }


def panels(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Each panel's title and rows; the title names what differs between panels."""
    varying = [name for name in PANEL[1:] if table[name].nunique() > 1]
    for key, rows in table.groupby(PANEL, observed=True, sort=True):
        facts = dict(zip(PANEL, key, strict=True))
        yield "\n".join([str(facts["model"]), *(str(facts[name]) for name in varying)]), rows


def _series(rows: pd.DataFrame) -> Iterator[tuple[tuple[Any, ...], pd.DataFrame]]:
    yield from rows.groupby(WITHIN, observed=True, sort=True)


def _grid(count: int) -> tuple[Figure, list[Axes]]:
    columns = min(count, style.MOST_COLUMNS)
    lines = -(-count // columns)
    figure = Figure(figsize=(style.PANEL_WIDTH * max(columns, 2), style.PANEL_HEIGHT * lines + 0.5))
    axes = figure.subplots(lines, columns, squeeze=False).flatten()
    for empty in axes[count:]:
        empty.set_visible(False)
    return figure, list(axes[:count])


def _device_axis(axes: Axes, devices: list[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(devices))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlim(devices[0] / 1.25, devices[-1] * 1.25)


def _errors(series: pd.DataFrame, value: str) -> list[pd.Series]:
    return [
        (series[value] - series[f"{value}_low"]).clip(lower=0),
        (series[f"{value}_high"] - series[value]).clip(lower=0),
    ]


def _scaling_panel(
    axes: Axes, rows: pd.DataFrame, value: str, looks_of: dict[tuple[Any, ...], Look], scale: float
) -> None:
    """One measure against devices, with intervals and the ideal."""
    devices = sorted(rows["devices"].unique())
    for key, series in _series(rows):
        look = looks_of[key]
        series = series.sort_values("devices")  # noqa: PLW2901
        axes.errorbar(
            series["devices"], series[value] * scale,
            yerr=[error * scale for error in _errors(series, value)],
            color=look.colour, marker=look.marker, capsize=2.5, elinewidth=0.9,
        )  # fmt: skip
    _device_axis(axes, devices)


def _ideal(axes: Axes, rows: pd.DataFrame, value: str, looks_of: dict[Any, Look]) -> None:
    devices = sorted(rows["devices"].unique())
    if value == "efficiency":
        axes.axhline(100, color=style.GREY, linestyle="--", linewidth=0.9, zorder=1)
    elif value == "speedup":
        base = rows["base_devices"].min()
        axes.plot(devices, [n / base for n in devices], "--", color=style.GREY, lw=0.9, zorder=1)
    else:
        for key, series in _series(rows):
            first = series.sort_values("devices").iloc[0]
            axes.plot(
                devices, [first[value] * n / first["devices"] for n in devices], "--",
                color=looks_of[key].colour, linewidth=0.8, alpha=0.6, zorder=1,
            )  # fmt: skip


def _legend(figure: Figure, looks_of: dict[tuple[Any, ...], Look], ideal: bool) -> None:
    unique = {look.label: look for look in looks_of.values()}
    handles = [
        Line2D([], [], color=look.colour, marker=look.marker, label=label)
        for label, look in sorted(unique.items())
    ]
    if ideal:
        handles.append(Line2D([], [], color=style.GREY, linestyle="--", label="ideal", lw=0.9))
    figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 4))


def _caption(table: pd.DataFrame) -> str:
    """One line under a figure that says what its marks are."""
    runs = sorted(table["runs"].unique())
    count = f"{runs[0]}" if len(runs) == 1 else f"{runs[0]} to {runs[-1]}"
    few = "" if table["enough_runs"].all() else ", too few for a sound 95 % interval"
    where = ", ".join(
        f"{table[name].iloc[0]}" + (" scaling" if name == "scaling" else "")
        for name in PANEL[1:]
        if table[name].nunique() == 1
    )
    return f"{where}; medians of {count} runs, bars: bootstrap over runs{few}"


def scaling_figure(table: pd.DataFrame, value: str, label: str, scale: float = 1.0) -> Figure:
    """``value`` (a column of the scaling table, times ``scale``) against devices."""
    looks_of = looks(table)
    parts = list(panels(table))
    figure, grid = _grid(len(parts))
    for axes, (title, rows) in zip(grid, parts, strict=True):
        _scaling_panel(axes, rows, value, looks_of, scale)
        _ideal(axes, rows, value, looks_of)
        axes.set_title(title)
        axes.set_ylim(bottom=0)
        if value == "samples_per_second":
            axes.yaxis.set_major_formatter(FuncFormatter(thousands))
    _label(figure, "devices", label)
    _legend(figure, looks_of, ideal=True)
    _note(figure, _caption(table))
    return figure


def overview_figure(table: pd.DataFrame) -> Figure:
    """Throughput above parallel efficiency, a column a model: the figure to show first."""
    looks_of = looks(table)
    parts = list(panels(table))[: style.MOST_COLUMNS]
    figure = Figure(figsize=(style.PANEL_WIDTH * max(len(parts), 2), style.PANEL_HEIGHT * 2 + 0.5))
    grid = figure.subplots(2, len(parts), squeeze=False)
    for column, (title, rows) in enumerate(parts):
        for line, (value, scale) in enumerate((("samples_per_second", 1.0), ("efficiency", 100.0))):
            axes = grid[line][column]
            _scaling_panel(axes, rows, value, looks_of, scale)
            _ideal(axes, rows, value, looks_of)
            axes.set_ylim(bottom=0)
        grid[0][column].set_title(title)
        grid[0][column].yaxis.set_major_formatter(FuncFormatter(thousands))
        grid[1][column].set_xlabel("devices")
    grid[0][0].set_ylabel("throughput, samples/s")
    grid[1][0].set_ylabel("parallel efficiency, %")
    _legend(figure, looks_of, ideal=True)
    _note(figure, _caption(table))
    return figure


def accuracy_figure(curves: pd.DataFrame, against: str, label: str) -> Figure:
    """Test metric against ``epoch`` or ``elapsed_seconds``, a line a device count."""
    looks_of = looks(curves)
    parts = list(panels(curves))
    figure, grid = _grid(len(parts))
    counts = sorted(curves["devices"].unique())
    # Series often lie on each other (that is their point): hollow marks of several sizes show it.
    labels = sorted({look.label for look in looks_of.values()})
    sizes = {label: 3.5 + 2.5 * place for place, label in enumerate(reversed(labels))}
    for axes, (title, rows) in zip(grid, parts, strict=True):
        for key, series in _series(rows):
            for devices, curve in series.groupby("devices"):
                look = looks_of[key]
                curve = curve.sort_values("epoch")  # noqa: PLW2901
                dashes = style.DASHES[counts.index(devices) % len(style.DASHES)]
                axes.plot(
                    curve[against], 100 * curve["test_metric"], color=look.colour,
                    marker=look.marker,
                    markersize=sizes[look.label],
                    fillstyle="none", linestyle=dashes,
                )  # fmt: skip
                axes.fill_between(
                    curve[against], 100 * curve["lowest"], 100 * curve["highest"],
                    color=look.colour, alpha=0.15, linewidth=0,
                )  # fmt: skip
        axes.set_title(title)
        axes.set_xlim(left=0)
        if against == "epoch":
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    _label(figure, label, "test accuracy, %")
    unique = {look.label: look for look in looks_of.values()}
    handles = [
        Line2D(
            [],
            [],
            color=look.colour,
            marker=look.marker,
            markersize=sizes[look.label],
            fillstyle="none",
            linestyle="none",
            label=name,
        )
        for name, look in sorted(unique.items())
    ] + [
        Line2D([], [], color=style.GREY, linestyle=style.DASHES[i % len(style.DASHES)],
               label=f"{devices} device{'s' * (devices > 1)}")
        for i, devices in enumerate(counts)
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 4))
    _note(figure, "medians over runs, band: lowest to highest run")
    return figure


def thousands(value: float, _: Any = None) -> str:
    """A tick label: 250000 as 250k."""
    return f"{value / 1000:g}k" if abs(value) >= 1000 else f"{value:g}"


def _label(figure: Figure, horizontal: str, vertical: str) -> None:
    figure.supxlabel(horizontal, fontsize=8)
    figure.supylabel(vertical, fontsize=8)


def _note(figure: Figure, text: str) -> None:
    figure.text(0.995, -0.01, text, ha="right", va="top", fontsize=6.5, color=style.GREY)


def all_figures(table: pd.DataFrame, curves: pd.DataFrame) -> dict[str, Callable[[], Figure]]:
    """Every figure by file name."""
    return {
        "overview": lambda: overview_figure(table),
        "throughput": lambda: scaling_figure(table, "samples_per_second", "throughput, samples/s"),
        "speedup": lambda: scaling_figure(table, "speedup", "speedup over the base"),
        "efficiency": lambda: scaling_figure(table, "efficiency", "parallel efficiency, %", 100.0),
        "accuracy_epochs": lambda: accuracy_figure(curves, "epoch", "epochs"),
        "accuracy_seconds": lambda: accuracy_figure(curves, "elapsed_seconds", "training seconds"),
    }
