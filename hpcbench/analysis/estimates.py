"""Numbers over runs with their intervals.

A run is one observation. A point is the median over the runs with the same settings, with a 95 %
percentile bootstrap interval that resamples runs (Efron and Tibshirani, An Introduction to the
Bootstrap, 1993, section 13.3).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
RESAMPLES = 2000
# The range of five runs covers the median with 93.75 %, that of six with 96.9 % (Hoefler and
# Belli, SC'15, rule 8), so no 95 % interval without a distribution's shape comes from fewer.
ENOUGH_RUNS = 6

Values = NDArray[np.float64]


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
        chosen = np.random.default_rng(seed).integers(0, len(values), (RESAMPLES, len(values)))
        return cls(float(np.median(values)), np.median(values[chosen], axis=1))

    def over(self, base: "Estimate") -> "Estimate":
        """The ratio to ``base``; a point over itself is one, without spread."""
        return Estimate(self.median / base.median, self.resampled / base.resampled)

    def less(self, other: "Estimate") -> "Estimate":
        """The difference to ``other``, of other runs."""
        return Estimate(self.median - other.median, self.resampled - other.resampled)

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
