"""What was timed beside training: seconds a step of each phase, and which rank was slow."""

import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special, stats

from hpcbench.records.identity import RUN
from hpcbench.records.schema import (
    PHASE_ALONE,
    PHASE_BACKWARD,
    PHASE_DATA,
    PHASE_EXCHANGE,
    PHASE_EXPOSED,
    PHASE_FORWARD,
    PHASE_LATENCY,
    PHASE_NO_EXCHANGE,
    PHASE_ONE_BATCH,
    PHASE_ONE_ELEMENT,
    PHASE_OWN,
    PHASE_TRAIN,
)

# Columns of phase_seconds that are of whole timings: of which phase, and by which rank.
BY_TIMING = {
    "compute_seconds": (PHASE_NO_EXCHANGE, "slowest"),
    "mean_compute_seconds": (PHASE_NO_EXCHANGE, "mean"),
    "met_seconds": (PHASE_ONE_ELEMENT, "slowest"),
    "latency_seconds": (PHASE_LATENCY, "slowest"),
    "bare_exchange_seconds": (PHASE_EXCHANGE, "slowest"),
    "exposed_seconds": (PHASE_EXPOSED, "slowest"),
    "trained_seconds": (PHASE_TRAIN, "slowest"),
}
# And those of the median rank, of two the faster.
BY_RANK = {
    "typical_compute_seconds": PHASE_NO_EXCHANGE,
    "forward_seconds": PHASE_FORWARD,
    "backward_seconds": PHASE_BACKWARD,
    "own_seconds": PHASE_OWN,
}
# Those that one device has too; the last of programs.
OF_ONE = [
    *("input_seconds", "background_seconds"),
    *("forward_seconds", "backward_seconds", "own_seconds", "exposed_seconds", "trained_seconds"),
]
COLUMNS = [
    *(*BY_TIMING, *BY_RANK),
    *("rank_compute_seconds", "input_seconds", "contention_seconds", "background_seconds"),
]
# Phases of one process's work by itself, which is longer by all that its own background threads
# take; where ranks meet, each is by what the threads of all do.
_BY_ITSELF = (PHASE_NO_EXCHANGE, PHASE_ONE_BATCH, PHASE_ALONE)
# By which a rank is told to be slow, in words.
SHOWS_SLOW_RANKS = {
    PHASE_NO_EXCHANGE: "intervals without exchange",
    PHASE_OWN: "intervals less the exchange",
    PHASE_FORWARD: "forward passes",
}
# Of programs: in which part of its time it is so.
PARTS_OF_RANKS = {
    PHASE_DATA: "waiting for data",
    PHASE_FORWARD: "in the forward pass",
    PHASE_BACKWARD: "in the backward pass",
}
# A rank is called slow where chance would make one of them as often the slowest in fewer than so
# many of all cases.
CHANCE = 0.05
# Of fewer nothing is said about their course.
FEWEST_TIMINGS = 6


def by_timing(ranks: pd.DataFrame) -> pd.DataFrame:
    """``ranks``, with the columns of ``RankRow``, and two more: ``part``, a number for each phase
    of each run, and ``timing``, which of several timings of a phase after the same training
    interval a row is of."""
    # Numbers group several times as fast as names, and these faster as plain objects.
    names = [ranks[name].to_numpy(object) for name in (*RUN, "phase")]
    part = ranks.groupby(names, sort=False).ngroup()
    timing = ranks.groupby([part, "interval", "rank"], sort=False).cumcount()
    return ranks.assign(part=part, timing=timing)


