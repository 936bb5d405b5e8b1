"""The table of the largest device counts that are still efficient."""

import pandas as pd

from hpcbench.analysis.report.cells import (
    SERIES_HEADER,
    Cell,
    Table,
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
        f"Largest count with {EFFICIENT:.0%} efficiency",
        "The largest measured device count up to which efficiency never falls below that.",
        [
            *SERIES_HEADER,
            *extra,
            "devices",
            "efficiency there",
            "measured up to",
        ],
        [
            [
                *of_series(row, extra),
                Cell(str(row["devices"]), row["devices"]),
                Cell(percent(row["efficiency"]), row["efficiency"]),
                Cell(str(row["largest_measured"]), row["largest_measured"]),
            ]
            for row in largest.to_dict("records")
        ],
    )
