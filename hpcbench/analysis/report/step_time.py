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
    parts = {**PARTS, "hidden_exchange": "overlapped exchange"}
    columns = ("step_seconds", *(f"{part}_seconds" for part in parts))
    return Table(
        "step",
        "Where a step's time goes",
        "Milliseconds per step, medians over runs with 95 % bootstrap intervals, from steps timed "
        "between intervals of training: without the exchange; with an exchange of a single "
        "element, so that ranks only wait for each other; on samples that are at hand; and on one "
        "rank per host while the others sleep. The exchange is what it adds to a step, excluding "
        "the part that overlaps with compute, which has a column of its own." + _of_coarse(known),
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
        told += " Where contention was not measured, it is part of the extra compute."
    if known["serialization_efficiency"].isna().any():
        told += (
            " Runs before schema 4 were only timed without the exchange, once after training: "
            "their exchange includes waiting within steps."
        )
    return told
