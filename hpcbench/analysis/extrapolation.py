"""How far a scaling law may be drawn, and what became of its prediction of the largest count.

It goes beyond the largest count only where five counts or more were measured (Extra-P's rule of
thumb: Calotoiu et al., SC'13), where the fit without the largest count did not miss it, where no
node's boundary lies ahead that no count has crossed, and as far as the band of all laws that the
runs do not contradict stays narrow.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from hpcbench.analysis.choice import WIDEST, Choice, choose
from hpcbench.analysis.estimates import ENOUGH_RUNS, Estimate, Ratio, quantile
from hpcbench.analysis.fitting import Counts, counts_of
from hpcbench.analysis.load import SERIES, facts_of

# A law is never drawn beyond so many times the largest measured count: no band was tested farther.
FARTHEST = 4.0
ENOUGH_COUNTS = 5
# Counts from the largest measured to the farthest at which the band is looked at.
_STEPS = 65

Key = tuple[object, ...]


@dataclass(frozen=True)
class Prediction:
    """Samples a second at the largest count: ``measured``, the median of its runs, and what the
    other counts expected of it, with the 95 % interval in which such a median falls."""

    expected: float
    low: float
    high: float
    measured: float

    @property
    def vague(self) -> bool:
        """Whether it is too wide to check anything."""
        return not self.high <= WIDEST * self.low

    @property
    def missed(self) -> bool:
        return self.measured < self.low or self.measured > self.high


@dataclass(frozen=True)
class Extrapolation:
    """The law of a series from its smallest count to ``reach`` devices.

    ``reason`` says why it ends there, empty where it was not to go farther; or why there is none.
    ``prediction`` is None where the counts without the largest have no law.
    """

    choice: Choice
    reach: float
    reason: str
    prediction: Prediction | None = None


def extrapolate(counts: Counts, scaling: str, farthest: float = FARTHEST) -> Extrapolation:
    """The best law of "weak" or "strong" ``scaling``, to at most ``farthest`` times the largest of
    ``counts``."""
    choice = choose(counts, scaling)
    if choice.best is None:
        return Extrapolation(choice, np.nan, choice.reason)
    prediction = predict_largest(counts, scaling)
    largest = counts.devices[-1]
    reason = _no_farther(counts, prediction)
    if reason:
        return Extrapolation(choice, largest, reason, prediction)
    asked = np.geomspace(largest, largest * farthest, _STEPS)
    narrow = np.minimum.accumulate(choice.widths(asked) <= WIDEST)
    reason = "" if narrow.all() else "the band beyond spans more than a factor of two"
    return Extrapolation(choice, float(asked[narrow][-1]), reason, prediction)


def _no_farther(counts: Counts, prediction: Prediction | None) -> str:
    """Why nothing may be said beyond the largest count; empty where something may."""
    if len(counts) < ENOUGH_COUNTS:
        return f"{len(counts)} device counts describe, to foretell takes {ENOUGH_COUNTS}"
    if (counts.nodes == 1).all():
        return "all counts are within one node, and what an exchange between nodes costs is unknown"
    if prediction and prediction.missed:
        return "the smaller counts alone would have missed the largest"
    return ""


def predict_largest(counts: Counts, scaling: str) -> Prediction | None:
    """From the smaller counts, by the same choice of laws; None where they have none."""
    choice = choose(counts.without_largest(), scaling)
    if choice.best is None:
        return None
    rate, low, high = (float(end[0]) for end in choice.rates(counts.devices[-1:]))
    # A median of runs varies pi / 2 times as much as their mean.
    variance = np.pi / 2 * counts.variance / counts.runs[-1]
    noise = quantile(counts.freedom) * np.sqrt(variance)
    with np.errstate(divide="ignore"):
        below, above = (
            np.exp(np.hypot(np.log(ratio), noise)) for ratio in (rate / low, high / rate)
        )
    return Prediction(rate, rate / below, rate * above, float(counts.medians[-1]))


def extrapolations(runs: pd.DataFrame, farthest: float = FARTHEST) -> dict[Key, Extrapolation]:
    """Of each series of several device counts, by the values of SERIES."""
    return {
        tuple(key): extrapolate(counts_of(series), str(series["scaling"].iloc[0]), farthest)
        for key, series in runs.groupby(SERIES, sort=True)
        if series["devices"].nunique() > 1
    }


def law_table(runs: pd.DataFrame, found: dict[Key, Extrapolation]) -> pd.DataFrame:
    """One row a series of ``extrapolations``: its law, or why it has none.

    ``law`` is empty where ``reason`` says why; else ``reason`` says why the law ends at ``reach``
    devices. ``tried`` are all laws with their p for lack of fit, and the costs that came out
    ``below_zero``. ``predicted``, with the interval in which the median of its runs is expected,
    and ``measured``, with its own, are samples a second at ``largest``; predicted is missing where
    the counts without that have no law, ``vague`` where its interval spans more than a factor of
    two. ``enough_runs`` is false where a count has fewer than six.
    ``most_useful``, with its interval, is the device count beyond which the USL expects the rate to
    fall, where coherency is surely above zero and the law is drawn so far.
    """
    rows = []
    for key, one in found.items():
        series = runs[(runs[SERIES] == list(key)).all(axis=1)]
        counts, prediction = one.choice.counts, one.prediction
        largest = int(counts.devices[-1])
        there = series[series["devices"] == largest]["samples_per_second"].to_numpy(float)
        rows.append(
            facts_of(key, series)
            | {
                "law": one.choice.best.law.name if one.choice.best else "",
                "parameters": _parameters(one.choice),
                **_peak(one).columns("most_useful"),
                "reach": one.reach,
                "reason": one.reason,
                "tried": [
                    {"law": fit.law.name, "p": fit.p, "below_zero": fit.below_zero}
                    for fit in one.choice.tried
                ],
                "largest": largest,
                "runs": int(counts.runs.sum()),
                "enough_runs": int(counts.runs.min()) >= ENOUGH_RUNS,
                **Estimate.of(there, largest).columns("measured"),
                "predicted": prediction.expected if prediction else np.nan,
                "predicted_low": prediction.low if prediction else np.nan,
                "predicted_high": prediction.high if prediction else np.nan,
                "missed": bool(prediction and prediction.missed),
                "vague": bool(prediction and prediction.vague),
            }
        )
    return pd.DataFrame(rows)


def _parameters(choice: Choice) -> list[dict[str, float | str]]:
    if choice.best is None:
        return []
    named = zip(
        choice.best.law.parameters, choice.best.values, *choice.best.intervals(), strict=True
    )
    return [
        {"name": name, "value": float(value), "low": float(low), "high": float(high)}
        for name, value, low, high in named
    ]


def _peak(one: Extrapolation) -> Ratio:
    best, nowhere = one.choice.best, Ratio(np.nan, np.nan, np.nan)
    if best is None or best.law.name != "USL" or best.intervals()[0][2] <= 0:
        return nowhere
    peak = Ratio(*best.peak())
    return peak if peak.value <= one.reach else nowhere
