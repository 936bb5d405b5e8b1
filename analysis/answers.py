"""Everything that the runs of a folder answer, worked out once for figures and report."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from cautions import cautions
from hpcbench.records.reader import Results
from laws import Fit, fits, law_table
from observations import Observations, observe
from quality import accuracy_curves, accuracy_table
from scaling import largest_efficient, scaling_table, with_failures


@dataclass(frozen=True)
class Answers:
    """Tables as their functions describe them; ``points`` are those with a complete run,
    ``every_point`` also those of which all runs failed; ``doubts`` in words."""

    results: Results
    observed: Observations
    points: pd.DataFrame
    every_point: pd.DataFrame
    largest: pd.DataFrame
    accuracy: pd.DataFrame
    curves: pd.DataFrame
    fits: dict[tuple[object, ...], Fit]
    laws: pd.DataFrame
    doubts: list[str]


def answer(results: Results, allow_mixed: Sequence[str], target: float | None) -> Answers:
    """Raises ConfigError for a column that cannot be mixed."""
    observed = observe(results, allow_mixed)
    points = scaling_table(observed.runs)
    fitted = fits(observed.runs)
    return Answers(
        results=results,
        observed=observed,
        points=points,
        every_point=with_failures(points, results.failed),
        largest=largest_efficient(points),
        accuracy=accuracy_table(observed.epochs, target),
        curves=accuracy_curves(observed.epochs),
        fits=fitted,
        laws=law_table(observed.runs, fitted),
        doubts=[*cautions(points, observed.runs), *observed.apart],
    )
