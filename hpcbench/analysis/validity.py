"""What a referee would object to in a sweep, in words."""

import math
from collections.abc import Iterator
from itertools import combinations, pairwise

import numpy as np
import pandas as pd
from scipy import stats

from hpcbench.analysis.accuracy import SIGNIFICANT
from hpcbench.analysis.load import SERIES, Row
from hpcbench.analysis.scaling import ENOUGH_RUNS, PLAUSIBLE, known, rate_ratio

# An interval that reaches farther than this to either side of its median hides small differences.
WIDE = 0.05
# Iglewicz and Hoaglin (How to Detect and Handle Outliers, 1993): modified z-scores above 3.5, of
# which 0.6745 makes the median absolute deviation an estimate of the standard deviation.
FAR, NORMAL = 3.5, 0.6745
# Drift smaller than this is not worth a sentence even where it is significant.
DRIFT = 0.01
# Of four repeats in the clearest order Kendall's p is 0.083.
FEWEST_REPEATS = 5
NAMED = 6


def cautions(table: pd.DataFrame, runs: pd.DataFrame) -> list[str]:
    """Sentences on the points of ``scaling_table`` and the runs behind them; none if all is
    well."""
    return [
        *_few(table),
        *_wide(table),
        *_alike(table, runs),
        *_outliers(runs),
        *_confounded(runs),
        *drift(runs),
        *_superlinear(table),
        *_split(table),
        *_bases(table),
        *_shared(runs),
        *_load(runs),
    ]


def _names(items: list[str]) -> str:
    more = f" and {len(items) - NAMED} more" if len(items) > NAMED else ""
    return "; ".join(items[:NAMED]) + more


def _point(row: Row) -> str:
    return f"{row['line']} at {row['devices']}"


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


def _alike(table: pd.DataFrame, runs: pd.DataFrame) -> Iterator[str]:
    """Strategies of one panel and count, beyond the base, whose rates cannot be told apart: the
    interval of their ratio holds one. (Intervals of each may overlap although the rates differ.)"""
    sound = table[table["enough_runs"] & (table["devices"] > table["base_devices"])]
    of_point = dict(list(runs.groupby([*SERIES, "devices"])))
    alike = []
    for _, rows in sound.groupby(["model", "dataset", "scaling", "device_kind", "devices"]):
        for one, other in combinations(rows.to_dict("records"), 2):
            if one["subject"] == other["subject"]:
                continue
            groups = [of_point[tuple(row[n] for n in [*SERIES, "devices"])] for row in (one, other)]
            ratio = rate_ratio(groups[0], groups[1], (0, 1))
            if ratio.low <= 1 <= ratio.high:
                first = one["subject"].removesuffix(f" {one['model']}")
                alike.append(f"{first} and {_point(other)}")
    if alike:
        yield f"no difference in throughput can be told between {_names(alike)}"


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


def drift(runs: pd.DataFrame) -> Iterator[str]:
    """Of each sweep whether the means of its repeats, in their order, have a trend (Kendall's exact
    test).

    Rates are relative to their point's median. A repeat is one observation: what slows all of it is
    no trend, and runs within it are not independent. Over all sweeps one false alarm is as rare as
    over one (Bonferroni).
    """
    relative = runs["samples_per_second"] / runs.groupby([*SERIES, "devices"])[
        "samples_per_second"
    ].transform("median")
    means = relative.apply(math.log).groupby([runs["sweep"], runs["repeat"]]).mean()
    sweeps = {str(name): of_one.droplevel(0) for name, of_one in means.groupby(level=0)}
    long = {name: of_one for name, of_one in sweeps.items() if len(of_one) >= FEWEST_REPEATS}
    for name, of_one in long.items():
        found = stats.kendalltau(of_one.index, of_one)
        slope = stats.theilslopes(of_one, of_one.index).slope
        change = float(np.expm1(slope * (of_one.index.max() - of_one.index.min())))
        if found.pvalue < SIGNIFICANT / len(long) and abs(change) > DRIFT:
            of = f" of sweep {name}" if len(sweeps) > 1 else ""
            faster = "faster" if change > 0 else "slower"
            yield (
                f"rates drifted: the last repeat{of} is {abs(change):.1%} {faster} than the first "
                f"(Kendall's p = {found.pvalue:.2g})"
            )


def _confounded(runs: pd.DataFrame) -> Iterator[str]:
    """Series in which a device count cannot be told from when or on which nodes it was measured."""
    nodes, times = [], []
    for _, series in runs.groupby(SERIES, sort=True):
        counts = [group for _, group in series.groupby("devices")]
        if len(counts) < 2 or min(map(len, counts)) < 2:
            continue
        line = series["line"].iloc[0]
        if known(series, "allocation"):
            of_count = [set(group["allocation"]) for group in counts]
            if max(map(len, of_count)) == 1 and len(set.union(*of_count)) == len(counts):
                nodes.append(line)
        if known(series, "started"):
            spans = sorted((group["started"].min(), group["started"].max()) for group in counts)
            if all(end < start for (_, end), (start, _) in pairwise(spans)):
                times.append(line)
    if nodes:
        yield (
            f"each device count ran in one allocation of its own, so what its nodes were like "
            f"looks like scaling, and intervals do not hold it: {_names(nodes)}"
        )
    if times:
        yield (
            f"device counts ran one after another, so a machine that drifts looks like one that "
            f"scales: {_names(times)}"
        )


def _shared(runs: pd.DataFrame) -> Iterator[str]:
    shared = int(runs["whole_nodes"].isin([False]).sum())
    if shared:
        yield (
            f"{shared} of {len(runs)} runs were on nodes that others' jobs could use at the same "
            f"time"
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
