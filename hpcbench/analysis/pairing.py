"""Ratios of two points' rates, within repeats where these were blocks.

A block is a repeat all of whose counts ran before the next repeat began, or in one allocation.
Whatever slowed the whole of it cancels in the ratios within it: these are summarized by their
geometric mean (Fleming and Wallace, CACM 29(3), 1986) with Student's interval on the logarithms.
Where repeats were no blocks, ratios are of medians, resampled on both sides.
"""

import numpy as np
import pandas as pd
from scipy import stats

from hpcbench.analysis.estimates import CONFIDENCE, Estimate, Ratio, Values

_BLOCK = ["sweep", "repeat"]
_OF_PAIRS = [*_BLOCK, "samples_per_second", "started", "allocation"]


def in_blocks(runs: pd.DataFrame) -> bool:
    """Whether the runs of a repeat had something in common: no run of another repeat began between
    them, or a scheduler's allocation was theirs alone.

    Columns ``sweep``, ``repeat``, ``started`` and ``allocation``; what is not known is no reason.
    """
    return _one_after_another(runs) or _each_in_one_allocation(runs)


def _one_after_another(runs: pd.DataFrame) -> bool:
    if not known(runs, "started"):
        return False
    ordered = runs.sort_values("started")
    block = ordered["sweep"] + " " + ordered["repeat"].astype(str)
    return int((block != block.shift()).sum()) == block.nunique()


def _each_in_one_allocation(runs: pd.DataFrame) -> bool:
    if not known(runs, "allocation"):
        return False
    repeats = runs[[*_BLOCK, "allocation"]].drop_duplicates()
    return not (repeats.duplicated(_BLOCK).any() or repeats.duplicated("allocation").any())


def known(runs: pd.DataFrame, column: str) -> bool:
    """Whether all of ``runs`` say when they started, or in which allocation they ran."""
    return column in runs and not (runs[column].fillna("") == "").any()


def pairs(at: pd.DataFrame, base: pd.DataFrame) -> pd.DataFrame | None:
    """A row a repeat that both have, with ``samples_per_second`` and ``samples_per_second_base``,
    in the order of ``at``; None unless repeats were blocks, of which both have two or more, and
    more than half of either's runs."""
    sides = [group[[name for name in _OF_PAIRS if name in group]] for group in (at, base)]
    once = not any(side.duplicated(_BLOCK).any() for side in sides)
    if not once or not in_blocks(pd.concat(sides)):
        return None
    both = sides[0].merge(sides[1], on=_BLOCK, suffixes=("", "_base"))
    enough = len(both) >= 2 and 2 * len(both) > max(map(len, sides))
    return both if enough else None


def rate_ratio(at: pd.DataFrame, base: pd.DataFrame, seeds: tuple[int, int]) -> Ratio:
    """How much faster the runs ``at`` are than those of ``base``, a row a run.

    Paired within the repeats that both have where these were blocks. ``seeds`` are of the
    resampling where they were not.
    """
    both = pairs(at, base)
    if both is None:
        first, second = (
            Estimate.of(group["samples_per_second"].to_numpy(float), seed)
            for group, seed in zip((at, base), seeds, strict=True)
        )
        return Ratio.of(first.over(second))
    logs = np.log(_ratios(both))
    half = stats.t.ppf((1 + CONFIDENCE) / 2, len(logs) - 1) * stats.sem(logs)
    low, value, high = np.exp(logs.mean() + np.array([-half, 0, half]))
    return Ratio(float(value), float(low), float(high))


def run_ratios(at: pd.DataFrame, base: pd.DataFrame) -> Values:
    """What each run of ``at`` adds to :func:`rate_ratio`: its ratio to the base of its repeat,
    missing where that has none, or to the base's median where repeats were no blocks."""
    both = pairs(at, base)
    if both is None:
        rates = at["samples_per_second"].to_numpy(float)
        return rates / float(base["samples_per_second"].median())
    found = both.assign(ratio=_ratios(both))[[*_BLOCK, "ratio"]]
    return at[_BLOCK].merge(found, on=_BLOCK, how="left")["ratio"].to_numpy(float)


def _ratios(both: pd.DataFrame) -> Values:
    rates, bases = (
        both[name].to_numpy(float) for name in ("samples_per_second", "samples_per_second_base")
    )
    return rates / bases
