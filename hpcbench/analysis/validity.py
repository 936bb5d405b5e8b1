"""What a referee would object to in a sweep, in words, the most serious first."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats

from hpcbench.analysis.estimates import ENOUGH_RUNS, quantile
from hpcbench.analysis.load import POINT, SERIES, Row
from hpcbench.analysis.pairing import known, rate_ratio
from hpcbench.analysis.scaling import PLAUSIBLE
from hpcbench.devices.counters import PACKAGES
from hpcbench.records.identity import PROGRAM
from hpcbench.words import count

# An interval that reaches farther than this to either side of its median hides small differences.
WIDE = 0.05
# Iglewicz and Hoaglin (How to Detect and Handle Outliers, 1993): modified z-scores above 3.5, of
# which 0.6745 makes the median absolute deviation an estimate of the standard deviation.
FAR, NORMAL = 3.5, 0.6745
SIGNIFICANT = 0.05
# Drift smaller than this is not worth a sentence even where it is significant.
DRIFT = 0.01
# Of the time of a rank's cores. Of 36 runs on an idle machine it was at most 1 % in 35, 3 % in one.
TAKEN = 0.05
# Of four repeats in the clearest order Kendall's p is 0.083.
FEWEST_REPEATS = 5
NAMED = 6
# An interval shorter than this is much of what it costs to begin one: to draw an epoch's order and
# to meet at a barrier; on CPUs 1.8 to 4.4 ms were measured.
SHORT, BEGINNING = 0.1, 0.0044


@dataclass(frozen=True)
class Caution:
    """One objection: what it is, and the relative change of a rate or an efficiency that it could
    explain, 0.13 for 13 %. None where nothing in the data bounds that."""

    sentence: str
    effect: float | None

    @property
    def weight(self) -> str:
        """The effect in words."""
        if self.effect is None:
            return "effect unknown"
        return f"could change a result by up to {_percent(self.effect)}"

    def __str__(self) -> str:
        return f"{self.sentence} ({self.weight})"


def ranked(found: Iterable[Caution]) -> list[Caution]:
    """What nothing bounds in the order in which it was found, then the largest effect first."""
    return sorted(found, key=lambda one: -math.inf if one.effect is None else -one.effect)


def _moved(runs: pd.DataFrame, marked: "pd.Series[bool]") -> float | None:
    """By how far what ``marked`` runs have in common could move their rates: the end, farther from
    zero, of the 95 % interval of their relative difference from the others of their points. None
    where no point has runs of both kinds.

    The difference is the coefficient of a linear model of log rates with an effect of each point.
    """
    found = pd.DataFrame(
        {"rate": np.log(runs["samples_per_second"]), "marked": marked.astype(float)}
    )
    points = runs.groupby(POINT).ngroup()
    within = found - found.groupby(points).transform("mean")
    spread, freedom = float((within["marked"] ** 2).sum()), len(runs) - points.nunique() - 1
    if spread < 1e-9 or freedom < 1:
        return None
    slope = float((within["marked"] * within["rate"]).sum()) / spread
    left = within["rate"] - slope * within["marked"]
    error = math.sqrt(float((left**2).sum()) / freedom / spread)
    reach = error * quantile(freedom)
    return float(max(abs(np.expm1(slope - reach)), abs(np.expm1(slope + reach))))


def _percent(share: float) -> str:
    """A share to two digits where it is small."""
    return f"{100 * share:.{1 if share < 0.095 else 0}f} %"


def unfinished(left: int) -> list[Caution]:
    """The most serious of all, where a sweep has so many runs ``left`` to make."""
    if left <= 0:
        return []
    return [Caution(f"{count(left, 'run')} of this sweep still missing", None)]


def cautions(table: pd.DataFrame, runs: pd.DataFrame) -> list[Caution]:
    """Objections to the points of ``scaling_table`` and the runs behind them, by ``ranked``; none
    if all is well."""
    found = [
        *_confounded(runs),
        *_few(table),
        *_shared(runs),
        *_bases(table),
        *_unsteady(runs),
        *busy_machine(runs),
        *_wide(table),
        *_alike(table, runs),
        *_outliers(runs),
        *drift(runs),
        *_superlinear(table),
        *_split(table),
        *_short(runs),
        *_remarks(runs),
        *_packages(runs),
    ]
    return ranked(found)


def _names(items: list[str]) -> str:
    more = f" and {len(items) - NAMED} more" if len(items) > NAMED else ""
    return "; ".join(items[:NAMED]) + more


def _point(row: Row) -> str:
    return f"{row['line']} at {row['devices']}"


def _few(table: pd.DataFrame) -> Iterator[Caution]:
    few = table[~table["enough_runs"]]
    if len(few):
        yield Caution(
            f"{len(few)} of {len(table)} points have fewer than {ENOUGH_RUNS} runs: the 95 % "
            f"intervals of their rates are too narrow, or missing",
            None,
        )


def _wide(table: pd.DataFrame) -> Iterator[Caution]:
    rate = table["samples_per_second"]
    reach = pd.concat(
        [rate - table["samples_per_second_low"], table["samples_per_second_high"] - rate], axis=1
    ).max(axis=1)
    wide = table.assign(reach=reach / rate)[reach / rate > WIDE].sort_values("reach")[::-1]
    if len(wide):
        names = [f"{_point(row)} ({row['reach']:.0%})" for row in wide.to_dict("records")]
        yield Caution(
            f"intervals wider than {WIDE:.0%} to one side of the median: {_names(names)}",
            float(wide["reach"].max()),
        )


def _alike(table: pd.DataFrame, runs: pd.DataFrame) -> Iterator[Caution]:
    """Strategies of one panel and count, beyond the base, whose rates cannot be told apart: the
    interval of their ratio holds one. (Intervals of each may overlap although the rates differ.)"""
    sound = table[table["enough_runs"] & (table["devices"] > table["base_devices"])]
    of_point = dict(list(runs.groupby(POINT)))
    alike, apart = [], []
    for _, rows in sound.groupby(["model", "dataset", "scaling", "device_kind", "devices"]):
        for one, other in combinations(rows.to_dict("records"), 2):
            if one["subject"] == other["subject"]:
                continue
            groups = [of_point[tuple(row[n] for n in POINT)] for row in (one, other)]
            ratio = rate_ratio(groups[0], groups[1], (0, 1))
            if ratio.low <= 1 <= ratio.high:
                first = one["subject"].removesuffix(f" {one['model']}")
                alike.append(f"{first} and {_point(other)}")
                apart.append(max(ratio.high, 1 / ratio.low) - 1)
    if alike:
        yield Caution(f"throughput is statistically indistinguishable: {_names(alike)}", max(apart))


def _outliers(runs: pd.DataFrame) -> Iterator[Caution]:
    rate = runs["samples_per_second"]
    groups = rate.groupby([runs[name] for name in POINT])
    middle = groups.transform("median")
    deviation = (rate - middle).abs()
    typical = deviation.groupby([runs[name] for name in POINT]).transform("median")
    many = groups.transform("size") >= ENOUGH_RUNS
    far = runs[many & (NORMAL * deviation > FAR * typical) & (deviation > WIDE * middle)]
    if len(far):
        names = [
            f"{row['run_id']} ({_point(row)}, {row['samples_per_second'] / at - 1:+.0%})"
            for row, at in zip(far.to_dict("records"), middle[far.index], strict=True)
        ]
        others = runs.drop(far.index).groupby(POINT)["samples_per_second"].median()
        without = others.loc[list(far[POINT].itertuples(index=False, name=None))]
        moved = np.abs(without.to_numpy() / middle[far.index].to_numpy() - 1)
        yield Caution(
            f"outliers among the runs of their points, not removed: {_names(names)}",
            float(moved.max()),
        )


def drift(runs: pd.DataFrame) -> Iterator[Caution]:
    """Of each sweep whether the means of its repeats, in their order, have a trend (Kendall's exact
    test).

    Rates are relative to their point's median. A repeat is one observation: what slows all of it is
    no trend, and runs within it are not independent. Over all sweeps one false alarm is as rare as
    over one (Bonferroni).
    """
    relative = runs["samples_per_second"] / runs.groupby(POINT)["samples_per_second"].transform(
        "median"
    )
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
            yield Caution(
                f"rates drifted: the last repeat{of} is {abs(change):.1%} {faster} than the first "
                f"(Kendall's p = {found.pvalue:.2g})",
                abs(change),
            )


def _confounded(runs: pd.DataFrame) -> Iterator[Caution]:
    """Points that cannot be told from when or on which nodes they were measured, as their base was
    not: in few allocations of their own, or before or after all runs of the base."""
    nodes, times = [], []
    for _, series in runs.groupby(SERIES, sort=True):
        counts = [group for _, group in series.groupby("devices")]
        base = counts[0]
        for group in counts[1:]:
            point = _point(group.iloc[0].to_dict())
            both = pd.concat([base, group])
            if known(both, "allocation") and _few_of_their_own(group, base):
                nodes.append(point)
            several = min(len(base), len(group)) > 1
            if several and known(both, "started") and not _overlap(base, group):
                times.append(point)
    if nodes:
        yield Caution(
            f"measured in few separate allocations, so differences between nodes are confounded "
            f"with scaling, and intervals do not cover them: {_names(nodes)}",
            None,
        )
    if times:
        yield Caution(
            f"measured before or after all runs of their base, so drift of the machine is "
            f"confounded with scaling: {_names(times)}",
            None,
        )


def _few_of_their_own(group: pd.DataFrame, base: pd.DataFrame) -> bool:
    """Whether the runs of a point share allocations with each other, or have a single one, and none
    with the base's."""
    own, others = set(group["allocation"]), set(base["allocation"])
    several = len(own) == len(group) > 1 and len(others) == len(base) > 1
    return not own & others and not several


