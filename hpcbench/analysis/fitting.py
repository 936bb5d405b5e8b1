"""Scaling laws fitted to device counts, and tested against how much runs differ.

A law is linear in its coefficients, so it is fitted by linear least squares, of shares of the
measured value, since noise is a share of the rate. A count is one observation of the law, however
many runs it has: its geometric mean. Intervals are Student's, over what the counts leave free.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from scipy import special, stats

from hpcbench.analysis.estimates import quantile
from hpcbench.analysis.laws import Law, Values
from hpcbench.analysis.pairing import in_blocks

# A share of the rate that no run could tell from zero; keeps the tests finite on exact data.
_EXACT = 1e-9
# Singular values, smallest over largest, of terms that the counts do not tell apart.
_ALIKE = 1e-9


@dataclass(frozen=True)
class Counts:
    """A series by device count, in their order.

    ``logs``: the mean of the logarithms of its ``runs`` runs' samples a second; ``medians`` of the
    same rates. ``variance`` of one run about its count's mean, in logarithms, with ``freedom``
    degrees. ``level``: how far 95 % intervals of all rates together reach, beyond what the counts
    show, since a repeat's runs are fast or slow together; 0 where repeats were no blocks.
    """

    devices: Values
    nodes: Values
    logs: Values
    medians: Values
    runs: Values
    variance: float
    freedom: int
    level: float

    def __len__(self) -> int:
        return len(self.devices)

    @cached_property
    def devices_a_node(self) -> float:
        """Infinite where nothing was measured over several nodes."""
        if not (self.nodes > 1).any():
            return np.inf
        return float(np.ceil((self.devices / self.nodes).max()))

    @property
    def across_nodes(self) -> bool:
        """Whether some exchange was within a node and some between nodes."""
        return 1 < self.devices_a_node < np.inf and bool((self.nodes == 1).any())

    def nodes_of(self, devices: Values) -> Values:
        """How many full nodes ``devices`` are, not always a whole number; at least one."""
        return np.maximum(devices / self.devices_a_node, 1.0)

    def without_largest(self) -> "Counts":
        """The smaller counts, with the noise that all runs tell of."""
        smaller = {
            name: getattr(self, name)[:-1]
            for name in ("devices", "nodes", "logs", "medians", "runs")
        }
        return Counts(**smaller, variance=self.variance, freedom=self.freedom, level=self.level)


def counts_of(series: pd.DataFrame) -> Counts:
    """From a row a run, with the columns of ``run_table``.

    Where repeats were blocks, what a whole repeat has in common is not noise of one run against
    another, but of the level of all: it is taken out by least squares, so that a repeat that lacks
    a count shifts no other.
    """
    logs = np.log(series["samples_per_second"].to_numpy(float))
    by_count = series.groupby("devices")
    counts = by_count.ngroup().to_numpy()
    repeats = series.groupby(["sweep", "repeat"]).ngroup().to_numpy()
    design, level = np.eye(counts.max() + 1)[counts], 0.0
    blocks = np.zeros((len(logs), 0))
    if repeats.max() > 0 and in_blocks(series):
        # Effects that add up to zero: the last one is less all others.
        effects = np.eye(repeats.max() + 1)
        blocks = (effects[:, :-1] - effects[:, -1:])[repeats]
    both = np.hstack([design, blocks])
    if np.linalg.matrix_rank(both) < both.shape[1]:
        # Repeats that have no counts in common cannot be held against each other.
        blocks, both = blocks[:, :0], design
    fitted = np.linalg.lstsq(both, logs)[0]
    freedom = len(logs) - both.shape[1]
    if blocks.shape[1]:
        effects = fitted[design.shape[1] :]
        level = quantile(len(effects)) * float(stats.sem([*effects, -effects.sum()]))
    return Counts(
        devices=np.array(list(by_count.groups), float),
        nodes=by_count["nodes"].max().to_numpy(float),
        logs=fitted[: design.shape[1]],
        medians=by_count["samples_per_second"].median().to_numpy(float),
        runs=by_count.size().astype(float).to_numpy(),
        variance=max(float(((logs - both @ fitted) ** 2).sum()) / max(freedom, 1), _EXACT**2),
        freedom=freedom,
        level=level,
    )


@dataclass(frozen=True)
class Fit:
    """A law fitted to ``counts``.

    ``coefficients`` of its design, in seconds a sample of one device (or its inverse);
    ``precision``: their covariance over that of one run. ``variance`` of one run by the residuals,
    in logarithms, with ``freedom``, counts less parameters. ``p``: of the test for lack of fit.
    ``possible``: whether one device and all counts come out with rates above zero. ``criterion``:
    Mallows' (Technometrics 15(4), 1973), with the variance of runs; lower is better.
    """

    law: Law
    counts: Counts
    coefficients: Values
    precision: Values
    variance: float
    freedom: int
    p: float
    possible: bool
    criterion: float

    @property
    def values(self) -> Values:
        """Of the law's parameters."""
        first = self.coefficients[0]
        rate = first if self.law.inverse else 1 / first
        return np.array([rate, *(self.coefficients[1:] / first)])

    def intervals(self) -> tuple[Values, Values]:
        """The 95 % intervals of the parameters, low and high (delta method)."""
        values, first = self.values, self.coefficients[0]
        slopes = np.eye(len(values))
        slopes[1:, 0] = -values[1:]
        errors = np.sqrt(self.variance * np.diag(slopes @ self.precision @ slopes.T)) / first
        reach = quantile(self.freedom) * errors
        reach[0] = values[0] * np.hypot(reach[0], self.counts.level)
        return values - reach, values + reach

    def peak(self) -> tuple[float, float, float]:
        """The device count beyond which the USL's rate falls, with its 95 % interval: the square
        root of (1 - contention) / coherency, its logarithm by the delta method; missing where that
        has no such count."""
        work, contention, coherency = self.coefficients
        share = work - contention
        if share <= 0 or coherency <= 0:
            return np.nan, np.nan, np.nan
        slope = np.array([1 / share, -1 / share, -1 / coherency]) / 2
        reach = quantile(self.freedom) * np.sqrt(self.variance * (slope @ self.precision @ slope))
        ends = np.sqrt(share / coherency) * np.exp([0.0, -reach, reach])
        return float(ends[0]), float(ends[1]), float(ends[2])

    @property
    def below_zero(self) -> list[str]:
        """The names of the costs that came out negative and may not."""
        signs = zip(self.law.terms, self.coefficients[1:], strict=True)
        return [term.name for term, value in signs if value <= 0 and not term.signed]

    def rates(self, devices: Values) -> tuple[Values, Values, Values]:
        """Samples a second at ``devices``, and the ends of the law's own 95 % band; infinite where
        a cost of nothing is in it.

        Few counts can lie on a curve by luck, so the band takes noise of at least what runs show.
        """
        design = self.law.design(devices, self.counts.nodes_of(devices))
        middle = design @ self.coefficients
        variance = max(self.variance, self.counts.variance) * (
            (design @ self.precision) * design
        ).sum(axis=1)
        reach = np.hypot(quantile(self.freedom) * np.sqrt(variance), middle * self.counts.level)
        ends = np.maximum([middle, middle - reach, middle + reach], 0.0)
        if self.law.inverse:
            rate, low, high = devices * ends
        else:
            with np.errstate(divide="ignore"):
                rate, high, low = devices / ends
        return rate, low, high


