"""Everything that the runs of a folder answer, worked out once for figures and report."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from hpcbench.analysis.accuracy import accuracy_curves, accuracy_table
from hpcbench.analysis.collectives import Collectives
from hpcbench.analysis.exchange import exchange_table
from hpcbench.analysis.extrapolation import FARTHEST, Extrapolation, extrapolations, law_table
from hpcbench.analysis.load import Observations, observe
from hpcbench.analysis.loss import MARGIN
from hpcbench.analysis.normality import Normality, check_normality
from hpcbench.analysis.scaling import (
    largest_efficient,
    scaling_table,
    with_failures,
    with_speedups,
)
from hpcbench.analysis.tails import rank_tails, tail_table
from hpcbench.analysis.validity import Caution, cautions, unfinished
from hpcbench.analysis.why import why_table
from hpcbench.records.reader import Results


@dataclass(frozen=True)
class Answers:
    """Tables as their functions describe them; ``points`` are those with a complete run,
    ``every_point`` also those of which all runs failed; ``runs`` are the observed ones with their
    speedups; ``cautions`` are the gravest first."""

    results: Results
    observed: Observations
    runs: pd.DataFrame
    points: pd.DataFrame
    every_point: pd.DataFrame
    why: pd.DataFrame
    largest: pd.DataFrame
    tails: pd.DataFrame
    rank_tails: pd.DataFrame
    normality: Normality
    accuracy: pd.DataFrame
    curves: pd.DataFrame
    extrapolations: dict[tuple[object, ...], Extrapolation]
    laws: pd.DataFrame
    cautions: list[Caution]
    collectives: Collectives
    exchange: pd.DataFrame


def points_of(results: Results, observed: Observations) -> tuple[pd.DataFrame, pd.DataFrame]:
    """``points`` and ``every_point`` of :class:`Answers`."""
    points = scaling_table(observed.runs)
    return points, with_failures(points, results.failed)


def answer(
    results: Results,
    allow_mixed: Sequence[str],
    target: float | None,
    farthest: float = FARTHEST,
    margin: float = MARGIN,
    collectives: Collectives | None = None,
    left: int = 0,
) -> Answers:
    """Laws go to at most ``farthest`` times the largest count; ``margin`` is the share of the final
    metric whose loss would not matter; ``collectives`` lie beside the runs, of which so many are
    ``left`` to make. Raises ConfigError for a column that cannot be mixed."""
    observed = observe(results, allow_mixed)
    measured = collectives or Collectives()
    points, every_point = points_of(results, observed)
    runs = with_speedups(observed.runs)
    extrapolated = extrapolations(observed.runs, farthest)
    return Answers(
        results=results,
        observed=observed,
        runs=runs,
        points=points,
        every_point=every_point,
        why=why_table(points, observed.runs, results.ranks, results.runs),
        largest=largest_efficient(points),
        tails=tail_table(results.throughput, observed.runs),
        rank_tails=rank_tails(results.ranks, observed.runs, results.runs),
        normality=check_normality(runs),
        accuracy=accuracy_table(observed.epochs, target, margin),
        curves=accuracy_curves(observed.epochs),
        extrapolations=extrapolated,
        laws=law_table(observed.runs, extrapolated),
        cautions=[*unfinished(left), *cautions(points, observed.runs)],
        collectives=measured,
        exchange=exchange_table(observed.runs, results.runs, measured),
    )
