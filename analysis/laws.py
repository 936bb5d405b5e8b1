"""Scaling laws, fitted to runs with intervals, and checked by leaving the largest point out.

Rates are fitted in logarithms, since noise is a share of the rate, by least squares over runs
(scipy's curve_fit); intervals are Student's over its covariance. A law takes part only where there
are more device counts than it has parameters, and the best is the one with the lowest corrected
Akaike criterion (Burnham and Anderson, 2002, section 2.4).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import optimize, stats

from observations import SERIES
from scaling import CONFIDENCE

Values = NDArray[np.float64]
# How many times the largest measured count a law may be drawn to unless asked.
FARTHEST = 4
# A rate that no run could tell from zero error; keeps the criterion finite on exact data.
_EXACT = 1e-12


def amdahl(devices: Values, rate: float, serial: float) -> Values:
    """Strong scaling with a serial fraction (Amdahl, AFIPS 1967)."""
    return rate / (serial + (1 - serial) / devices)


def gustafson(devices: Values, rate: float, serial: float) -> Values:
    """Weak scaling with a serial fraction (Gustafson, CACM 31(5), 1988)."""
    return rate * (serial + (1 - serial) * devices)


def usl(devices: Values, rate: float, contention: float, coherency: float) -> Values:
    """The Universal Scalability Law (Gunther, Guerrilla Capacity Planning, 2007, chapter 4)."""
    others = devices - 1
    return rate * devices / (1 + contention * others + coherency * devices * others)


@dataclass(frozen=True)
class Law:
    """``rate_of(devices, *parameters)`` in samples a second; the first parameter is one device's
    rate, the others lie between ``lower`` and 1."""

    name: str
    rate_of: Callable[..., Values]
    parameters: tuple[str, ...]
    scalings: tuple[str, ...]

    @property
    def least_counts(self) -> int:
        """Fewer device counts than this would leave nothing to check it by."""
        return len(self.parameters) + 1


LAWS = (
    Law("Amdahl", amdahl, ("rate", "serial fraction"), ("strong",)),
    Law("Gustafson", gustafson, ("rate", "serial fraction"), ("weak",)),
    Law("USL", usl, ("rate", "contention", "coherency"), ("strong", "weak")),
)


@dataclass(frozen=True)
class Fit:
    """A fitted law: ``values`` with ``lows`` and ``highs`` (95 %), and how well it fits."""

    law: Law
    values: Values
    lows: Values
    highs: Values
    covariance: NDArray[np.float64]
    freedom: int
    criterion: float
    largest: int
    # Of one run about the curve, in logarithms.
    variance: float

    def rates(self, devices: Values, runs: int | None = None) -> tuple[Values, Values, Values]:
        """Samples a second at ``devices``, and the 95 % band of the curve (delta method).

        With ``runs``, the band in which the median of so many new runs is expected: a median varies
        pi / 2 times as much as a mean.
        """
        rates = self.law.rate_of(devices, *self.values)
        gradients = np.array(
            [
                optimize.approx_fprime(
                    self.values,
                    lambda values, n=count: np.log(self.law.rate_of(np.array([n]), *values))[0],
                    np.maximum(np.abs(self.values), 1e-3) * 1e-6,
                )
                for count in devices
            ]
        )
        variances = np.einsum("ij,jk,ik->i", gradients, self.covariance, gradients)
        if runs:
            variances = variances + np.pi / 2 * self.variance / runs
        spread = np.exp(_quantile(self.freedom) * np.sqrt(np.maximum(variances, 0)))
        return rates, rates / spread, rates * spread


def _quantile(freedom: int) -> float:
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom))


def fit(law: Law, devices: Values, rates: Values) -> Fit | None:
    """``law`` fitted to runs' ``rates`` at ``devices``; None where there are too few of them."""
    runs, unknowns = len(rates), len(law.parameters) + 1
    if len(np.unique(devices)) < law.least_counts or runs <= unknowns + 1:
        return None
    first = float(np.median(rates / devices))
    start = [first, *([0.01] * (len(law.parameters) - 1))]
    scale = np.array([first, *([1.0] * (len(law.parameters) - 1))])
    values, covariance = optimize.curve_fit(
        lambda n, *p: np.log(law.rate_of(n, *p)),
        devices,
        np.log(rates),
        p0=start,
        bounds=([0, *([0.0] * (len(start) - 1))], [np.inf, *([1.0] * (len(start) - 1))]),
        x_scale=scale,
    )
    freedom = runs - len(values)
    reach = _quantile(freedom) * np.sqrt(np.diag(covariance))
    residual = float(np.sum((np.log(rates) - np.log(law.rate_of(devices, *values))) ** 2))
    return Fit(
        law, values, np.maximum(values - reach, 0), values + reach, covariance, freedom,
        runs * np.log(max(residual / runs, _EXACT)) + 2 * unknowns
        + 2 * unknowns * (unknowns + 1) / (runs - unknowns - 1),
        int(devices.max()), residual / freedom,
    )  # fmt: skip


def best(devices: Values, rates: Values, scaling: str) -> Fit | None:
    """The law of this kind of scaling that fits best, if any may be fitted."""
    fits = [
        found
        for law in LAWS
        if scaling in law.scalings and (found := fit(law, devices, rates)) is not None
    ]
    return min(fits, key=lambda found: found.criterion, default=None)


def fits(runs: pd.DataFrame) -> dict[tuple[object, ...], Fit]:
    """The best law of each series that has points enough, by the values of SERIES."""
    found: dict[tuple[object, ...], Fit] = {}
    for key, series in runs.groupby(SERIES, sort=True):
        chosen = best(*_points(series), str(series["scaling"].iloc[0]))
        if chosen:
            found[tuple(key)] = chosen
    return found


def _points(series: pd.DataFrame) -> tuple[Values, Values]:
    return series["devices"].to_numpy(float), series["samples_per_second"].to_numpy(float)


def law_table(runs: pd.DataFrame, found_laws: dict[tuple[object, ...], Fit]) -> pd.DataFrame:
    """One row a series of ``fits``: its parameters, and its largest count predicted from the rest.

    ``predicted``, with the band in which the median of its runs is expected, and ``measured`` are
    samples a second at ``largest``; predicted is missing where the law cannot be fitted without
    that point. ``most_useful`` is the device count beyond which the USL expects the rate to fall,
    sqrt((1 - contention) / coherency), where coherency is surely above zero.
    """
    rows = []
    for key, found in found_laws.items():
        series = runs[(runs[SERIES] == list(key)).all(axis=1)]
        devices, rates = _points(series)
        smaller = devices < found.largest
        without = fit(found.law, devices[smaller], rates[smaller])
        predicted = (
            [
                float(value[0])
                for value in without.rates(np.array([float(found.largest)]), int((~smaller).sum()))
            ]
            if without
            else [np.nan] * 3
        )
        rows.append(
            dict(zip(SERIES, key, strict=True))
            | {
                "law": found.law.name,
                "parameters": [
                    {"name": name, "value": value, "low": low, "high": high}
                    for name, value, low, high in zip(
                        found.law.parameters, found.values, found.lows, found.highs, strict=True
                    )
                ],
                "most_useful": _peak(found),
                "largest": found.largest,
                "runs": len(rates),
                "measured": float(np.median(rates[~smaller])),
                "predicted": predicted[0],
                "predicted_low": predicted[1],
                "predicted_high": predicted[2],
            }
        )
    return pd.DataFrame(rows)


def _peak(found: Fit) -> float:
    if found.law.name != "USL" or found.lows[2] <= 0:
        return np.nan
    return float(np.sqrt((1 - found.values[1]) / found.values[2]))
