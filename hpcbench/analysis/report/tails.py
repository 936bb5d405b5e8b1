"""The table of the tails of step times."""

import pandas as pd

from hpcbench.analysis.load import SERIES, Row
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

# Of each series; more make a table that nobody reads.
MOST_RANKS = 32


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
        "them, or printed their rates. Worst: the slowest interval of all runs.",
        [*SERIES_HEADER, *extra, "devices", "runs", "intervals", *header, "worst"],
        [_row(row, extra, names) for row in tails.to_dict("records")],
    )


def rank_tails_table(tails: pd.DataFrame) -> Table:
    """Of ``rank_tails``'s rows; of many ranks the slowest MOST_RANKS of each series."""
    extra = varying_settings(tails)
    worst = next((name for name in ("p99", "p95") if tails[name].notna().any()), "p50")
    shown = tails.sort_values(worst, ascending=False, kind="stable")
    shown = shown.groupby(SERIES).head(MOST_RANKS).sort_index()
    left = len(tails) - len(shown)
    cut = f" Of many ranks those {MOST_RANKS} with the largest {worst}; {left} are not shown."
    return Table(
        "rank-tails",
        "Tails of step times by rank",
        "The same of each rank on the largest count, in milliseconds of a training step. Where "
        "every step waits for all gradients, ranks look alike here; which one computes for longest "
        "is above, where it was timed without the exchange." + (cut if left else ""),
        [*SERIES_HEADER, *extra, "devices", "runs", "rank", "host", *QUANTILES, "worst"],
        [
            [
                *of_series(row, extra),
                *(Cell(str(row[name]), row[name]) for name in ("devices", "runs", "rank", "host")),
                *(between(row, name, milliseconds) for name in QUANTILES),
                Cell(milliseconds(row["max"]), row["max"]),
            ]
            for row in shown.to_dict("records")
        ],
    )


def _row(row: Row, extra: list[str], names: list[str]) -> list[Cell]:
    return [
        *of_series(row, extra),
        *(Cell(str(row[name]), row[name]) for name in ("devices", "runs", "intervals")),
        *(between(row, name, milliseconds) for name in names),
        Cell(milliseconds(row["slowest_max"]), row["slowest_max"]),
    ]
