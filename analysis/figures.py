"""Draws the figures, a panel a model; a line joins only points that are comparable."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from textwrap import fill, wrap
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

import style
from hpcbench.records.schema import ACCURACY
from laws import Fit
from observations import MIXED, PANEL, SERIES, SHARED
from scaling import PLAUSIBLE

WITHIN = [name for name in SERIES if name not in PANEL]
# One of a strategy's settings; named in a legend only where it differs.
ALWAYS_NAMED = "strategy"
# More panels than this would not fit on a page with text.
MOST_IN_OVERVIEW = 4
TITLE_LENGTH = 24
SHIFT = 1.04
TICK_LENGTH = 18
# Beyond this factor a linear axis would press small counts into a corner.
WIDE_RANGE = 16
MOST_BARS = 24
# How many columns a legend has, up to which length of its labels.
LEGEND = ((4, 9), (3, 13), (2, 26), (1, 1000))
# Characters of a bar's label in a line.
BAR_LABEL = 30

Key = tuple[Any, ...]


@dataclass(frozen=True)
class Look:
    """How one series is drawn, the same in every panel."""

    label: str
    colour: str
    marker: str
    # Factor on the device axis, so that the bars of equal points stand beside each other.
    shift: float


@dataclass(frozen=True)
class Drawing:
    """A figure to be drawn, with what it shows in words for who cannot see it."""

    title: str
    description: str
    draw: Callable[[], Figure]


def looks(table: pd.DataFrame) -> dict[Key, Look]:
    """A look for each series, labelled by strategy and by whatever else differs between them."""
    kinds = table[WITHIN].drop_duplicates().sort_values(WITHIN)
    varying = [
        name for name in WITHIN
        if name != ALWAYS_NAMED
        # The batch and the exchange follow from model and strategy unless they were varied.
        and table.groupby(PANEL if name in SHARED else [*PANEL, ALWAYS_NAMED])[name].nunique().max()
        > 1
    ]  # fmt: skip
    labels: dict[Key, str] = {}
    for kind in kinds.to_dict("records"):
        extra = [
            f"{name} {kind[name]}" for name in WITHIN if name in varying or _joined(kind[name])
        ]
        labels[tuple(kind[name] for name in WITHIN)] = ", ".join([kind[ALWAYS_NAMED], *extra])
    order = sorted(set(labels.values()))
    return {
        key: Look(
            label,
            style.COLOURS[order.index(label) % len(style.COLOURS)],
            # Another marker where the colours begin anew.
            style.MARKERS[
                (order.index(label) + order.index(label) // len(style.COLOURS)) % len(style.MARKERS)
            ],
            SHIFT ** (order.index(label) - (len(order) - 1) / 2),
        )
        for key, label in labels.items()
    }


def _joined(value: Any) -> bool:
    """Whether it stands for several values that were allowed to mix."""
    return MIXED in str(value)


def panels(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Each panel's title and rows; the title names what differs between panels."""
    varying = [name for name in PANEL[1:] if table[name].nunique() > 1]
    for key, rows in table.groupby(PANEL, sort=True):
        facts = dict(zip(PANEL, key, strict=True))
        named = [name for name in PANEL[1:] if name in varying or _joined(facts[name])]
        title = [fill(str(facts[name]), TITLE_LENGTH) for name in ["model", *named]]
        yield "\n".join(title), rows


def _series(rows: pd.DataFrame) -> Iterator[tuple[Key, pd.DataFrame]]:
    yield from rows.groupby(WITHIN, sort=True)