def phase_seconds(ranks: pd.DataFrame) -> pd.DataFrame:
    """A row a run, by sweep and run id; seconds a step, missing where not measured.

    ``compute_seconds`` and ``mean_compute_seconds`` without the exchange and what background
    threads took of it, by the slowest rank of each interval and on average over ranks, and
    ``typical_compute_seconds`` by the median rank, of two the faster; ``rank_compute_seconds``, the
    mean again where several ranks were timed; ``met_seconds`` with an exchange of a single element,
    less background threads too, and ``latency_seconds`` of that alone; ``bare_exchange_seconds`` of
    the exchange without a step; ``input_seconds``, what a step without exchange takes longer than
    on one batch that is at hand, by the median rank as above; ``contention_seconds``, what a step
    on one batch takes longer than on one rank a host while the others sleep, on average over these
    ranks, or before schema 5 a step without exchange; ``background_seconds``, what of a step the
    process's own threads took that work unasked, on average over ranks. Runs on one device have
    this and ``input_seconds`` alone. Of programs, by the median rank as above, ``forward_seconds``
    in the forward pass, ``backward_seconds`` in the backward pass but for the exchange, and
    ``own_seconds`` in all but the exchange and waiting in it; ``exposed_seconds`` of the exchange.
    ``trained_seconds`` are those of training itself, by the slowest rank.
    """
    timed = by_timing(ranks)
    timed["seconds"] -= _own_background(timed)
    parts = timed.drop_duplicates("part").set_index("part")[[*RUN, "phase"]]
    each = timed.groupby(["part", "interval", "timing"], sort=False).agg(
        steps=("steps", "first"), slowest=("seconds", "max"), mean=("seconds", "mean")
    )
    sums = each.groupby("part", sort=False).sum()
    a_step = parts.join(sums.div(sums["steps"], axis=0)).set_index([*RUN, "phase"])
    found = {
        name: a_step[statistic].xs(phase, level="phase")
        for name, (phase, statistic) in BY_TIMING.items()
        if phase in a_step.index.get_level_values("phase")
    }
    of_ranks = timed.groupby(["part", "rank"], sort=False)[["seconds", "steps"]].sum()
    of_rank = (of_ranks["seconds"] / of_ranks["steps"]).rename("seconds").reset_index()
    of_rank = of_rank.join(parts, on="part").set_index([*RUN, "rank"])
    without, one_batch, alone = (
        of_rank.loc[of_rank["phase"] == phase, "seconds"]
        for phase in (PHASE_NO_EXCHANGE, PHASE_ONE_BATCH, PHASE_ALONE)
    )
    beside_others = one_batch.combine_first(without)
    found |= {name: _typical(of_rank, phase) for name, phase in BY_RANK.items()}
    found |= {
        "input_seconds": found["typical_compute_seconds"] - _typical(of_rank, PHASE_ONE_BATCH),
        "contention_seconds": (beside_others - alone).groupby(RUN, sort=False).mean(),
        "background_seconds": _background(timed, parts),
    }
    runs = pd.MultiIndex.from_frame(parts[RUN].drop_duplicates())
    table = pd.DataFrame(found, index=runs).reindex(columns=COLUMNS)
    several = without.groupby(RUN, sort=False).size() > 1
    return table.assign(rank_compute_seconds=table["mean_compute_seconds"].where(several))


def _typical(of_rank: pd.DataFrame, phase: str) -> "pd.Series[float]":
    """Seconds a step by the median rank, of two the faster, by RUN."""
    seconds = of_rank.loc[of_rank["phase"] == phase, "seconds"]
    found: pd.Series[float] = seconds.groupby(RUN, sort=False).quantile(0.5, interpolation="lower")
    return found


def _own_background(timed: pd.DataFrame) -> "pd.Series[float]":
    """What background threads took of each row's seconds; of training itself nothing is told."""
    background, phase = timed["background_seconds"].fillna(0), timed["phase"]
    timings = [timed[name] for name in ("part", "interval", "timing")]
    of_all = background.groupby(timings, sort=False).transform("mean")
    return of_all.where(phase == PHASE_ONE_ELEMENT, background.where(phase.isin(_BY_ITSELF), 0))


