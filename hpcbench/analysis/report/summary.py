"""The answer in a sentence for each model."""

import math

import pandas as pd

from hpcbench.analysis.estimates import ENOUGH_RUNS
from hpcbench.analysis.figures.panels import WITHIN, looks
from hpcbench.analysis.load import SERIES, Row

# A sentence a model is what a reader can take in; the rest is in the tables.
SENTENCES = 8


def summary(table: pd.DataFrame) -> list[str]:
    """A sentence for each model and kind of scaling: its efficiency at the largest count."""
    looks_of = looks(table)
    sentences = []
    for key, rows in table.groupby(["model", "dataset", "scaling", "device_kind"], sort=True):
        ends = rows.loc[rows.groupby(WITHIN)["devices"].idxmax()]
        ends = ends[ends["devices"] > ends["base_devices"]]
        if ends.empty:
            continue
        largest = ends["devices"].max()
        ends = ends.sort_values(["devices", "efficiency"], ascending=False)
        reached = [
            f"{_efficiency(row)} under {looks_of[tuple(row[name] for name in WITHIN)].label}"
            + (f" (at {row['devices']})" if row["devices"] < largest else "")
            for row in ends.to_dict("records")
        ]
        model, dataset, scaling, kind = key
        sentences.append(
            f"At {largest} devices {model} reaches a parallel efficiency of "
            f"{', '.join(reached)} ({dataset}, {scaling} scaling, {kind})."
        )
    if not sentences:
        return [_nothing(table)]
    more = len(sentences) - SENTENCES
    return sentences[:SENTENCES] + ([f"And {more} more, in the table."] if more > 0 else [])


def _nothing(table: pd.DataFrame) -> str:
    """Why nothing is said of scaling: one count, or counts that differ in something else too."""
    if table["devices"].nunique() == 1:
        return "All runs are on one device count, so scaling cannot be assessed."
    of_count = table.groupby("devices")
    differing = [
        f"{name} ({', '.join(f'{values} at {count}' for count, values in told.items())})"
        for name in SERIES
        if (told := of_count[name].agg(_together)).nunique() > 1
    ]
    return (
        f"No two device counts have the same settings, so scaling cannot be assessed; these change "
        f"with the device count: {', '.join(differing)}."
    )


def _together(values: "pd.Series[str]") -> str:
    return " and ".join(sorted({str(value) or "none" for value in values}))


def _efficiency(row: Row) -> str:
    """With its interval, where there are runs enough for one to be believed out of context."""
    low, high = row["efficiency_low"], row["efficiency_high"]
    shown = min(row["runs"], row["base_runs"]) >= ENOUGH_RUNS and not math.isnan(low)
    interval = f" [{100 * low:.0f}, {100 * high:.0f}]" if shown else ""
    return f"{100 * row['efficiency']:.0f} %{interval}"