def _grid(count: int) -> tuple[Figure, list[Axes]]:
    columns = min(count, style.COLUMNS)
    lines = -(-count // columns)
    height = style.SINGLE_HEIGHT if count == 1 else style.PANEL_HEIGHT * lines
    figure = Figure(figsize=(style.WIDTH, height + style.MARGIN))
    axes = figure.subplots(lines, columns, squeeze=False).flatten()
    for empty in axes[count:]:
        empty.set_visible(False)
    return figure, list(axes[:count])


def _device_axis(axes: Axes, devices: list[int], farthest: float | None = None) -> None:
    axes.set_xscale("log", base=2)
    every = 1
    # Labels that are too long together would run into each other.
    while sum(len(f"{n:g} ") for n in devices[::every]) > TICK_LENGTH:
        every += 1
    axes.xaxis.set_major_locator(FixedLocator(devices[::every]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlim(devices[0] / 1.25, (farthest or devices[-1]) * 1.25)


def _errors(series: pd.DataFrame, value: str) -> list[pd.Series]:
    """Lengths of the bars; none where a single run has no interval."""
    return [
        (series[value] - series[f"{value}_low"]).clip(lower=0).fillna(0),
        (series[f"{value}_high"] - series[value]).clip(lower=0).fillna(0),
    ]


def _points(
    axes: Axes, series: pd.DataFrame, value: str, look: Look, scale: float, line: str
) -> None:
    series = series.sort_values("devices")
    axes.errorbar(
        series["devices"] * look.shift, series[value] * scale,
        yerr=[error * scale for error in _errors(series, value)],
        color=look.colour, marker=look.marker, linestyle=line, capsize=2, elinewidth=0.7,
    )  # fmt: skip


def _scaling_panel(
    axes: Axes, rows: pd.DataFrame, value: str, looks_of: dict[Key, Look], scale: float
) -> None:
    """One measure against devices, with intervals and the ideal."""
    for key, series in _series(rows):
        _points(axes, series, value, looks_of[key], scale, "-")
    _ideal(axes, rows, value, looks_of)
    devices = sorted(rows["devices"].unique())
    _device_axis(axes, devices)
    if value != "efficiency" and devices[-1] > WIDE_RANGE * devices[0]:
        _log_axis(axes)
        return
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(thousands))
    axes.yaxis.set_major_locator(MaxNLocator(5))


def _log_axis(axes: Axes) -> None:
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 200 * low else (1,)))
    axes.yaxis.set_major_formatter(FuncFormatter(thousands))
    axes.yaxis.set_minor_locator(NullLocator())


def _ideal(axes: Axes, rows: pd.DataFrame, value: str, looks_of: dict[Key, Look]) -> None:
    devices = sorted(rows["devices"].unique())
    if value == "efficiency":
        axes.axhline(100, color=style.GREY, linestyle="--", linewidth=0.8, zorder=1)
    elif value == "speedup":
        base = rows["base_devices"].min()
        axes.plot(devices, [n / base for n in devices], "--", color=style.GREY, lw=0.8, zorder=1)
    else:
        for key, series in _series(rows):
            first = series.sort_values("devices").iloc[0]
            axes.plot(
                devices, [first[value] * n / first["devices"] for n in devices], "--",
                color=looks_of[key].colour, linewidth=0.7, alpha=0.6, zorder=1,
            )  # fmt: skip


def _handles(looks_of: dict[Key, Look]) -> list[Line2D | Patch]:
    unique = {look.label: look for look in looks_of.values()}
    return [
        Line2D([], [], color=look.colour, marker=look.marker, label=label)
        for label, look in sorted(unique.items())
    ]


def _ideal_handle() -> Line2D:
    return Line2D([], [], color=style.GREY, linestyle="--", label="ideal", lw=0.8)


def _legend(figure: Figure, handles: list[Line2D | Patch]) -> None:
    """All labels above the panels, for which the figure grows."""
    labels = [
        fill(str(handle.get_label()), style.LABEL_LENGTH, break_on_hyphens=False)
        for handle in handles
    ]
    longest = max(map(len, labels))
    columns = min(
        len(handles), 4 if longest < 9 else 3 if longest < 13 else 2 if longest < 26 else 1
    )
    # Matplotlib fills columns from top to bottom.
    lines = -(-len(labels) // columns) * (1 + max(label.count("\n") for label in labels))
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + (lines - 1) * style.FONT * 1.5 / 72)
    figure.legend(handles=handles, labels=labels, loc="outside upper center", ncols=columns)


def _caption(table: pd.DataFrame) -> str:
    """Lines under a figure that say what its marks are."""
    runs = sorted(table["runs"].unique())
    count = f"{runs[0]}" if len(runs) == 1 else f"{runs[0]} to {runs[-1]}"
    where = ", ".join(
        f"{table[name].iloc[0]}" + (" scaling" if name == "scaling" else "")
        for name in PANEL[1:]
        if table[name].nunique() == 1
    )
    few = "" if table["enough_runs"].all() else " (too few for a sound one)"
    return f"{where}\nmedian of {count} runs, bar: 95 % bootstrap interval{few}"