def _overlap(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    """Whether neither began only after all of the other had."""
    latest = max(one["started"].min(), other["started"].min())
    return bool(latest < min(one["started"].max(), other["started"].max()))


def _shared(runs: pd.DataFrame) -> Iterator[Caution]:
    shared = runs["whole_nodes"].isin([False])
    if shared.any():
        yield Caution(
            f"{shared.sum()} of {len(runs)} runs were on nodes that other jobs could use at the "
            f"same time",
            _moved(runs, shared),
        )


def _unsteady(runs: pd.DataFrame) -> Iterator[Caution]:
    """Runs whose steps had no steady time when the clock started."""
    marked = runs["steady"].isin([False])
    unsteady = runs[marked]
    if len(unsteady):
        points = unsteady.drop_duplicates(POINT)
        yield Caution(
            f"the step time of {len(unsteady)} of {len(runs)} runs was not steady yet when the "
            f"clock started, so they may include warm-up, or a busy machine: "
            f"{_names(_points(points))}",
            _moved(runs, marked),
        )


def _short(runs: pd.DataFrame) -> Iterator[Caution]:
    """Runs of this project's own loop whose intervals are over in no time, as those of epochs that
    are short and evaluated."""
    own = ~runs["framework"].str.startswith("imported") & (runs["framework"] != PROGRAM)
    short = runs[own & (runs["interval_seconds"] < SHORT)]
    if len(short):
        points = short.drop_duplicates(POINT)
        yield Caution(
            f"intervals last less than {SHORT:g} s, so their overhead of some milliseconds each is "
            f"counted as training time (they last half a second where neither interval_steps nor "
            f"an epoch that is evaluated ends them sooner): "
            f"{_names(_points(points))}",
            BEGINNING / float(short["interval_seconds"].min()),
        )


def _superlinear(table: pd.DataFrame) -> Iterator[Caution]:
    surely = table["efficiency_low"] > 1
    seems = ~surely & ~table["enough_runs"] & (table["efficiency"] > PLAUSIBLE)
    for of_them, what in (
        (surely, "so the base may be too slow: repeat it"),
        (seems, "with too few runs to tell it from noise: repeat it"),
    ):
        above = table[of_them]
        if len(above):
            names = [f"{_point(row)} ({row['efficiency']:.0%})" for row in above.to_dict("records")]
            yield Caution(
                f"superlinear speedup, {what}: {_names(names)}",
                float(above["efficiency"].max() - 1),
            )


def _split(table: pd.DataFrame) -> Iterator[Caution]:
    odd = table[table["communication_efficiency"] > PLAUSIBLE]
    if len(odd):
        yield Caution(
            f"steps without exchange were slower than those with it, so where the time goes is "
            f"unknown: {_names(_points(odd))}",
            float(odd["communication_efficiency"].max() - 1),
        )
    slower = table[(table["transfer_efficiency"] > PLAUSIBLE) & ~table.index.isin(odd.index)]
    if len(slower):
        yield Caution(
            f"steps in which ranks only meet were slower than whole ones, so what is told of "
            f"waiting and background threads is too much: {_names(_points(slower))}",
            float(slower["transfer_efficiency"].max() - 1),
        )


def _bases(table: pd.DataFrame) -> Iterator[Caution]:
    base = table[(table["devices"] == table["base_devices"]) & (table["devices"] > 1)]
    if len(base):
        yield Caution(
            f"no run on one device, so the base is a larger count: {_names(_points(base))}", None
        )


def _points(table: pd.DataFrame) -> list[str]:
    return [_point(row) for row in table.to_dict("records")]


def busy_machine(runs: pd.DataFrame) -> Iterator[Caution]:
    """Others that computed on the cores of a run; of runs that did not look for them, a machine
    that was busy when the run began, which is shared with something else."""
    taken = runs["cores_taken_share"]
    if (taken > TAKEN).any():
        yield Caution(
            f"in {(taken > TAKEN).sum()} of {len(runs)} runs other processes took more than "
            f"{TAKEN:.0%} of the time of a rank's cores (up to {taken.max():.0%})",
            _moved(runs, taken > TAKEN),
        )
    marked = taken.isna() & (runs["load_average"] > runs["cores_of_machine"] / 2)
    busy = runs[marked]
    if len(busy) and np.isfinite(busy["load_average"]).all():
        yield Caution(
            f"{len(busy)} of {len(runs)} runs began with a load average above half the cores "
            f"(up to {busy['load_average'].max():.1f}), caused by the runs before or by other "
            f"processes",
            _moved(runs, marked),
        )


def _remarks(runs: pd.DataFrame) -> Iterator[Caution]:
    """What runs of programs of one's own say of themselves."""
    said = runs["remarks"].explode().dropna()
    for remark, times in said.value_counts().items():
        yield Caution(f"{times} of {len(runs)} runs report: {remark}", None)


def _packages(runs: pd.DataFrame) -> Iterator[Caution]:
    """What a CPU package draws when idle is shared by more devices as the count grows."""
    of_packages = runs[runs["counted"] == PACKAGES]
    several = of_packages.groupby(SERIES)["devices"].nunique() > 1
    if several.any():
        lines = of_packages.groupby(SERIES)["line"].first()[several]
        yield Caution(
            f"energy is that of whole CPU packages, which draw power when idle too, so samples per "
            f"joule rise with the device count even where no sample becomes cheaper: "
            f"{_names(sorted(lines))}",
            None,
        )
