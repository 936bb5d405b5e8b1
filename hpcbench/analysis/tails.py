"""The tails of step times: how slow steps are at their worst, which no median tells.

What is timed is an interval, so a value is the mean of its steps; single slow steps average out. A
run is one observation here too: a percentile is of the intervals of one run, and of these the
median over runs is taken. (Of all runs' intervals together, few runs make an interval that is far
too narrow, since the tail is that of the slowest run.)
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hpcbench.analysis.estimates import Estimate
from hpcbench.analysis.load import POINT, SERIES, facts_of, hosts_of
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
    of_run = timed.groupby(RUN).ngroup().to_numpy()
    index = timed.groupby(RUN).size().index
    columns: dict[str, NDArray[np.float64] | NDArray[np.int64]] = {}
    for rank, column in RANKS.items():
        found = _quantiles((timed[column] / timed["steps"]).to_numpy(float), of_run)
        columns |= {f"{rank}_{name}": values for name, values in found.items()}
    columns["intervals"] = np.bincount(of_run, minlength=len(index))
    return pd.DataFrame(columns, index).drop(columns="fastest_max")


def _quantiles(
    seconds: NDArray[np.float64], groups: NDArray[np.integer[Any]]
) -> dict[str, NDArray[np.float64]]:
    """QUANTILES and ``max`` of the ``seconds`` of each group, by its number from 0 without gaps."""
    counts = np.bincount(groups)
    last = counts.cumsum() - 1
    # Each group's values in their order, one group after the other.
    ordered = seconds[np.lexsort((seconds, groups))]
    found = {"max": ordered[last]}
    for name, share in QUANTILES.items():
        place = last - (1 - share) * (counts - 1)
        below = np.floor(place).astype(int)
        above = np.minimum(below + 1, last)
        value = ordered[below] + (place - below) * (ordered[above] - ordered[below])
        found[name] = np.where(counts * (1 - share) > 1 - 1e-9, value, np.nan)
    return found


def rank_tails(
    ranks: pd.DataFrame, runs: pd.DataFrame, documents: Iterable[dict[str, Any]]
) -> pd.DataFrame:
    """One row a rank of each series' largest count of which ranks' times are there: SERIES,
    ``subject``, ``line``, ``devices``, ``runs``, ``rank``, ``host`` (those of all runs, separated
    by commas), and ``p50``, ``p95``, ``p99`` of the rank's training intervals in seconds a step,
    medians over runs with ``_low`` and ``_high``; ``max``, the slowest of all.

    ``ranks`` has the columns of ``RankRow``; ``documents`` are the runs' run.json.
    """
    timed = ranks[ranks["phase"] == PHASE_TRAIN] if len(ranks) else ranks[:0]
    timed = timed.merge(runs[[*RUN, *SERIES, "subject", "line", "devices"]], on=RUN)
    timed = timed[timed["devices"] == timed.groupby(SERIES)["devices"].transform("max")]
    # One rank is not told apart from any.
    timed = timed[timed["devices"] > 1]
    if timed.empty:
        return pd.DataFrame()
    key = [*RUN, "rank"]
    quantiles = _quantiles(
        (timed["seconds"] / timed["steps"]).to_numpy(float), timed.groupby(key).ngroup().to_numpy()
    )
    of_ranks = timed.groupby(key)[[*SERIES, "subject", "line", "devices"]].first()
    of_ranks = of_ranks.assign(**quantiles).reset_index()
    hosts = hosts_of(documents)
    rows = []
    for place, group in of_ranks.groupby([*SERIES, "devices", "rank"], sort=True):
        devices, rank = (int(str(part)) for part in place[-2:])
        of_runs = (hosts.get((str(run[0]), str(run[1])), []) for run in group[RUN].to_numpy())
        names = {of_run[rank] for of_run in of_runs if rank < len(of_run)}
        row = facts_of(place[:-2], group) | {
            "devices": devices,
            "runs": len(group),
            "rank": rank,
            "host": ", ".join(sorted(names)),
            "max": float(group["max"].max()),
        }
        for name in QUANTILES:
            row |= Estimate.of(group[name].to_numpy(float), devices).columns(name)
        rows.append(row)
    return pd.DataFrame(rows)


def tail_table(throughput: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """One row a point: the medians over its ``runs`` of the quantiles of ``run_tails``, with
    ``_low`` and ``_high``; ``slowest_max``, the slowest interval of all; how many ``intervals``.
    Those are missing of runs whose steps were not timed."""
    found = runs[[*RUN, *SERIES, "subject", "line", "devices", "step_seconds"]].merge(
        run_tails(throughput), left_on=RUN, right_index=True
    )
    quantiles = [f"{rank}_{name}" for rank in RANKS for name in QUANTILES]
    found.loc[found.pop("step_seconds").isna(), [*quantiles, "slowest_max"]] = np.nan
    rows = []
    for key, group in found.groupby(POINT, sort=True):
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
    return not np.allclose(tails["slowest_p50"], tails["fastest_p50"], rtol=1e-6, equal_nan=True)
