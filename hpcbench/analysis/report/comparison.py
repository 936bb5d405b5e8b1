"""A comparison in words: the cells of its table, and sentences."""

from collections.abc import Callable, Iterator

import numpy as np

from hpcbench.analysis.comparison import Comparison
from hpcbench.analysis.load import Row
from hpcbench.analysis.machine import OF_CALIBRATED, OF_VENDOR, RATE, TOKENS
from hpcbench.analysis.ratios import MOST, fewest_runs
from hpcbench.analysis.report.cells import number, percent
from hpcbench.analysis.usage import MEMORY, MEMORY_CHANGE
from hpcbench.analysis.verdicts import ERROR, FASTER, SLOWER, VERDICTS, WITHIN
from hpcbench.words import count

HEADER = ("", "point", "change", "95 %", "95 %, all points", "OLD", "NEW", "finds")
# Of the machine, from OLD to NEW: a title, and how a value is shown.
USAGE: dict[str, tuple[str, Callable[[float], str]]] = {
    RATE: ("GFLOP/s a device", lambda rate: number(1e3 * rate)),
    OF_CALIBRATED: ("of the calibrated peak", percent),
    OF_VENDOR: ("of the vendor's peak", percent),
    TOKENS: ("tokens/s", lambda rate: number(rate, 4)),
    MEMORY: ("peak memory, GiB", number),
}
# A larger change, in percent, is not worth its digits.
LARGEST = 1000
# Points that one sentence names; the table has them all.
NAMED = 6


def cells(comparison: Comparison) -> list[list[str]]:
    """A row a point under HEADER, the slowest first: changes in percent, rates in samples/s."""
    return [
        [
            row["verdict"],
            row["point"],
            _percent(row["change"]),
            _interval(row["low"], row["high"]),
            _interval(row["joint_low"], row["joint_high"]),
            f"{row['old']:,.0f}",
            f"{row['new']:,.0f}",
            _percent(-row["detectable"]),
        ]
        for row in comparison.points.to_dict("records")
    ]


