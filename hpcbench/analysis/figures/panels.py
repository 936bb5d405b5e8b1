"""What all figures share: how a series looks, panels, axes, legends and small print."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from textwrap import fill, wrap
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator
from matplotlib.transforms import ScaledTranslation

from hpcbench.analysis.figures import style
from hpcbench.analysis.load import MIXED, PANEL, SERIES, SHARED, shared_among

# From the lower edge to the small print.
NOTE_INCHES = 0.04
WITHIN = [name for name in SERIES if name not in PANEL]
# What a legend says of a series whatever it is; the framework where there are several.
ALWAYS_NAMED = "strategy"
FRAMEWORK = "framework"
TITLE_LENGTH = 24
SHIFT = 1.04
TICK_LENGTH = 18
# Points beside its median at which a run is drawn.
DOT_OFFSET = 4.0
# How many columns a legend has, up to which length of its labels.
LEGEND_COLUMNS = ((8, 4), (12, 3), (25, 2))

Key = tuple[Any, ...]
# Runs by the values of SERIES.
RunsOf = Mapping[Key, pd.DataFrame]


@dataclass(frozen=True)
class Look:
    """How one series is drawn, the same in every panel."""

    label: str
    colour: str
    marker: str
    # Factor on the device axis, so that the bars of equal points stand beside each other.
    shift: float = 1.0

    @classmethod
    def at(cls, place: int, label: str, shift: float = 1.0) -> "Look":
        """Of the ``place``-th label: where the colours begin anew, another marker."""
        count = len(style.COLOURS)
        marker = style.MARKERS[(place + place // count) % len(style.MARKERS)]
        return cls(label, style.COLOURS[place % count], marker, shift)


def looks(table: pd.DataFrame) -> dict[Key, Look]:
    """A look for each series, labelled by strategy (after the framework, where there are several)
    and by whatever else differs between them."""
    kinds = table[WITHIN].drop_duplicates().sort_values(WITHIN)
    named = [FRAMEWORK, ALWAYS_NAMED] if table[FRAMEWORK].nunique() > 1 else [ALWAYS_NAMED]
    varying = [
        name
        for name in WITHIN
        if name not in (FRAMEWORK, ALWAYS_NAMED)
        # The batch and the exchange follow from model and strategy unless they were varied.
        and table.groupby(shared_among(name) if name in SHARED else [*PANEL, *named])[name]
        .nunique()
        .max()
        > 1
    ]
    labels: dict[Key, str] = {}
    for kind in kinds.to_dict("records"):
        extra = [
            f"{name} {kind[name]}"
            for name in WITHIN
            # What is not known of imported runs is empty.
            if kind[name] != "" and (name in varying or is_mixed(kind[name]))
        ]
        subject = " ".join(kind[name] for name in named)
        labels[tuple(kind[name] for name in WITHIN)] = ", ".join([subject, *extra])
    order = sorted(set(labels.values()))
    return {
        key: Look.at(place, label, SHIFT ** (place - (len(order) - 1) / 2))
        for key, label in labels.items()
        for place in [order.index(label)]
    }


def is_mixed(value: Any) -> bool:
    """Whether it stands for several values that were allowed to mix."""
    return MIXED in str(value)


def panels(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Each panel's title and rows; the title names what differs between panels."""
    varying = [name for name in PANEL[1:] if table[name].nunique() > 1]
    for key, rows in table.groupby(PANEL, sort=True):
        facts = dict(zip(PANEL, key, strict=True))
        named = [name for name in PANEL[1:] if name in varying or is_mixed(facts[name])]
        title = [fill(str(facts[name]), TITLE_LENGTH) for name in ["model", *named]]
        yield "\n".join(title), rows


def series_of(rows: pd.DataFrame) -> Iterator[tuple[Key, pd.DataFrame]]:
    yield from rows.groupby(WITHIN, sort=True)


