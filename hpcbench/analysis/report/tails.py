"""The table of the tails of step times."""

import pandas as pd

from hpcbench.analysis.load import Row
from hpcbench.analysis.report.cells import (
    SERIES_HEADER,
    Cell,
    Table,
    between,
    milliseconds,
    of_series,
    varying_settings,
)
from hpcbench.analysis.tails import QUANTILES, differ_by_rank


def tails_table(tails: pd.DataFrame) -> Table:
    """Of ``tail_table``'s rows; the fastest rank's where any differs from the slowest."""
    extra = varying_settings(tails)
    ranks = ["slowest", "fastest"] if differ_by_rank(tails) else ["slowest"]
    names = [f"{rank}_{name}" for rank in ranks for name in QUANTILES]
    header = [f"{rank} rank: {name}" for rank in ranks for name in QUANTILES]
    return Table(
        "tails",
        "Tails of step times",
        "Milliseconds of a step, each the mean over the steps of one timed interval, so that a "
        "single slow step shows less. Percentiles of a run's intervals, the median over runs with "
        "its 95 % bootstrap interval; a dash where runs have fewer than 20 (p95) or 100 (p99) of "
        "them. Worst: the slowest interval of all runs.",
        [*SERIES_HEADER, *extra, "devices", "runs", "intervals", *header, "worst"],
        [_row(row, extra, names) for row in tails.to_dict("records")],
    )


def _row(row: Row, extra: list[str], names: list[str]) -> list[Cell]:
    return [
        *of_series(row, extra),
        *(Cell(str(row[name]), row[name]) for name in ("devices", "runs", "intervals")),
        *(between(row, name, milliseconds) for name in names),
        Cell(milliseconds(row["slowest_max"]), row["slowest_max"]),
    ]
