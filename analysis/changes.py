"""Whether a point became faster or slower from one sweep to the next: pure functions.

The change is the Hodges-Lehmann estimate of the ratio of rates, with the interval that inverts the
exact Mann-Whitney test (Hollander, Wolfe and Chicken, Nonparametric Statistical Methods, 2014,
sections 4.2 and 4.3): it assumes no distribution, and says nothing where there are too few runs.
Intervals are simultaneous over all points compared (Bonferroni), so that a sweep without any change
raises a false alarm in at most 5 % of comparisons.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import accumulate
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from hpcbench.errors import ConfigError
from observations import SERIES
from scaling import subject

# The software is what usually changed between two sweeps; it is said, and does not keep them apart.
# How full the nodes were is relative to a folder; their number is not.
POINT = [*(name for name in SERIES if name not in ("software", "placement")), "devices", "nodes"]
FALSE_ALARMS = 0.05
# Beyond so many runs of both sides together the normal approximation serves.
EXACT = 100

Values = NDArray[np.float64]


@cache
def _counts(first: int, second: int) -> tuple[int, ...]:
    """How many orders of two samples have each value of Mann and Whitney's U (1947, recurrence)."""
    if not first or not second:
        return (1,)
    without_first, without_second = _counts(first - 1, second), _counts(first, second - 1)
    total = [0] * (first * second + 1)
    for value, count in enumerate(without_first):
        total[value + second] += count
    for value, count in enumerate(without_second):
        total[value] += count
    return tuple(total)


def ratio_interval(old: Values, new: Values, error: float) -> tuple[float, float, float]:
    """Ratio of ``new`` to ``old`` rates, and the interval that misses it with at most ``error``.

    The interval is (0, inf) where no order of so few runs is that unlikely.
    """
    ratios = np.sort(np.exp(np.subtract.outer(np.log(new), np.log(old)).ravel()))
    out = _left_out(len(new), len(old), error)
    estimate = float(np.median(ratios))
    if out == 0:
        return estimate, 0.0, np.inf
    return estimate, float(ratios[out - 1]), float(ratios[-out])


def _left_out(first: int, second: int, error: float) -> int:
    """How many ratios the interval may leave out at each end."""
    if first + second > EXACT:
        spread = np.sqrt(first * second * (first + second + 1) / 12)
        return max(0, int(first * second / 2 + stats.norm.ppf(error / 2) * spread))
    counts = _counts(first, second)
    # In Python's whole numbers: they outgrow 64 bits at 34 runs against 34.
    tail = [part / sum(counts) for part in accumulate(counts)]
    return bisect_right(tail, error / 2)


def runs_needed(points: int) -> int:
    """Runs a point and side without which no change can be told over so many points."""
    runs = 2
    while not _left_out(runs, runs, FALSE_ALARMS / points):
        runs += 1
    return runs


def across(runs: pd.DataFrame, columns: Sequence[str], name: str) -> pd.DataFrame:
    """``runs`` without what tells points apart by ``columns``.

    Raises ConfigError where points of the same sweep would fall together.
    """
    blank = runs.assign(**dict.fromkeys(columns, "any"))
    for column in columns:
        if (runs.groupby([blank[part] for part in POINT])[column].nunique() > 1).any():
            raise ConfigError(f"--across {column}: {name} itself has points that differ in it")
    return blank


def changes(old: pd.DataFrame, new: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """One row a point that both run tables have: ``change`` with ``low`` and ``high``, as shares.

    ``verdict`` is faster, slower or can't tell; ``too_slow`` if slower by more than ``threshold``.
    """
    before = dict(list(old.groupby(POINT)["samples_per_second"]))
    after = dict(list(new.groupby(POINT)["samples_per_second"]))
    common = [key for key in before if key in after]
    rows = []
    for key in common:
        one, two = before[key].to_numpy(float), after[key].to_numpy(float)
        ratio, low, high = ratio_interval(one, two, FALSE_ALARMS / len(common))
        verdict = "faster" if low > 1 else "slower" if high < 1 else "can't tell"
        rows.append(
            dict(zip(POINT, key, strict=True))
            | {
                "old": float(np.median(one)),
                "new": float(np.median(two)),
                "old_runs": len(one),
                "new_runs": len(two),
                "change": ratio - 1,
                "low": low - 1,
                "high": high - 1,
                "verdict": verdict,
                "too_slow": verdict == "slower" and 1 - ratio > threshold,
            }
        )
    return pd.DataFrame(rows)


def missing(old: pd.DataFrame, new: pd.DataFrame) -> int:
    """How many points of ``old`` are not in ``new``."""
    return len(_points(old) - _points(new))


def _points(runs: pd.DataFrame) -> set[tuple[Any, ...]]:
    return {tuple(key) for key, _ in runs.groupby(POINT)}


def in_words(table: pd.DataFrame, old: pd.DataFrame, new: pd.DataFrame) -> Iterator[str]:
    """A line a point, slowest first, and what could not be compared."""
    for row in table.sort_values("change").to_dict("records"):
        interval = (
            f"[{100 * row['low']:+.1f}, {100 * row['high']:+.1f}]"
            if np.isfinite(row["high"])
            else f"(too few runs for an interval: {row['old_runs']} and {row['new_runs']})"
        )
        mark = ", beyond the threshold" if row["too_slow"] else ""
        yield (
            f"{row['verdict'] + ':':<12}{subject(row)} on {row['dataset']} at {row['devices']}: "
            f"{100 * row['change']:+.1f} % {interval}, {row['old']:,.0f} to {row['new']:,.0f} "
            f"samples/s{mark}"
        )
    versions = [" | ".join(sorted(runs["software"].unique())) for runs in (old, new)]
    if versions[0] != versions[1]:
        yield f"software: {versions[0]} in OLD, {versions[1]} in NEW"
    for name, runs, other in (("OLD", old, new), ("NEW", new, old)):
        alone = sorted(_points(runs) - _points(other), key=str)
        if alone:
            names = (dict(zip(POINT, key, strict=True)) for key in alone)
            points = "; ".join(f"{subject(row)} at {row['devices']}" for row in names)
            yield f"only in {name}: {points}"
    unknown = ~np.isfinite(table["high"])
    if unknown.any():
        yield (
            f"{unknown.sum()} points have too few runs to tell anything: with {len(table)} points, "
            f"{runs_needed(len(table))} runs of each are needed in OLD and NEW"
        )
    counts = table["verdict"].value_counts()
    yield (
        f"{len(table)} points: {counts.get('faster', 0)} faster, {counts.get('slower', 0)} slower "
        f"({int(table['too_slow'].sum())} beyond the threshold), {counts.get(_UNKNOWN, 0)} can't "
        f"tell; 95 % intervals over all points together"
    )


_UNKNOWN = "can't tell"