def fit(law: Law, counts: Counts) -> Fit | None:
    """``law`` by least squares; None where there are not more counts than parameters, or where
    the counts do not tell its terms apart.

    Whether it lacks fit is the F test of the residuals of the counts' means against pure error, the
    spread of runs of one count (Draper and Smith, Applied Regression Analysis, 3rd edition, 1998,
    section 2.1).
    """
    design = law.design(counts.devices, counts.nodes)
    unknowns = design.shape[1]
    freedom = len(counts) - unknowns
    measured = np.exp(counts.logs) / counts.devices
    target = measured if law.inverse else 1 / measured
    weights = np.sqrt(counts.runs)
    shares = design * (weights / target)[:, None]
    # Columns of one length, so that large counts do not pass for terms that cannot be told apart.
    sizes = np.linalg.norm(shares, axis=0)
    left, singular, right = np.linalg.svd(shares / sizes, full_matrices=False)
    if freedom < 1 or singular[-1] < _ALIKE * singular[0]:
        return None
    back = right.T / singular / sizes[:, None]
    coefficients = back @ (left.T @ weights)
    squares = float(((weights - shares @ coefficients) ** 2).sum())
    return Fit(
        law,
        counts,
        coefficients,
        back @ back.T,
        max(squares / freedom, _EXACT**2),
        freedom,
        float(special.fdtrc(freedom, counts.freedom, squares / freedom / counts.variance)),
        bool(coefficients[0] > 0 and (shares @ coefficients > 0).all()),
        squares / counts.variance + 2 * unknowns,
    )
