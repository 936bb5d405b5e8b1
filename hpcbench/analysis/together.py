"""The change of all points together: pure functions.

They are compared by the units in which the sweeps were measured: sweeps where there are several a
side, else repeats. What slows a whole unit makes its points no independent observations. A unit is
the Hodges-Lehmann estimate over its points of their log rates, aligned by point (Hodges and
Lehmann, Annals of Mathematical Statistics 33(2), 1962), and units are compared with Student's t.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import special, stats

from hpcbench.analysis.ratios import Method, Values, reach
from hpcbench.analysis.verdicts import ERROR, SLOWER, UNTOLD, detectable, verdict_of

# Points disagree plainly where they would by chance in one of a hundred comparisons.
DISAGREE = 0.01


@dataclass(frozen=True)
class Common:
    """The change of all points together, as shares, with a 95 % interval over ``units`` a side.

    ``agreement`` is the p value of the points' having one change. Where they plainly have not
    (:attr:`agree` is False) the numbers mean nothing; the verdict "slower" then says that not all
    points are above the threshold, and there is no other.
    """

    change: float
    low: float
    high: float
    verdict: str
    detectable: float
    agreement: float
    units: tuple[int, int]

    @property
    def agree(self) -> bool:
        return self.agreement >= DISAGREE


def by_unit(found: pd.DataFrame) -> tuple[Values, Values]:
    """Log rates of ``observations`` in OLD and NEW, of shape (points, units), missing where a unit
    lacks a point; a unit's median where it has several."""
    rates = found.pivot_table(
        index="point", columns=["side", "unit"], values="rate", aggfunc="median"
    )
    return np.log(rates["old"].to_numpy(float)), np.log(rates["new"].to_numpy(float))


def common_change(old: Values, new: Values, method: Method, threshold: float) -> Common | None:
    """The change of all points of :func:`by_unit` together; None of fewer than two points."""
    if len(old) < 2:
        return None
    centre = (np.nanmean(old, axis=1) + np.nanmean(new, axis=1)) / 2
    old, new = old - centre[:, None], new - centre[:, None]
    before, after = (np.array([pseudomedian(unit) for unit in side.T]) for side in (old, new))
    low, middle, high = method.interval(before, after, ERROR)
    bound = float(np.log1p(-threshold))
    farthest = float(method.spread(before, after)) * reach(method, len(before), len(after), ERROR)
    agreement = agreement_of(old, new)
    verdict = verdict_of(low, low, high, bound)
    # Where every ratio is above the bound, units of OLD and NEW are at least as far apart as where
    # all are at it, so that this verdict needs no agreement.
    told = agreement >= DISAGREE or verdict == SLOWER
    return Common(
        change=float(np.expm1(middle)),
        low=float(np.expm1(low)),
        high=float(np.expm1(high)),
        verdict=verdict if told else UNTOLD,
        detectable=detectable(farthest, bound),
        agreement=agreement,
        units=(len(before), len(after)),
    )


def pseudomedian(values: Any) -> float:
    """The median of the means of all pairs of ``values``, each with itself too; missing ones are
    left out (Hollander, Wolfe and Chicken, 2014, section 3.2)."""
    there = np.asarray(values, float)
    there = there[np.isfinite(there)]
    first, second = np.triu_indices(len(there))
    return float(np.median((there[first] + there[second]) / 2))


def agreement_of(old: Values, new: Values) -> float:
    """The p value of the points' having one change, whatever it is.

    Log rates of shape (points, units), aligned by point; missing where a unit lacks the point. What
    all points of a unit share is taken out. Then, as each of two tests (Bonferroni): each
    point's Mann-Whitney statistic summed in squares, as Cochran's Q (Biometrics 10(1), 1954) with
    the exact variance of ranks in the place of an estimated one, chi-squared of one degree less
    than there are points; and Student's *t* of the point that is farthest off, times their number,
    since ranks do not tell how far one of many is.
    """
    old, new = (side - np.nanmedian(side, axis=0) for side in (old, new))
    return min(1.0, 2 * min(_of_ranks(old, new), _of_farthest(old, new)))


def _of_ranks(old: Values, new: Values) -> float:
    statistics = [_standardised(*sides) for sides in zip(old, new, strict=True)]
    points = len(statistics)
    # Without the unit's median the statistics add up to nothing, as deviations from a mean do.
    scaled = float(np.square(statistics).sum()) * (points - 1) / points
    return float(special.chdtrc(points - 1, scaled))


def _of_farthest(old: Values, new: Values) -> float:
    """One where no point has several observations on both sides."""
    with np.errstate(invalid="ignore", divide="ignore"):
        found = stats.ttest_ind(new, old, axis=1, nan_policy="omit").pvalue
    known = found[np.isfinite(found)]
    return float(known.min()) * len(old) if len(known) else 1.0


def _standardised(old: Values, new: Values) -> float:
    """Mann and Whitney's statistic as a standard normal deviate; missing values are left out."""
    before, after = (side[np.isfinite(side)] for side in (old, new))
    first, second = len(after), len(before)
    above = np.sign(np.subtract.outer(after, before)).sum() / 2
    return float(above / np.sqrt(first * second * (first + second + 1) / 12))
