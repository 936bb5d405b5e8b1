"""Numbers over runs with their intervals.

A run is one observation. A point is the median over the runs with the same settings, with a 95 %
percentile bootstrap interval that resamples runs (Efron and Tibshirani, An Introduction to the
Bootstrap, 1993, section 13.3).
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import special

CONFIDENCE = 0.95
RESAMPLES = 2000
# The range of five runs covers the median with 93.75 %, that of six with 96.9 % (Le Boudec,
# Performance Evaluation of Computer and Communication Systems, 2010, theorem 2.1), so no 95 %
# interval without a distribution's shape comes from fewer.
ENOUGH_RUNS = 6

Values = NDArray[np.float64]


# A resample's median is told by ranks alone, so for as many values it is worked out once; and
# intervals do not depend on the order of runs.
@lru_cache(maxsize=256)
def middles(seed: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The ranks, among ``count`` values, of the two in the middle of each resample; the same one
    twice where ``count`` is odd."""
    chosen = np.random.default_rng(seed).integers(0, count, (RESAMPLES, count))
    ranks = np.sort(chosen, axis=1)
    return ranks[:, (count - 1) // 2].copy(), ranks[:, count // 2].copy()


def quantile(freedom: int) -> float:
    """How many standard errors Student's 95 % interval reaches to each side."""
    return float(special.stdtrit(freedom, (1 + CONFIDENCE) / 2))


@dataclass(frozen=True)
class Estimate:
    """A median and the bootstrap distribution of medians around it."""

    median: float
    resampled: Values

    @classmethod
    def of(cls, values: Values, seed: int) -> "Estimate":
        """The median of ``values``; one value alone has a distribution of nothing."""
        values = values[np.isfinite(values)]
        if len(values) == 0:
            return cls(np.nan, np.full(RESAMPLES, np.nan))
        if len(values) == 1:
            return cls(float(values[0]), np.full(RESAMPLES, np.nan))
        ordered = np.sort(values)
        below, above = middles(seed, len(values))
        return cls(float(np.median(ordered)), (ordered[below] + ordered[above]) / 2)

    def over(self, base: "Estimate") -> "Estimate":
        """The ratio to ``base``; a point over itself is one, without spread."""
        return Estimate(self.median / base.median, self.resampled / base.resampled)

    def less(self, other: "Estimate") -> "Estimate":
        """The difference to ``other``, of other runs."""
        return Estimate(self.median - other.median, self.resampled - other.resampled)

    def others(self) -> "Estimate":
        """What a share leaves of the whole."""
        return Estimate(1 - self.median, 1 - self.resampled)

    def times(self, factor: float) -> "Estimate":
        return Estimate(self.median * factor, self.resampled * factor)

    def interval(self) -> tuple[float, float]:
        """The central 95 % of the distribution; missing where there was one run."""
        if not np.isfinite(self.resampled).all():
            return np.nan, np.nan
        tail = (1 - CONFIDENCE) / 2
        low, high = np.quantile(self.resampled, [tail, 1 - tail])
        return float(low), float(high)

    def columns(self, name: str) -> dict[str, float]:
        low, high = self.interval()
        return {name: self.median, f"{name}_low": low, f"{name}_high": high}


@dataclass(frozen=True)
class Ratio:
    """A ratio of two points, with its interval; missing ends where there was one run."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, estimate: Estimate) -> "Ratio":
        return cls(estimate.median, *estimate.interval())

    def inverse(self, factor: float = 1.0) -> "Ratio":
        """``factor`` over the ratio, whose ends change places."""
        return Ratio(factor / self.value, factor / self.high, factor / self.low)

    def times(self, factor: float) -> "Ratio":
        return Ratio(self.value * factor, self.low * factor, self.high * factor)

    def columns(self, name: str) -> dict[str, float]:
        return {name: self.value, f"{name}_low": self.low, f"{name}_high": self.high}
