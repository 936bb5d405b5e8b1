"""The table of where a step's time goes."""

import pandas as pd

from hpcbench.analysis.report.cells import (
    SERIES_HEADER,
    Cell,
    Table,
    between,
    milliseconds,
    of_series,
    varying_settings,
)
from hpcbench.analysis.step_time import PARTS, timed_apart


def step_table(points: pd.DataFrame) -> Table | None:
    """Of ``scaling_table``'s rows; None where no steps were timed without the exchange."""
    known = timed_apart(points)
    if known.empty:
        return None
    extra = varying_settings(known)
    parts = {**PARTS, "hidden_exchange": "exchange hidden behind compute"}
    columns = ("step_seconds", *(f"{part}_seconds" for part in parts))
    return Table(
        "step",
        "Where a step's time goes",
        "Milliseconds of a step, medians over runs with 95 % bootstrap intervals, from steps timed "
        "between intervals of training: without the exchange; with one of a single element, so "
        "that ranks only wait for each other; and on one rank a host while the others sleep. The "
        "exchange is what it adds to a step, so it is without what hides behind compute, which is "
        "in a column of its own." + _of_coarse(known),
        [*SERIES_HEADER, *extra, "devices", "runs", "step", *parts.values()],
        [
            [
                *of_series(row, extra),
                *(Cell(str(row[name]), row[name]) for name in ("devices", "runs")),
                *(between(row, name, milliseconds) for name in columns),
            ]
            for row in known.to_dict("records")
        ],
    )


def _of_coarse(known: pd.DataFrame) -> str:
    """What to know of points that were timed less closely; empty where there are none."""
    told = ""
    if known["contention_seconds"].isna().any():
        told += " Where contention is not known, it is part of the extra compute."
    if known["serialization_efficiency"].isna().any():
        told += (
            " Runs of before schema 4 were timed without the exchange alone, once after training: "
            "their exchange holds what ranks wait in steps."
        )
    return told