def _background(timed: pd.DataFrame, parts: pd.DataFrame) -> "pd.Series[float]":
    """Seconds a step, by RUN: the least of training, of steps without the exchange, and of those in
    which ranks only meet.

    They take not the same of each. Threads through which ranks agree take longer to while these run
    free, and even where they only meet (Horovod's, on cores that compute); those that always work
    take what a rank does not need while it waits; and what they take of training alone can be the
    exchange's work.
    """
    sums = timed.groupby("part", sort=False)[["background_seconds", "steps"]].sum(min_count=1)
    a_step = parts.assign(seconds=sums["background_seconds"] / sums["steps"])
    # Only of runs that time steps without the exchange it is known what else a step has.
    free = a_step.loc[a_step["phase"] == PHASE_NO_EXCHANGE, RUN]
    compared = a_step[a_step["phase"].isin((PHASE_NO_EXCHANGE, PHASE_ONE_ELEMENT, PHASE_TRAIN))]
    least: pd.Series[float] = compared.groupby(RUN, sort=False)["seconds"].min()
    return least.reindex(pd.MultiIndex.from_frame(free))


def slow_rank(ranks: pd.DataFrame, hosts: dict[tuple[str, str], list[str]]) -> dict[str, object]:
    """Of the intervals without exchange in ``ranks``, all of one device count, or of the first kind
    of :data:`SHOWS_SLOW_RANKS` that is there, whether one rank is slower than chance makes one.

    ``of`` which; ``rank`` and ``host`` (both missing where none is; ``hosts`` are the runs' by
    rank), ``excess``
    over the median of the others as a share, ``slowest`` in so many of ``intervals``. Where the
    excess grows in the course of a run, as where a device gets hot, ``excess_at_start`` and
    ``excess_at_end`` of the first and the last third of it; else they are missing. ``mostly`` is
    one of :data:`PARTS_OF_RANKS` in words, by ``mostly_seconds`` a step, where that is half of the
    excess or more; else empty.
    """
    own_work = next((p for p in SHOWS_SLOW_RANKS if (ranks["phase"] == p).any()), PHASE_NO_EXCHANGE)
    found: dict[str, object] = {"rank": None, "host": "", "of": SHOWS_SLOW_RANKS[own_work]}
    found |= dict.fromkeys(("excess", "excess_at_start", "excess_at_end"), math.nan)
    found |= {"mostly": "", "mostly_seconds": math.nan}
    wide = _by_rank(ranks, own_work)
    # Of few iterations that were looked at, nothing may be left.
    wide = wide[(wide > 0).all(axis=1)]
    if wide.empty or wide.shape[1] < 2:
        return found | {"slowest": 0, "intervals": 0}
    slowest = wide.idxmax(axis=1).value_counts()
    rank = _growing(wide)
    grows = rank is not None
    if rank is None:
        rank = _most_often_slowest(slowest, wide.shape[1])
    often = slowest.index[0] if rank is None else rank
    found |= {"slowest": int(slowest.get(often, 0)), "intervals": len(wide)}
    if rank is None:
        return found
    excess = _excess(wide, rank)
    of_runs = [hosts.get((str(sweep), str(run)), []) for sweep, run, *_ in wide.index]
    names = {names[rank] for names in of_runs if rank < len(names)}
    found |= {"rank": rank, "host": ", ".join(sorted(names)), "excess": float(excess.median())}
    if grows:
        course = _course(wide)
        found["excess_at_start"] = float(excess[course <= 1 / 3].median())
        found["excess_at_end"] = float(excess[course >= 2 / 3].median())
    if own_work != PHASE_NO_EXCHANGE:
        found |= _mostly(ranks, rank, _longer(wide, rank))
    return found


def _by_rank(ranks: pd.DataFrame, phase: str) -> pd.DataFrame:
    """Seconds a step: a row a timing that all ranks took part in, a column a rank."""
    of_phase = by_timing(ranks[ranks["phase"] == phase])
    of_phase["seconds"] /= of_phase["steps"]
    timings = [*RUN, "interval", "timing"]
    return of_phase.pivot(index=timings, columns="rank", values="seconds").dropna()


def _longer(wide: pd.DataFrame, rank: int) -> float:
    """Seconds a step by which ``rank`` takes longer than the median of the others."""
    return float((wide[rank] - wide.drop(columns=rank).median(axis=1)).median())