def usage_cells(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """A header, and a row a point in the same order: what OLD and NEW use of the machine, as far as
    it is known of any point; both empty where nothing is."""
    used = comparison.usage
    known = [name for name in USAGE if used[[f"old_{name}", f"new_{name}"]].notna().any(axis=None)]
    if not known:
        return [], []
    header = ["OLD → NEW", *(USAGE[name][0] for name in known)]
    header += ["change", "95 %"] if MEMORY in known else []
    return header, [
        [
            row["point"],
            *(_of_sides(row, name) for name in known),
            *(_change_of_memory(row) if MEMORY in known else []),
        ]
        for row in used.to_dict("records")
    ]


def _change_of_memory(row: Row) -> list[str]:
    low, high = (row[f"{MEMORY_CHANGE}_{end}"] for end in ("low", "high"))
    return [_percent(row[MEMORY_CHANGE]), _interval(low, high)]


def _of_sides(row: Row, name: str) -> str:
    show = USAGE[name][1]
    return " → ".join(show(row[f"{side}_{name}"]) for side in ("old", "new"))


def _percent(share: float) -> str:
    if 100 * share >= LARGEST and np.isfinite(share):
        return f">+{LARGEST}"
    # Adding nothing makes -0.0 zero.
    return f"{round(100 * share, 1) + 0.0:+.1f}" if np.isfinite(share) else "–"


def _interval(low: float, high: float) -> str:
    return f"[{_percent(low)}, {_percent(high)}]" if np.isfinite(high) else "too few"


def sentences(comparison: Comparison) -> Iterator[str]:
    """How to read the table, what is assumed, and what came out."""
    below = f"-{_limit(comparison)}" if comparison.threshold else "0 %"
    points = count(len(comparison.points), "point")
    yield "change: of samples/s from OLD to NEW, in percent"
    yield f"95 %: each point's own interval; what lies above {below} is {WITHIN}"
    yield (
        f"95 %, all points: intervals that hold for {points} together; what lies below {below} is "
        f"{SLOWER}, what lies above 0 % {FASTER}"
    )
    yield f"finds: the change that comparisons like this find beyond {below} in four of five cases"
    if comparison.usage[MEMORY_CHANGE].notna().any():
        yield (
            "peak memory: of the median run, and how it changed with each point's own interval; no "
            "verdict depends on it, nor does the exit status"
        )
    yield _measured(comparison)
    yield from _together(comparison)
    yield _smallest(comparison)
    counts = comparison.points["verdict"].value_counts()
    told = ", ".join(f"{counts.get(verdict, 0)} {verdict}" for verdict in VERDICTS)
    yield f"{points}, threshold {_limit(comparison)}: {told}"


def _limit(comparison: Comparison) -> str:
    return f"{100 * comparison.threshold:g} %"


def _measured(comparison: Comparison) -> str:
    """What is an observation, and what else counts as change."""
    design = comparison.design
    turns = "each side's middle lies within the other's time, so that what changes from day to day"
    if not design.several:
        if design.interleaved:
            return f"OLD and NEW are one sweep each, measured in turns: {turns} meets both"
        return (
            "OLD and NEW are one sweep each, so whatever else differed between their times, such "
            "as nodes, other jobs or temperature, counts as change; several sweeps of each (--old, "
            "--new) would tell it apart"
        )
    sides = " and ".join(
        f"{count(number, 'sweep')} in {name}"
        for number, name in zip(comparison.sweeps, ("OLD", "NEW"), strict=True)
    )
    if design.paired:
        return (
            f"observations are sweeps, {sides}, in pairs: each of OLD with its neighbour in time "
            f"in NEW, so that what both of a pair met cancels"
        )
    if 1 in comparison.sweeps:
        return f"observations are sweeps, {sides}; how far sweeps differ is known of one side alone"
    return f"observations are sweeps, {sides}" + (f"; {turns} meets both" * design.interleaved)


def _together(comparison: Comparison) -> Iterator[str]:
    common = comparison.common
    if common is None:
        return
    unit = "sweep" if comparison.design.several else "repeat"
    units = f"{count(common.units[0], unit)} of OLD and {common.units[1]} of NEW"
    if not np.isfinite(common.high):
        yield f"all points together: too few, {units}"
    elif common.agree:
        yield (
            f"all points together: {_percent(common.change)} % "
            f"{_interval(common.low, common.high)}, {common.verdict}; 95 %, over {units}, if the "
            f"change is the same at every point, which they do not contradict (p = "
            f"{common.agreement:.2g})"
        )
    else:
        yield (
            f"all points together: no change is stated, because the points plainly disagree on it "
            f"(p = {common.agreement:.2g})"
            + f"; over {units}, some point is {SLOWER} all the same"
            * (common.verdict == SLOWER)
        )


def _smallest(comparison: Comparison) -> str:
    """The smallest slowdowns that would be found."""
    single = comparison.points["detectable"]
    parts = []
    if comparison.common and comparison.common.agree and np.isfinite(comparison.common.detectable):
        parts.append(f"{comparison.common.detectable:.1%} of all points together")
    if single.notna().any():
        low, high = (f"{value:.1%}" for value in (single.min(), single.max()))
        parts.append(f"{low if low == high else f'{low} to {high}'} of a single point")
    if single.isna().any():
        parts.append(f"none of {count(int(single.isna().sum()), 'point')} for too few observations")
    return (
        f"the smallest slowdown that would be found beyond the threshold in four of five cases, by "
        f"the spread seen here and normal noise: {', '.join(parts)}"
    ).replace("%", " %")


def not_told(comparison: Comparison) -> str:
    """The points of which it cannot be told, and how many observations would do."""
    untold = comparison.untold
    names = "; ".join(untold["point"].head(NAMED))
    more = f"; and {len(untold) - NAMED} more" if len(untold) > NAMED else ""
    return (
        f"of {len(untold)} of {count(len(comparison.points), 'point')} it cannot be told whether "
        f"they are slower by more than {_limit(comparison)}: {names}{more}; {_needed(comparison)}"
    )


def _needed(comparison: Comparison) -> str:
    """How many observations of each point would do, if nothing had changed."""
    points = comparison.points
    if comparison.threshold == 0:
        return "no number of runs shows that nothing is slower at all, so give a --threshold"
    noun = "sweeps" if comparison.design.several else "runs"
    have = min(*points["old_count"], *points["new_count"])
    if comparison.needed is None:
        need, about = MOST, "more than"
    else:
        fewest = 2 if comparison.design.several else fewest_runs(ERROR)
        need, about = max(comparison.needed, fewest), "about"
    if need <= have:
        return (
            f"the {have} {noun} of each would do in four of five cases if nothing had changed, and "
            f"more of them tell whether something did"
        )
    return (
        f"{about} {need} {noun} of each in OLD and in NEW (here {have}) would tell it of all "
        f"points in four of five cases if nothing had changed"
    )
