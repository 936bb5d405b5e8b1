"""What was timed beside training: seconds a step of each phase, and which rank was slow."""

import math

import numpy as np
import pandas as pd

from hpcbench.records.schema import (
    PHASE_ALONE,
    PHASE_EXCHANGE,
    PHASE_LATENCY,
    PHASE_NO_EXCHANGE,
    PHASE_ONE_ELEMENT,
)

_RUN = ["sweep", "run_id"]
# A rank is called slow where chance would make one of them as often the slowest in fewer than so
# many of all cases.
CHANCE = 0.05


def by_timing(ranks: pd.DataFrame) -> pd.DataFrame:
    """``ranks``, with the columns of ``RankRow``, and ``timing``: which of several timings of a
    phase after the same training interval a row is of."""
    key = [*_RUN, "phase", "interval"]
    return ranks.assign(timing=ranks.groupby([*key, "rank"]).cumcount())


def phase_seconds(ranks: pd.DataFrame) -> pd.DataFrame:
    """A row a run, by sweep and run id; seconds a step, missing where not measured.

    ``compute_seconds`` and ``mean_compute_seconds`` without the exchange, by the slowest rank of
    each interval and on average over ranks, and ``typical_compute_seconds`` by the median rank, of
    two the faster; ``met_seconds`` with an exchange of a single element, and ``latency_seconds`` of
    that alone; ``bare_exchange_seconds`` of the exchange without a step; ``contention_seconds``,
    what a step without exchange takes longer than on one rank a host while the others sleep, on
    average over these ranks.
    """
    timings = by_timing(ranks).groupby([*_RUN, "phase", "interval", "timing"], sort=False)
    each = timings.agg(
        steps=("steps", "first"), slowest=("seconds", "max"), mean=("seconds", "mean")
    )
    sums = each.groupby([*_RUN, "phase"], sort=False).sum()
    a_step = sums.div(sums["steps"], axis=0)
    columns = {
        "compute_seconds": (PHASE_NO_EXCHANGE, "slowest"),
        "mean_compute_seconds": (PHASE_NO_EXCHANGE, "mean"),
        "met_seconds": (PHASE_ONE_ELEMENT, "slowest"),
        "latency_seconds": (PHASE_LATENCY, "slowest"),
        "bare_exchange_seconds": (PHASE_EXCHANGE, "slowest"),
    }
    found = {
        name: a_step[statistic].xs(phase, level="phase")
        for name, (phase, statistic) in columns.items()
        if phase in a_step.index.get_level_values("phase")
    }
    of_ranks = ranks.groupby(["phase", *_RUN, "rank"], sort=False)[["seconds", "steps"]].sum()
    of_rank = of_ranks["seconds"] / of_ranks["steps"]
    together, alone = (
        of_rank.xs(phase) if phase in of_rank.index.get_level_values("phase") else of_rank[:0]
        for phase in (PHASE_NO_EXCHANGE, PHASE_ALONE)
    )
    typical = together.groupby(_RUN, sort=False).quantile(0.5, interpolation="lower")
    contention = (together - alone).groupby(_RUN, sort=False).mean() if len(alone) else np.nan
    runs = pd.MultiIndex.from_frame(ranks[_RUN].drop_duplicates())
    return pd.DataFrame(
        found | {"typical_compute_seconds": typical, "contention_seconds": contention}, index=runs
    ).reindex(columns=[*columns, "typical_compute_seconds", "contention_seconds"])


def slow_rank(ranks: pd.DataFrame, hosts: dict[tuple[str, str], list[str]]) -> dict[str, object]:
    """Of the intervals without exchange in ``ranks``, all of one device count, whether one rank is
    slower than chance makes one.

    ``rank`` and ``host`` (both missing where none is; ``hosts`` are the runs' by rank), ``excess``
    over the median rank as a share, ``slowest`` in so many of ``intervals``.

    Each rank is the slowest as often as the others where they do not differ; how often the one that
    is it most often would be by chance is a binomial tail, times the number of ranks (Bonferroni).
    """
    free = by_timing(ranks[ranks["phase"] == PHASE_NO_EXCHANGE])
    nothing: dict[str, object] = {"rank": None, "host": "", "excess": math.nan}
    if free.empty or free["rank"].nunique() < 2:
        return nothing | {"slowest": 0, "intervals": 0}
    wide = free.pivot_table(
        index=[*_RUN, "interval", "timing"], columns="rank", values="seconds"
    ).dropna()
    slowest = wide.idxmax(axis=1)
    rank, times = slowest.value_counts().index[0], int(slowest.value_counts().iloc[0])
    counted = {"slowest": times, "intervals": len(wide)}
    if wide.shape[1] * _tail(times, len(wide), 1 / wide.shape[1]) >= CHANCE:
        return nothing | counted
    others = wide.drop(columns=rank).median(axis=1)
    of_runs = [hosts.get((str(sweep), str(run)), []) for sweep, run, *_ in wide.index]
    names = {names[int(rank)] for names in of_runs if rank < len(names)}
    return {
        "rank": int(rank),
        "host": ", ".join(sorted(names)),
        "excess": float(np.median(wide[rank] / others) - 1),
    } | counted


def _tail(at_least: int, of: int, chance: float) -> float:
    """How likely so many hits or more are."""
    return sum(
        math.comb(of, hits) * chance**hits * (1 - chance) ** (of - hits)
        for hits in range(at_least, of + 1)
    )
