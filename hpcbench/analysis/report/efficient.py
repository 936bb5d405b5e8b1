"""The table of the largest device counts that are still efficient."""

import math

import pandas as pd

from hpcbench.analysis.report.cells import (
    SERIES_HEADER,
    Cell,
    Table,
    between,
    of_series,
    percent,
    varying_settings,
)
from hpcbench.analysis.scaling import EFFICIENT


def efficient_table(largest: pd.DataFrame) -> Table:
    """Of ``largest_efficient``'s rows."""
    extra = varying_settings(largest)
    return Table(
        "efficient",
        f"Largest device count with at least {EFFICIENT:.0%} efficiency",
        "Devices: the largest measured count up to which the efficiency never falls below that. "
        "With 95 % confidence: the largest up to which every 95 % interval lies wholly above it.",
        [
            *SERIES_HEADER,
            *extra,
            "devices",
            "with 95 % confidence",
            "efficiency at devices",
            "measured up to",
        ],
        [
            [
                *of_series(row, extra),
                Cell(str(row["devices"]), row["devices"]),
                Cell("–" if math.isnan(row["surely"]) else f"{row['surely']:.0f}", row["surely"]),
                between(row, "efficiency", percent),
                Cell(str(row["largest_measured"]), row["largest_measured"]),
            ]
            for row in largest.to_dict("records")
        ],
    )
