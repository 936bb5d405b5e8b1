"""The tails of step times: how slow steps are at their worst, which no median tells.

What is timed is an interval, so a value is the mean of its steps; single slow steps average out. A
run is one observation here too: a percentile is of the intervals of one run, and of these the
median over runs is taken. (Of all runs' intervals together, few runs make an interval that is far
too narrow, since the tail is that of the slowest run.)
"""

import numpy as np
import pandas as pd

from hpcbench.analysis.estimates import Estimate
from hpcbench.analysis.load import SERIES, facts_of
from hpcbench.records.identity import RUN
from hpcbench.records.schema import PHASE_TRAIN

# By name of their columns.
QUANTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
RANKS = {"slowest": "seconds", "fastest": "fastest_rank_seconds"}


def run_tails(throughput: pd.DataFrame) -> pd.DataFrame:
    """One row a run, by RUN: ``slowest_p50`` to ``fastest_p99``, quantiles of its intervals'
    seconds a step by the slowest and by the fastest rank; ``slowest_max``; ``intervals``.

    A quantile between two values is interpolated (type 7 of Hyndman and Fan, The American
    Statistician 50(4), 1996), and missing where so few intervals were timed that none lies beyond
    it on average.
    """
    timed = throughput[throughput["phase"] == PHASE_TRAIN]
    grouped = timed.groupby(RUN)
    of_run = grouped.ngroup().to_numpy()
    columns = {"intervals": grouped.size()}
    count, runs = columns["intervals"].to_numpy(), columns["intervals"].index
    last = count.cumsum() - 1
    for rank, column in RANKS.items():
        seconds = (timed[column] / timed["steps"]).to_numpy(float)
        # Each run's values in their order, one run after the other.
        ordered = seconds[np.lexsort((seconds, of_run))]
        for name, share in QUANTILES.items():
            place = last - (1 - share) * (count - 1)
            below = np.floor(place).astype(int)
            above = np.minimum(below + 1, last)
            value = ordered[below] + (place - below) * (ordered[above] - ordered[below])
            enough = count * (1 - share) > 1 - 1e-9
            columns[f"{rank}_{name}"] = pd.Series(np.where(enough, value, np.nan), runs)
        if rank == "slowest":
            columns["slowest_max"] = pd.Series(ordered[last], runs)
    return pd.DataFrame(columns)


def tail_table(throughput: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """One row a point: the medians over its ``runs`` of the quantiles of ``run_tails``, with
    ``_low`` and ``_high``; ``slowest_max``, the slowest interval of all; how many ``intervals``."""
    found = runs[[*RUN, *SERIES, "subject", "line", "devices"]].merge(
        run_tails(throughput), left_on=RUN, right_index=True
    )
    rows = []
    for key, group in found.groupby([*SERIES, "devices"], sort=True):
        devices = int(str(key[-1]))
        row = facts_of(key[:-1], group) | {
            "devices": devices,
            "runs": len(group),
            "intervals": int(group["intervals"].sum()),
            "slowest_max": float(group["slowest_max"].max()),
        }
        for rank in RANKS:
            for name in QUANTILES:
                of_runs = Estimate.of(group[f"{rank}_{name}"].to_numpy(float), devices)
                row |= of_runs.columns(f"{rank}_{name}")
        rows.append(row)
    return pd.DataFrame(rows)


def differ_by_rank(tails: pd.DataFrame) -> bool:
    """Whether the fastest rank is another than the slowest anywhere."""
    return not np.allclose(tails["slowest_p50"], tails["fastest_p50"], rtol=1e-6)