def scaling_figure(table: pd.DataFrame, value: str, label: str, scale: float = 1.0) -> Figure:
    """``value`` (a column of the scaling table, times ``scale``) against devices."""
    looks_of = looks(table)
    parts = list(panels(table))
    figure, grid = _grid(len(parts))
    for axes, (title, rows) in zip(grid, parts, strict=True):
        _scaling_panel(axes, rows, value, looks_of, scale)
        axes.set_title(title)
    _label(grid, "devices", label)
    _legend(figure, [*_handles(looks_of), _ideal_handle()])
    _note(figure, _caption(table))
    return figure


def overview_figure(table: pd.DataFrame) -> Figure:
    """Throughput beside parallel efficiency, a line a model: the figure to show first."""
    looks_of = looks(table)
    every = list(panels(table))
    parts = every[:MOST_IN_OVERVIEW]
    height = style.PANEL_HEIGHT * len(parts) + style.MARGIN + 0.3
    figure = Figure(figsize=(style.WIDTH, height))
    grid = figure.subplots(len(parts), 2, squeeze=False)
    for line, (title, rows) in zip(grid, parts, strict=True):
        _scaling_panel(line[0], rows, "samples_per_second", looks_of, 1.0)
        _scaling_panel(line[1], rows, "efficiency", looks_of, 100.0)
        line[0].set_ylabel(title)
    for axes in grid[-1]:
        axes.set_xlabel("devices")
    grid[0][0].set_title("throughput, samples/s")
    grid[0][1].set_title("parallel efficiency, %")
    _legend(figure, [*_handles(looks_of), _ideal_handle()])
    left = f"\n{len(parts)} of {len(every)} panels" if len(every) > len(parts) else ""
    _note(figure, _caption(table) + left)
    return figure


PARTS = {
    "compute_ms": "compute as on the base",
    "slower_ms": "compute slower than there",
    "waiting_ms": "waiting for the slowest",
    "exchange_ms": "exchange",
}


def step_parts(table: pd.DataFrame) -> pd.DataFrame:
    """Where the milliseconds of a step go, a row a point that was also timed without exchange.

    The parts of :data:`PARTS` add up to the step, unless compute is faster than on the base.
    """
    # Where steps without exchange were slower than with, they split nothing.
    known = table[table["communication_efficiency"] <= PLAUSIBLE]
    step = known["step_seconds"] * 1e3
    slowest = step * known["communication_efficiency"]
    mean = slowest * known["load_balance"]
    base = mean * known["computation_efficiency"]
    return known.assign(
        compute_ms=base.clip(upper=mean),
        slower_ms=(mean - base).clip(lower=0),
        waiting_ms=slowest - mean,
        exchange_ms=(step - slowest).clip(lower=0),
    )


def step_figure(table: pd.DataFrame) -> Figure:
    """A bar a point: what a step's time is spent on."""
    parts = step_parts(table)
    looks_of = looks(table)
    shortened = len(parts) > MOST_BARS
    if shortened:
        parts = parts.loc[parts.groupby(SERIES)["devices"].idxmax()]
    groups = list(panels(parts))
    bars = [len(rows) for _, rows in groups]
    labels = [fill(f"{look.label} × 0000", BAR_LABEL) for look in looks_of.values()]
    lines = 1 + max(label.count("\n") for label in labels)
    figure = Figure(
        figsize=(style.WIDTH, 0.19 * lines * sum(bars) + 0.35 * len(bars) + style.MARGIN)
    )
    grid = figure.subplots(len(groups), 1, squeeze=False, height_ratios=[n + 1 for n in bars])
    for axes, (title, rows) in zip(grid[:, 0], groups, strict=True):
        ordered = rows.sort_values(["strategy", "devices"], ascending=False)
        places = np.arange(len(ordered))
        left = np.zeros(len(ordered))
        for index, part in enumerate(PARTS):
            axes.barh(
                places, ordered[part], left=left, height=0.7, color=style.COLOURS[index],
                hatch=style.HATCHES[index], edgecolor="white", linewidth=0.4,
            )  # fmt: skip
            left += ordered[part].to_numpy()
        ticks = [
            fill(f"{looks_of[tuple(row[n] for n in WITHIN)].label} × {row['devices']}", BAR_LABEL)
            for row in ordered.to_dict("records")
        ]
        axes.set_yticks(places, ticks)
        axes.set_title(title, loc="left")
        axes.grid(False, axis="y")
        axes.xaxis.set_major_locator(MaxNLocator(5))
    grid[-1, 0].set_xlabel("milliseconds a step")
    patches: list[Line2D | Patch] = [
        Patch(facecolor=style.COLOURS[i], hatch=style.HATCHES[i], edgecolor="white", label=label)
        for i, label in enumerate(PARTS.values())
    ]
    _legend(figure, patches)
    if shortened:
        _note(figure, "each strategy at its largest count alone")
    return figure