def make_grid(count: int) -> tuple[Figure, list[Axes]]:
    columns = min(count, style.COLUMNS)
    lines = -(-count // columns)
    height = style.SINGLE_HEIGHT if count == 1 else style.PANEL_HEIGHT * lines
    figure = Figure(figsize=(style.WIDTH, height + style.MARGIN))
    axes = figure.subplots(lines, columns, squeeze=False).flatten()
    for empty in axes[count:]:
        empty.set_visible(False)
    return figure, list(axes[:count])


def device_axis(axes: Axes, devices: list[int], farthest: float | None = None) -> None:
    axes.set_xscale("log", base=2)
    every = 1
    # Labels that are too long together would run into each other.
    while sum(len(f"{n:g} ") for n in devices[::every]) > TICK_LENGTH:
        every += 1
    axes.xaxis.set_major_locator(FixedLocator(devices[::every]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    last = farthest or devices[-1]
    # Runs are drawn beside their median, so the outermost need room that grows with the range.
    room = max(1.25, (last / devices[0]) ** 0.1)
    axes.set_xlim(devices[0] / room, last * room)


def error_lengths(series: pd.DataFrame, value: str) -> list[pd.Series]:
    """Lengths of the bars; none where a single run has no interval."""
    return [
        (series[value] - series[f"{value}_low"]).clip(lower=0).fillna(0),
        (series[f"{value}_high"] - series[value]).clip(lower=0).fillna(0),
    ]


def draw_points(
    axes: Axes,
    series: pd.DataFrame,
    runs: RunsOf,
    value: str,
    look: Look,
    scale: float,
    line: str,
) -> None:
    """Medians with their bars, and beside each a dot for each of the series' ``runs``."""
    series = series.sort_values("devices")
    axes.errorbar(
        series["devices"] * look.shift,
        series[value] * scale,
        yerr=[error * scale for error in error_lengths(series, value)],
        color=look.colour,
        marker=look.marker,
        linestyle=line,
        capsize=2,
        elinewidth=0.7,
    )
    own = runs[tuple(series[SERIES].iloc[0])]
    # The first of two series has its runs on the left, so that its neighbour does not hide them.
    offset = DOT_OFFSET if look.shift >= 1 else -DOT_OFFSET
    beside = ScaledTranslation(offset / 72, 0, axes.figure.dpi_scale_trans)
    axes.plot(
        own["devices"] * look.shift,
        own[value] * scale,
        ".",
        color=look.colour,
        transform=axes.transData + beside,
        **style.DOTS,
    )


def log_axis(axes: Axes) -> None:
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 200 * low else (1,)))
    axes.yaxis.set_major_formatter(FuncFormatter(thousands))
    axes.yaxis.set_minor_locator(NullLocator())


def handles(looks_of: dict[Key, Look]) -> list[Line2D | Patch]:
    unique = {look.label: look for look in looks_of.values()}
    return [
        Line2D([], [], color=look.colour, marker=look.marker, label=label)
        for label, look in sorted(unique.items())
    ]


def ideal_handle() -> Line2D:
    return Line2D([], [], color=style.GREY, linestyle="--", label="ideal", lw=0.8)


def legend(figure: Figure, handles: list[Line2D | Patch]) -> None:
    """All labels above the panels, for which the figure grows."""
    labels = [
        fill(str(handle.get_label()), style.LABEL_LENGTH, break_on_hyphens=False)
        for handle in handles
    ]
    longest = max(map(len, labels))
    fitting = next((columns for length, columns in LEGEND_COLUMNS if longest <= length), 1)
    columns = min(len(handles), fitting)
    # Matplotlib fills columns from top to bottom.
    lines = -(-len(labels) // columns) * (1 + max(label.count("\n") for label in labels))
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + (lines - 1) * style.FONT * 1.5 / 72)
    figure.legend(handles=handles, labels=labels, loc="outside upper center", ncols=columns)


def caption(table: pd.DataFrame) -> str:
    """Lines under a figure that say what its marks are."""
    runs = sorted(table["runs"].unique())
    count = f"{runs[0]}" if len(runs) == 1 else f"{runs[0]} to {runs[-1]}"
    where = ", ".join(
        f"{table[name].iloc[0]}" + (" scaling" if name == "scaling" else "")
        for name in PANEL[1:]
        if table[name].nunique() == 1
    )
    few = "" if table["enough_runs"].all() else " (too few for a sound one)"
    return f"{where}\nmedian of {count} runs (dots), bar: 95 % interval over runs{few}"


def label_axes(grid: list[Axes], horizontal: str, vertical: str) -> None:
    """Name the axes along the outside of the grid."""
    columns = min(len(grid), style.COLUMNS)
    for axes in grid[-columns:]:
        axes.set_xlabel(horizontal)
    for axes in grid[::columns] if vertical else []:
        axes.set_ylabel(vertical)


def note(figure: Figure, text: str) -> None:
    """Small print below everything else, for which the figure grows."""
    lines = [part for line in text.split("\n") for part in wrap(line, style.NOTE_LENGTH)]
    strip = (len(lines) + 0.5) * style.SMALL * 1.25 / 72
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + strip)
    engine = figure.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine):
        engine.set(rect=(0, strip / (height + strip), 1, height / (height + strip)))
    figure.text(
        0.99,
        # Of a tall figure a share of its height would reach into what is above.
        NOTE_INCHES / (height + strip),
        "\n".join(lines),
        ha="right",
        va="bottom",
        fontsize=style.SMALL,
        color=style.GREY,
        linespacing=1.25,
    )


def thousands(value: float, _: Any = None) -> str:
    """A tick label: 250000 as 250k."""
    for power, letter in ((6, "E"), (5, "P"), (4, "T"), (3, "G"), (2, "M"), (1, "k")):
        if abs(value) >= 1000**power:
            return f"{value / 1000**power:g}{letter}"
    return f"{value:g}"
