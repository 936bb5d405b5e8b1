"""How a report shows numbers, with the value that a table is sorted by."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from hpcbench.analysis.load import SETTINGS, SHARED, SUBJECT, Row, shared_among


@dataclass(frozen=True)
class Cell:
    """What a table shows, and what it is sorted by."""

    text: str
    value: float | str | None
    link: str = ""


@dataclass(frozen=True)
class Table:
    """A table of the report; ``note`` says how to read it."""

    name: str
    title: str
    note: str
    header: list[str]
    rows: list[list[Cell]]


def number(value: Any, digits: int = 3) -> str:
    """``value`` to ``digits`` significant digits, with thousands separated; a dash if missing."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "not reached"
    if value == 0:
        return "0"
    places = digits - 1 - math.floor(math.log10(abs(value)))
    return f"{round(float(value), places):,.{max(places, 0)}f}"


def between(row: Row, name: str, show: Callable[[Any], str] = number) -> Cell:
    """A value with its interval: "91 % [88, 93]"."""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    value = float(row[name])
    text = show(value)
    if not (math.isnan(low) or math.isnan(high) or low == high):
        bounds = ", ".join(show(bound).removesuffix(" %") for bound in (low, high))
        text += f" [{bounds}]"
    return Cell(text, value)


def milliseconds(seconds: Any) -> str:
    return number(1e3 * seconds)


def percent(value: Any) -> str:
    return "–" if value is None or math.isnan(value) else f"{100 * value:.0f} %"


def text(value: Any) -> Cell:
    return Cell(str(value), str(value))


# What every table says of a series first.
SERIES_HEADER = ("model", "data", "framework", "strategy", "scaling")


def of_series(row: Row, extra: list[str]) -> list[Cell]:
    """The cells below SERIES_HEADER, and of the ``extra`` settings that vary."""
    return [text(row[name]) for name in (*SUBJECT, *extra)]


def varying_settings(table: pd.DataFrame) -> list[str]:
    """The settings that have to be shown, since they are not the same for a model and strategy."""
    text = table[table["runs"] > 0].astype(dict.fromkeys(SETTINGS, str))
    return [
        name
        for name in SETTINGS
        if text.groupby(shared_among(name) if name in SHARED else SUBJECT)[name].nunique().max() > 1
    ]