def laws_figure(table: pd.DataFrame, fits: dict[Key, Fit], farthest: float) -> Figure:
    """Points, and the law fitted to them, dashed where it extrapolates (``farthest`` times)."""
    fitted = pd.DataFrame([dict(zip(SERIES, key, strict=True)) for key in fits])
    shown = table.merge(fitted, on=SERIES)
    looks_of = looks(shown)
    parts = list(panels(shown))
    figure, grid = _grid(len(parts))
    for axes, (title, rows) in zip(grid, parts, strict=True):
        for key, series in _series(rows):
            look = looks_of[key]
            found = fits[tuple(series[SERIES].iloc[0])]
            _points(axes, series, "samples_per_second", look, 1.0, "none")
            counts = np.geomspace(series["devices"].min(), found.largest * farthest, 80)
            rate, low, high = found.rates(counts)
            inside = counts <= found.largest * 1.0001
            axes.plot(counts[inside], rate[inside], color=look.colour)
            axes.plot(counts[~inside], rate[~inside], "--", color=look.colour)
            axes.fill_between(counts, low, high, color=look.colour, alpha=0.15, linewidth=0)
        measured = sorted(rows["devices"].unique())
        last = measured[-1] * farthest
        extra = [n for n in (measured[-1] * 2**k for k in range(1, 30)) if n <= last]
        _device_axis(axes, [*measured, *extra], last)
        _log_axis(axes)
        axes.set_title(title)
    _label(grid, "devices", "throughput, samples/s")
    _legend(
        figure,
        [
            *_handles(looks_of),
            Line2D([], [], color=style.GREY, label="fitted law"),
            Line2D([], [], color=style.GREY, linestyle="--", label="extrapolated"),
        ],
    )
    names = sorted({found.law.name for found in fits.values()})
    _note(figure, f"{' and '.join(names)}, band: 95 % interval of the curve")
    return figure


def accuracy_figure(curves: pd.DataFrame, against: str, label: str) -> Figure:
    """Test metric against ``epoch`` or ``elapsed_seconds``, a line a device count."""
    looks_of = looks(curves)
    parts = list(panels(curves))
    figure, grid = _grid(len(parts))
    counts = sorted(curves["devices"].unique())
    # Series often lie on each other (that is their point): hollow marks of several sizes show it.
    labels = sorted({look.label for look in looks_of.values()})
    growth = min(1.6, 5 / len(labels))
    sizes = {label: 2.8 + growth * place for place, label in enumerate(reversed(labels))}
    for axes, (title, rows) in zip(grid, parts, strict=True):
        metric = str(rows["metric"].iloc[0])
        scale = 100 if metric == ACCURACY else 1
        for key, series in _series(rows):
            for (devices, _), curve in series.groupby(["devices", "training"]):
                look = looks_of[key]
                curve = curve.sort_values("epoch")  # noqa: PLW2901
                dashes = style.DASHES[counts.index(devices) % len(style.DASHES)]
                axes.plot(
                    curve[against], scale * curve["test_metric"], color=look.colour,
                    marker=look.marker, markersize=sizes[look.label], markeredgewidth=0.7,
                    fillstyle="none", linestyle=dashes, linewidth=0.9,
                )  # fmt: skip
                axes.fill_between(
                    curve[against], scale * curve["lowest"], scale * curve["highest"],
                    color=look.colour, alpha=0.15, linewidth=0,
                )  # fmt: skip
        axes.set_title(title)
        axes.set_xlim(0, rows[against].max() * 1.08)
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=against == "epoch"))
        axes.set_ylabel("accuracy, %" if metric == ACCURACY else metric.replace("_", " "))
    _label(grid, label, "")
    unique = {look.label: look for look in looks_of.values()}
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=look.colour, marker=look.marker, markersize=sizes[name],
               markeredgewidth=0.7, fillstyle="none", linestyle="none", label=name)
        for name, look in sorted(unique.items())
    ]  # fmt: skip
    handles += [
        Line2D([], [], color=style.GREY, linestyle=style.DASHES[i % len(style.DASHES)],
               label=f"{devices} device{'s' * (devices > 1)}", linewidth=0.9)
        for i, devices in enumerate(counts)
    ]  # fmt: skip
    _legend(figure, handles)
    _note(figure, "medians over runs, band: lowest to highest run")
    return figure


