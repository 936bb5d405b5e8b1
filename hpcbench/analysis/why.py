"""Why a point loses: a step's time beyond the base's, by cause, and the rank to look at."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from hpcbench.analysis.estimates import ENOUGH_RUNS
from hpcbench.analysis.load import POINT, SERIES, Row, hosts_of
from hpcbench.analysis.phases import PARTS_OF_RANKS, SHOWS_SLOW_RANKS, slow_rank
from hpcbench.analysis.scaling import OF_PROGRAMS, PLAUSIBLE
from hpcbench.analysis.step_time import PARTS, parts_of, timed_apart
from hpcbench.records.identity import RUN
from hpcbench.words import significant

IN_WORDS = {
    "extra_data": "waiting for data",
    "extra_forward": "slower forward pass",
    "extra_backward": "slower backward pass",
    "extra_waiting": "waiting for other ranks",
    "extra_exchange": "gradient exchange",
}
CAUSES = dict(IN_WORDS)
CAUSES |= {name: words for name, words in PARTS.items() if name != "base_compute"}
# Of a step; what costs less is not worth a sentence.
LEAST_SHARE = 0.01
FACTS = (
    "subject",
    "line",
    "devices",
    "runs",
    "base_runs",
    "step_seconds",
    "serialization_efficiency",
)


def why_table(
    points: pd.DataFrame,
    runs: pd.DataFrame,
    ranks: pd.DataFrame,
    documents: Iterable[dict[str, Any]],
) -> pd.DataFrame:
    """A row a point beyond its base whose steps were timed without the exchange too, or of which
    a part is known as it is of programs.

    SERIES, ``subject``, ``line``, ``devices``, ``runs``, ``base_runs``,
    ``serialization_efficiency`` and ``step_seconds``; ``loss_seconds``, ``loss_share`` and of each
    of :data:`CAUSES` its ``_seconds`` with ``_low`` and ``_high``, missing where not measured;
    ``rest_seconds``, what they leave of the loss: of steps that were timed apart only because
    medians are taken of each, of others with ``_low`` and ``_high``; ``blamed``, a list
    of the causes whose interval lies above zero and that take 1 % of a step or more, the largest
    first, and ``unmeasured``, a list of causes; and what :func:`slow_rank` tells of ranks.
    """
    beyond = (points["devices"] > points["base_devices"]) & points["step_seconds"].notna()
    points = points[beyond]
    apart = timed_apart(points).index
    of_programs = points[[f"{name}_seconds" for name in OF_PROGRAMS]].notna().any(axis=1)
    known = points[points.index.isin(apart) | of_programs]
    hosts = hosts_of(documents)
    of_points = _ranks_of_points(ranks, runs)
    rows = []
    for index, point in zip(known.index, known.to_dict("records"), strict=True):
        # What is measured of programs in another way than of this project's own loop.
        other_way = OF_PROGRAMS if index in apart else ("extra_input", "waiting", "exchange")
        causes = {name: float(point[f"{name}_seconds"]) for name in CAUSES}
        measured = {name: value for name, value in causes.items() if not math.isnan(value)}
        of_point = of_points.get(tuple(point[name] for name in POINT), ranks[:0])
        blamed = [
            name
            for name, value in sorted(measured.items(), key=lambda item: -item[1])
            if point[f"{name}_seconds_low"] > 0 and value >= LEAST_SHARE * point["step_seconds"]
        ]
        rows.append(
            {name: point[name] for name in (*SERIES, *FACTS)}
            | {
                f"{name}{end}": point[f"{name}{end}"]
                for name in ("loss_seconds", "loss_share", *map("{}_seconds".format, CAUSES))
                for end in ("", "_low", "_high")
            }
            | {
                "blamed": blamed,
                "unmeasured": [
                    name for name in CAUSES if name not in measured and name not in other_way
                ],
            }
            | _rest(point, measured, index in apart)
            | slow_rank(of_point, hosts)
        )
    return pd.DataFrame(rows)


def _rest(point: Row, measured: Mapping[str, float], apart: bool) -> dict[str, float]:
    names = ("rest_seconds", "rest_seconds_low", "rest_seconds_high")
    if apart:
        left = float(point["loss_seconds"]) - sum(measured.values())
        return dict(zip(names, (left, math.nan, math.nan), strict=True))
    return {name: float(point[name]) for name in names}


def _ranks_of_points(
    ranks: pd.DataFrame, runs: pd.DataFrame
) -> dict[tuple[object, ...], pd.DataFrame]:
    """The rows of ``ranks`` that tell of slow ranks, by POINT."""
    phases = [*SHOWS_SLOW_RANKS, *PARTS_OF_RANKS]
    telling = ranks[ranks["phase"].isin(phases)] if len(ranks) else ranks[:0]
    if telling.empty:
        return {}
    points = {tuple(key): group[RUN] for key, group in runs.groupby(POINT, sort=False)}
    numbers = pd.concat([of_one.assign(point=n) for n, of_one in enumerate(points.values())])
    found = dict(list(telling.merge(numbers, on=RUN).groupby("point", sort=False)))
    return {key: found[n] for n, key in enumerate(points) if n in found}


def sentence(row: Row) -> str:
    """A row of :func:`why_table` for a reader."""
    milliseconds = 1e3 * row["loss_seconds"]
    share = 100 * row["loss_share"]
    where = f"{row['line']} on {row['devices']} devices"
    if row["runs"] < 2:
        return f"{where}: a single run is not enough to explain the step time; repeat it."
    lost = (
        f"a step takes {significant(1e3 * row['step_seconds'])} ms, {significant(milliseconds)} ms "
        f"({share:.0f} %) longer than at the base"
        if row["loss_seconds"] > 0
        else f"a step takes {significant(1e3 * row['step_seconds'])} ms, no longer than at the base"
    )
    parts = [
        f"{named(row, name)} {significant(1e3 * row[f'{name}_seconds'])} ms{_interval(row, name)}"
        for name in row["blamed"]
    ]
    reasons = ", ".join(parts) if parts else "no cause is distinguishable from noise"
    unmeasured = ", ".join(CAUSES[name] for name in row["unmeasured"])
    # What steps that only meet take longer than whole ones stands with the exchange, below zero.
    beyond = -row["exchange_seconds"] > (PLAUSIBLE - 1) * row["step_seconds"]
    too_much = (
        f"; these are too much by {significant(-1e3 * row['exchange_seconds'])} ms, by which steps "
        f"in which ranks only meet took longer than whole ones"
    )
    return (
        f"{where}: {lost}: {reasons}{too_much if parts and beyond else ''}"
        f"{f'; not measured: {unmeasured}' if unmeasured else ''}.{_of_rank(row)}"
    )


def named(row: Row, cause: str) -> str:
    """One of :data:`CAUSES` in words, with what it may hold that was not timed apart."""
    return (CAUSES | parts_of(row))[cause]


def _interval(row: Row, name: str) -> str:
    """Of a cause, where there are runs enough for one to be believed out of context."""
    if min(row["runs"], row["base_runs"]) < ENOUGH_RUNS:
        return ""
    low, high = (1e3 * row[f"{name}_seconds_{end}"] for end in ("low", "high"))
    return f" [{significant(low)}, {significant(high)}]"


def _of_rank(row: Row) -> str:
    said = slow_rank_in_words(row)
    if said:
        return f" {said}."
    if {"waiting", "extra_waiting"} & set(row["blamed"]) and row["intervals"]:
        return (
            f" No single rank is consistently slow: the one that is slowest most often is so in "
            f"{row['slowest']} of {row['intervals']} {row['of']}."
        )
    return ""


def slow_rank_in_words(row: Row) -> str:
    """Which rank is slower than the others, and by how much; empty where none is."""
    if row["rank"] is None or math.isnan(row["rank"]):
        return ""
    host = f" ({row['host']})" if row["host"] else ""
    mostly = (
        f", mostly {row['mostly']}: {significant(1e3 * row['mostly_seconds'])} ms a step longer"
        if row["mostly"]
        else ""
    )
    if not math.isnan(row["excess_at_end"]):
        start, end = (
            f"{significant(100 * row[f'excess_at_{when}'])} %" for when in ("start", "end")
        )
        return (
            f"Rank {row['rank']:.0f}{host} becomes slower in the course of a run: in {row['of']} "
            f"{start} above the others' median at its beginning, {end} at its end{mostly}"
        )
    return (
        f"Rank {row['rank']:.0f}{host} is the slowest in {row['slowest']} of {row['intervals']} "
        f"{row['of']}, {significant(100 * row['excess'])} % above the others' median{mostly}"
    )