def _mostly(ranks: pd.DataFrame, rank: int, longer: float) -> dict[str, object]:
    """In which part of its time ``rank`` takes ``longer``."""
    parts = {}
    for phase, words in PARTS_OF_RANKS.items():
        wide = _by_rank(ranks, phase)
        if rank in wide and wide.shape[1] > 1:
            parts[words] = _longer(wide, rank)
    most = max(parts, key=parts.__getitem__, default="")
    if not most or parts[most] < longer / 2:
        return {}
    return {"mostly": most, "mostly_seconds": parts[most]}


def _excess(wide: pd.DataFrame, rank: int) -> pd.Series:
    """Of each timing, what ``rank`` takes beyond the median of the others, as a share."""
    return wide[rank] / wide.drop(columns=rank).median(axis=1) - 1


def _course(wide: pd.DataFrame) -> pd.Series:
    """When each timing was taken, from 0 for the first of a run to 1 for its last."""
    place = wide.groupby(RUN).cumcount()
    return place / place.groupby(RUN).transform("max").clip(lower=1)


def _most_often_slowest(slowest: pd.Series, ranks: int) -> int | None:
    """The rank that is so more often than chance makes one, by the number of times that each is.

    Each rank is the slowest as often as the others where they do not differ; how often the one that
    is it most often would be by chance is a binomial tail, times the number of ranks (Bonferroni).
    """
    by_chance = special.bdtrc(slowest.iloc[0] - 1, slowest.sum(), 1 / ranks)
    return int(slowest.index[0]) if ranks * by_chance < CHANCE else None


def _growing(wide: pd.DataFrame) -> int | None:
    """The rank whose excess grows most surely in the course of runs, and whose time does; by
    Spearman's rank correlation within runs, times the number of ranks (Bonferroni)."""
    course = _course(wide)
    # Each run's mean is taken off, and the slope.
    freedom = len(wide) - wide.groupby(RUN).ngroups - 1
    if len(wide) < FEWEST_TIMINGS or freedom < 1 or course.nunique() < 2:
        return None
    excess = pd.DataFrame(
        wide.to_numpy() / _median_of_others(wide.to_numpy()) - 1, wide.index, wide.columns
    )
    within, longer = (
        (each - each.groupby(RUN).transform("mean")).to_numpy() for each in (excess, wide)
    )
    # Those of one rank that do not vary have no correlation, and do not grow.
    with np.errstate(invalid="ignore", divide="ignore"):
        grows = _correlations(course.to_numpy(), longer) > 0
        surely = _correlations(stats.rankdata(course), stats.rankdata(within, axis=0))
        chances = special.stdtr(freedom, -surely * np.sqrt(freedom / (1 - surely**2)))
    for place in np.argsort(chances):
        rank = int(wide.columns[place])
        if not chances[place] < CHANCE / wide.shape[1]:
            return None
        if grows[place] and _ends_slowest(wide, course, rank):
            return rank
    return None


def _median_of_others(times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each row and column the median of the other columns."""
    ordered = np.sort(times, axis=1)
    places = times.argsort(axis=1).argsort(axis=1)
    others = times.shape[1] - 1
    low, high = (others - 1) // 2, others // 2

    def without_own(place: int) -> NDArray[np.float64]:
        return np.where(places <= place, ordered[:, [place + 1]], ordered[:, [place]])

    return (without_own(low) + without_own(high)) / 2


def _correlations(one: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pearson's, of ``one`` with each of the columns."""
    one, columns = one - one.mean(), columns - columns.mean(axis=0)
    together: NDArray[np.float64] = one @ columns
    return together / np.sqrt((one**2).sum() * (columns**2).sum(axis=0))


def _ends_slowest(wide: pd.DataFrame, course: pd.Series, rank: int) -> bool:
    """Whether it is the slowest at the end, in the median; where there are two, one rank's getting
    slower is the other's getting faster."""
    return bool(wide[course >= 2 / 3].median().idxmax() == rank)