def thousands(value: float, _: Any = None) -> str:
    """A tick label: 250000 as 250k."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _label(grid: list[Axes], horizontal: str, vertical: str) -> None:
    """Name the axes along the outside of the grid."""
    columns = min(len(grid), style.COLUMNS)
    for axes in grid[-columns:]:
        axes.set_xlabel(horizontal)
    for axes in grid[::columns] if vertical else []:
        axes.set_ylabel(vertical)


def _note(figure: Figure, text: str) -> None:
    """Small print below everything else, for which the figure grows."""
    lines = [part for line in text.split("\n") for part in wrap(line, style.NOTE_LENGTH)]
    strip = (len(lines) + 0.5) * style.SMALL * 1.25 / 72
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + strip)
    engine = figure.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine):
        engine.set(rect=(0, strip / (height + strip), 1, height / (height + strip)))
    figure.text(
        0.99, 0.01, "\n".join(lines), ha="right", va="bottom", fontsize=style.SMALL,
        color=style.GREY, linespacing=1.25,
    )  # fmt: skip


def all_figures(
    table: pd.DataFrame, curves: pd.DataFrame, fits: dict[Key, Fit], farthest: float
) -> dict[str, Drawing]:
    """Every figure that there are points for, by file name."""
    drawings = {
        "overview": Drawing(
            "Overview",
            "Throughput and parallel efficiency against the number of devices, a line a strategy, "
            "with 95 % intervals and the ideal",
            lambda: overview_figure(table),
        ),
        "throughput": Drawing(
            "Throughput",
            "Samples a second against the number of devices, with 95 % intervals; dashed: each "
            "strategy's smallest count scaled ideally",
            lambda: scaling_figure(table, "samples_per_second", "throughput, samples/s"),
        ),
        "speedup": Drawing(
            "Speedup",
            "Speedup over the base against the number of devices, with 95 % intervals",
            lambda: scaling_figure(table, "speedup", "speedup over the base"),
        ),
        "efficiency": Drawing(
            "Parallel efficiency",
            "Speedup over its ideal, in percent, against the number of devices",
            lambda: scaling_figure(table, "efficiency", "parallel efficiency, %", 100.0),
        ),
    }
    if (table["communication_efficiency"] <= PLAUSIBLE).any():
        drawings["step_time"] = Drawing(
            "Where a step's time goes",
            "Milliseconds of a step by strategy and devices: compute as on the base, slower "
            "compute, waiting for the slowest rank, exchange",
            lambda: step_figure(table),
        )
    if fits:
        drawings["laws"] = Drawing(
            "Fitted laws",
            "Throughput against devices with the best-fitting scaling law, dashed beyond the "
            "largest measured count",
            lambda: laws_figure(table, fits, farthest),
        )
    if len(curves):
        drawings["accuracy_epochs"] = Drawing(
            "Accuracy against epochs",
            "Test accuracy (or error) after each epoch, a line a strategy and device count",
            lambda: accuracy_figure(curves, "epoch", "epochs"),
        )
        drawings["accuracy_seconds"] = Drawing(
            "Accuracy against time",
            "Test accuracy (or error) against seconds of training, a line a strategy and count",
            lambda: accuracy_figure(curves, "elapsed_seconds", "training seconds"),
        )
    return drawings
