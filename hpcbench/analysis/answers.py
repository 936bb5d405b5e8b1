"""Everything that the runs of a folder answer, worked out once for figures and report."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from hpcbench.analysis.accuracy import accuracy_curves, accuracy_table
from hpcbench.analysis.collectives import Collectives
from hpcbench.analysis.exchange import exchange_table
from hpcbench.analysis.extrapolation import FARTHEST, Extrapolation, extrapolations, law_table
from hpcbench.analysis.load import Observations, observe
from hpcbench.analysis.loss import MARGIN
from hpcbench.analysis.normality import Normality, check_normality
from hpcbench.analysis.printed import printed_rates
from hpcbench.analysis.scaling import (
    largest_efficient,
    scaling_table,
    with_failures,
    with_speedups,
)
from hpcbench.analysis.tails import rank_tails, tail_table
from hpcbench.analysis.validity import Caution, cautions, ranked, unfinished
from hpcbench.analysis.why import why_table
from hpcbench.records.reader import Results


@dataclass(frozen=True)
class Answers:
    """Tables as their functions describe them, each worked out when it is first asked for, so that
    figures can be drawn while the others are.

    ``points`` are those with a complete run, ``every_point`` also those of which all runs failed;
    ``runs`` are the observed ones with their speedups; ``cautions`` are the most serious first.
    """

    results: Results
    observed: Observations
    points: pd.DataFrame
    every_point: pd.DataFrame
    runs: pd.DataFrame
    curves: pd.DataFrame
    extrapolations: dict[tuple[object, ...], Extrapolation]
    collectives: Collectives
    target: float | None
    margin: float
    left: int

    @cached_property
    def why(self) -> pd.DataFrame:
        results = self.results
        return why_table(self.points, self.observed.runs, results.ranks, results.runs)

    @cached_property
    def largest(self) -> pd.DataFrame:
        return largest_efficient(self.points)

    @cached_property
    def tails(self) -> pd.DataFrame:
        return tail_table(self.results.throughput, self.observed.runs)

    @cached_property
    def rank_tails(self) -> pd.DataFrame:
        return rank_tails(self.results.ranks, self.observed.runs, self.results.runs)

    @cached_property
    def normality(self) -> Normality:
        return check_normality(self.runs)

    @cached_property
    def accuracy(self) -> pd.DataFrame:
        return accuracy_table(self.observed.epochs, self.target, self.margin)

    @cached_property
    def laws(self) -> pd.DataFrame:
        return law_table(self.observed.runs, self.extrapolations)

    @cached_property
    def cautions(self) -> list[Caution]:
        points, runs = self.points, self.observed.runs
        found = ranked([*printed_rates(points, runs), *cautions(points, runs)])
        return [*unfinished(self.left), *found]

    @cached_property
    def exchange(self) -> pd.DataFrame:
        return exchange_table(self.observed.runs, self.results.runs, self.collectives)


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
    points, every_point = points_of(results, observed)
    return Answers(
        results=results,
        observed=observed,
        points=points,
        every_point=every_point,
        runs=with_speedups(observed.runs),
        curves=accuracy_curves(observed.epochs),
        extrapolations=extrapolations(observed.runs, farthest),
        collectives=collectives or Collectives(),
        target=target,
        margin=margin,
        left=left,
    )
