"""Whether logarithms look normal, where an interval takes them to be."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from hpcbench.analysis.estimates import ENOUGH_RUNS
from hpcbench.analysis.load import POINT, SERIES

SIGNIFICANT = 0.05
# A range of logarithms that rounding alone makes.
EXACT = 1e-12


@dataclass(frozen=True)
class Normality:
    """How many of ``points`` tested look other than normal at 5 %, and how many were not tested
    for having too few runs, or runs that all agree."""

    points: int
    doubtful: int
    untested: int

    @property
    def by_chance(self) -> float:
        """How many of the points would look so if all were normal."""
        return SIGNIFICANT * self.points


def check_normality(runs: pd.DataFrame) -> Normality:
    """Shapiro and Wilk's test (Biometrika 52, 1965), a test a point beyond its base, of the
    logarithms of its runs' speedups: of ratios within repeats, or of rates where repeats were no
    blocks. ``runs`` as ``with_speedups`` gives."""
    beyond = runs[runs["devices"] > runs.groupby(SERIES)["devices"].transform("min")]
    beyond = beyond[beyond["speedup"].notna()]
    logs = np.log(beyond["speedup"])
    points = [group for _, group in logs.groupby([beyond[name] for name in POINT])]
    tested = [
        stats.shapiro(point).pvalue
        for point in points
        if len(point) >= ENOUGH_RUNS and np.ptp(point) > EXACT
    ]
    return Normality(len(tested), sum(p < SIGNIFICANT for p in tested), len(points) - len(tested))
