"""Ratios of two points' rates, within repeats where these were blocks.

A block is a repeat all of whose counts ran before the next repeat began, or in one allocation.
Whatever slowed the whole of it cancels in the ratios within it: these are summarized by their
geometric mean (Fleming and Wallace, CACM 29(3), 1986) with Student's interval on the logarithms.
Where repeats were no blocks, ratios are of medians, resampled on both sides.
"""

from collections.abc import Sequence
from itertools import groupby

import numpy as np
import pandas as pd

from hpcbench.analysis.estimates import Estimate, Ratio, Values, quantile

# A repeat of a sweep. Tables of runs are short, and pandas takes milliseconds for each step.
_Block = tuple[object, object]
_IN_COMMON = ("started", "allocation")


def in_blocks(runs: pd.DataFrame) -> bool:
    """Whether the runs of a repeat had something in common: no run of another repeat began between
    them, or a scheduler's allocation was theirs alone.

    Columns ``sweep``, ``repeat``, ``started`` and ``allocation``; what is not known is no reason.
    """
    return _common([runs])


def _common(parts: Sequence[pd.DataFrame]) -> bool:
    """:func:`in_blocks` of all ``parts`` together."""
    blocks = [block for part in parts for block in _blocks(part)]
    started, allocations = (
        [value for part in values for value in part] if all(values) else []
        for values in ([_values(part, name) for part in parts] for name in _IN_COMMON)
    )
    return _one_after_another(blocks, started) or _each_in_one(blocks, allocations)


def known(runs: pd.DataFrame, column: str) -> bool:
    """Whether all of ``runs`` say when they started, or in which allocation they ran."""
    return bool(_values(runs, column))


def _blocks(runs: pd.DataFrame) -> list[_Block]:
    return list(zip(runs["sweep"].tolist(), runs["repeat"].tolist(), strict=True))


def _values(runs: pd.DataFrame, column: str) -> list[str]:
    """A value of each run; none where any of them is not known."""
    values = runs[column].fillna("").tolist() if column in runs else []
    return [] if "" in values else values


def _one_after_another(blocks: Sequence[_Block], started: Sequence[str]) -> bool:
    if not started:
        return False
    ordered = [blocks[place] for place in sorted(range(len(blocks)), key=started.__getitem__)]
    return sum(1 for _ in groupby(ordered)) == len(set(blocks))


def _each_in_one(blocks: Sequence[_Block], allocations: Sequence[str]) -> bool:
    if not allocations:
        return False
    both = set(zip(blocks, allocations, strict=True))
    return len(both) == len(set(blocks)) == len(set(allocations))


def _paired(at: pd.DataFrame, base: pd.DataFrame) -> Values | None:
    """Of each run of ``at`` its rate over that of the run of ``base`` in its repeat, missing where
    there is none; None unless repeats were blocks, of which both have two or more, and more than
    half of either's runs."""
    places = [_blocks(side) for side in (at, base)]
    if any(len(set(side)) < len(side) for side in places) or not _common((at, base)):
        return None
    rates = [side["samples_per_second"].to_numpy(float) for side in (at, base)]
    of_base = dict(zip(places[1], rates[1], strict=True))
    ratios = rates[0] / np.array([of_base.get(place, np.nan) for place in places[0]])
    both = int(np.isfinite(ratios).sum())
    return ratios if both >= 2 and 2 * both > max(map(len, places)) else None


def rate_ratio(at: pd.DataFrame, base: pd.DataFrame, seeds: tuple[int, int]) -> Ratio:
    """How much faster the runs ``at`` are than those of ``base``, a row a run.

    Paired within the repeats that both have where these were blocks. ``seeds`` are of the
    resampling where they were not.
    """
    ratios = _paired(at, base)
    if ratios is None:
        first, second = (
            Estimate.of(group["samples_per_second"].to_numpy(float), seed)
            for group, seed in zip((at, base), seeds, strict=True)
        )
        return Ratio.of(first.over(second))
    logs = np.log(ratios[np.isfinite(ratios)])
    error = logs.std(ddof=1) / np.sqrt(len(logs))
    half = quantile(len(logs) - 1) * error
    low, value, high = np.exp(logs.mean() + np.array([-half, 0, half]))
    return Ratio(float(value), float(low), float(high))


def run_ratios(at: pd.DataFrame, base: pd.DataFrame) -> Values:
    """What each run of ``at`` adds to :func:`rate_ratio`: its ratio to the base of its repeat,
    missing where that has none, or to the base's median where repeats were no blocks."""
    ratios = _paired(at, base)
    if ratios is None:
        rates = at["samples_per_second"].to_numpy(float)
        return rates / float(base["samples_per_second"].median())
    return ratios
