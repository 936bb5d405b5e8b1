"""What a referee would object to in a sweep, in words."""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats

from observations import SERIES, Row
from quality import SIGNIFICANT
from scaling import ENOUGH_RUNS, PLAUSIBLE, subject

# An interval that reaches farther than this to either side of its median hides small differences.
WIDE = 0.05
# Iglewicz and Hoaglin (How to Detect and Handle Outliers, 1993): modified z-scores above 3.5, of
# which 0.6745 makes the median absolute deviation an estimate of the standard deviation.
FAR, NORMAL = 3.5, 0.6745
# Drift smaller than this is not worth a sentence even where it is significant.
DRIFT = 0.01
NAMED = 6


def cautions(table: pd.DataFrame, runs: pd.DataFrame) -> list[str]:
    """Sentences on the points of ``scaling_table`` and the runs behind them; none if all is
    well."""
    return [
        *_few(table), *_wide(table), *_alike(table), *_outliers(runs), *_drift(runs),
        *_superlinear(table), *_split(table), *_bases(table), *_load(runs),
    ]  # fmt: skip


def _names(items: list[str]) -> str:
    more = f" and {len(items) - NAMED} more" if len(items) > NAMED else ""
    return "; ".join(items[:NAMED]) + more


def _point(row: Row) -> str:
    return f"{subject(row)} at {row['devices']}"


def _few(table: pd.DataFrame) -> Iterator[str]:
    few = table[~table["enough_runs"]]
    if len(few):
        yield (
            f"{len(few)} of {len(table)} points have fewer than {ENOUGH_RUNS} runs: their 95 % "
            f"intervals are narrower than the truth, or missing"
        )


def _wide(table: pd.DataFrame) -> Iterator[str]:
    rate = table["samples_per_second"]
    reach = pd.concat(
        [rate - table["samples_per_second_low"], table["samples_per_second_high"] - rate], axis=1
    ).max(axis=1)
    wide = table.assign(reach=reach / rate)[reach / rate > WIDE].sort_values("reach")[::-1]
    if len(wide):
        names = [f"{_point(row)} ({row['reach']:.0%})" for row in wide.to_dict("records")]
        yield f"intervals wider than {WIDE:.0%} to one side of the median: {_names(names)}"


def _alike(table: pd.DataFrame) -> Iterator[str]:
    """Strategies of one panel and count, beyond the base, whose rates cannot be told apart."""
    sound = table[table["enough_runs"] & (table["devices"] > table["base_devices"])]
    alike = []
    for _, rows in sound.groupby(["model", "dataset", "scaling", "device_kind", "devices"]):
        for one, other in combinations(rows.to_dict("records"), 2):
            apart = (
                one["samples_per_second_low"] > other["samples_per_second_high"]
                or other["samples_per_second_low"] > one["samples_per_second_high"]
            )
            if one["strategy"] != other["strategy"] and not apart:
                alike.append(f"{one['strategy']} and {_point(other)}")
    if alike:
        yield f"intervals overlap, so no difference in throughput is claimed: {_names(alike)}"


def _outliers(runs: pd.DataFrame) -> Iterator[str]:
    rate = runs["samples_per_second"]
    groups = rate.groupby([runs[name] for name in [*SERIES, "devices"]])
    middle = groups.transform("median")
    deviation = (rate - middle).abs()
    typical = deviation.groupby([runs[name] for name in [*SERIES, "devices"]]).transform("median")
    many = groups.transform("size") >= ENOUGH_RUNS
    far = runs[many & (NORMAL * deviation > FAR * typical) & (deviation > WIDE * middle)]
    if len(far):
        names = [
            f"{row['run_id']} ({_point(row)}, {row['samples_per_second'] / at - 1:+.0%})"
            for row, at in zip(far.to_dict("records"), middle[far.index], strict=True)
        ]
        yield f"runs far from the others of their point, kept all the same: {_names(names)}"


def _drift(runs: pd.DataFrame) -> Iterator[str]:
    """First against last third of the repeats, each rate relative to its point's median."""
    repeats = sorted(runs["repeat"].unique())
    third = len(repeats) // 3
    if third == 0:
        return
    relative = runs["samples_per_second"] / runs.groupby([*SERIES, "devices"])[
        "samples_per_second"
    ].transform("median")
    first = relative[runs["repeat"].isin(repeats[:third])]
    last = relative[runs["repeat"].isin(repeats[-third:])]
    change = float(last.median() / first.median() - 1)
    p = float(stats.mannwhitneyu(first, last).pvalue)
    if p < SIGNIFICANT and abs(change) > DRIFT:
        faster = "faster" if change > 0 else "slower"
        yield (
            f"rates drifted: the last repeats are {abs(change):.1%} {faster} than the first "
            f"(Mann-Whitney p = {p:.2g})"
        )


def _superlinear(table: pd.DataFrame) -> Iterator[str]:
    above = table[table["efficiency_low"] > 1]
    if len(above):
        names = [f"{_point(row)} ({row['efficiency']:.0%})" for row in above.to_dict("records")]
        yield f"more than ideal speedup, so doubt the base: {_names(names)}"


def _split(table: pd.DataFrame) -> Iterator[str]:
    odd = table[table["communication_efficiency"] > PLAUSIBLE]
    if len(odd):
        yield (
            f"steps without exchange were slower than those with it, so where the time goes is not "
            f"known: {_names(_points(odd))}"
        )


def _bases(table: pd.DataFrame) -> Iterator[str]:
    base = table[(table["devices"] == table["base_devices"]) & (table["devices"] > 1)]
    if len(base):
        yield f"no run on one device, so the base is a larger count: {_names(_points(base))}"


def _points(table: pd.DataFrame) -> list[str]:
    return [_point(row) for row in table.to_dict("records")]


def _load(runs: pd.DataFrame) -> Iterator[str]:
    """A machine that is busy when a run begins is shared with something else."""
    busy = runs[runs["load_average"] > runs["cores_of_machine"] / 2]
    if len(busy) and np.isfinite(busy["load_average"]).all():
        yield (
            f"{len(busy)} of {len(runs)} runs began with a load average above half the cores "
            f"(up to {busy['load_average'].max():.1f}): of runs just before, or of something else"
        )
