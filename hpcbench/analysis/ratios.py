"""The ratio of two rates from a few observations of each: its interval, and what that can find.

Pure functions of log rates, in arrays of shape (..., observations); ratios are logarithms too, so
that a ratio's interval is the exponential of what stands here.

Ranks, of single runs: the Hodges-Lehmann estimate with the interval that inverts the exact
Mann-Whitney test (Hollander, Wolfe and Chicken, Nonparametric Statistical Methods, 2014, sections
4.2 and 4.3). It assumes that the change moves the whole distribution, and no distribution's shape.
Student's t, of sweeps: the difference of means with the pooled variance. Observations at the
highest level that varies are means or medians of many runs, and few (Kalibera and Jones, Rigorous
Benchmarking in Reasonable Time, ISMM 2013, section 6). Pairs of sweeps: the same of the
differences within pairs, in which cancels what a pair has in common.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

# Beyond so many observations of both sides together the normal approximation serves.
EXACT = 100
# The probability with which a difference is to be found (Cohen, Statistical Power Analysis, 1988).
POWER = 0.8
# Simulated comparisons by which power is worked out; fewer where each of them is large.
DRAWS, LARGEST = 4000, 2_000_000
# The most observations a side that are asked for by number.
MOST = 50

Values = NDArray[np.float64]


class Interval(NamedTuple):
    """A log ratio of new to old and the interval around it; infinite where there is too little."""

    low: Values
    middle: Values
    high: Values


def rank_interval(old: Values, new: Values, error: float) -> Interval:
    """The Hodges-Lehmann estimate; the interval misses the ratio with at most ``error``.

    It is infinite where no order of so few runs is that unlikely.
    """
    differences = new[..., :, None] - old[..., None, :]
    ordered = np.sort(differences.reshape(*differences.shape[:-2], -1), axis=-1)
    middle = np.median(ordered, axis=-1)
    out = _left_out(new.shape[-1], old.shape[-1], error)
    if out == 0:
        return _around(middle, np.inf)
    return Interval(ordered[..., out - 1], middle, ordered[..., -out])


def student_interval(old: Values, new: Values, error: float) -> Interval:
    """The difference of means with Student's interval, of one variance on both sides.

    One side may have a single observation; the interval is infinite where both do.
    """
    first, second = old.shape[-1], new.shape[-1]
    freedom = first + second - 2
    middle = new.mean(axis=-1) - old.mean(axis=-1)
    if freedom < 1:
        return _around(middle, np.inf)
    times = special.stdtrit(freedom, 1 - error / 2) * np.sqrt(1 / first + 1 / second)
    return _around(middle, times * pooled_spread(old, new))


def paired_interval(old: Values, new: Values, error: float) -> Interval:
    """The mean difference of pairs, ``old[i]`` with ``new[i]``, with Student's interval."""
    middle = (new - old).mean(axis=-1)
    pairs = old.shape[-1]
    if pairs < 2:
        return _around(middle, np.inf)
    times = special.stdtrit(pairs - 1, 1 - error / 2) * np.sqrt(2 / pairs)
    return _around(middle, times * paired_spread(old, new))


def _around(middle: Values, half: Values | float) -> Interval:
    return Interval(middle - half, middle, middle + half)


def pooled_spread(old: Values, new: Values) -> Values:
    """The standard deviation of an observation, the same on both sides."""
    freedom = old.shape[-1] + new.shape[-1] - 2
    squares = sum(part.var(axis=-1) * part.shape[-1] for part in (old, new))
    return np.sqrt(squares / freedom) if freedom > 0 else np.full(old.shape[:-1], np.nan)


def paired_spread(old: Values, new: Values) -> Values:
    """The standard deviation of an observation beside what its pair has in common."""
    if old.shape[-1] < 2:
        return np.full(old.shape[:-1], np.nan)
    return (new - old).std(axis=-1, ddof=1) / np.sqrt(2)


@dataclass(frozen=True)
class Method:
    """How a ratio is estimated: its ``interval`` and the ``spread`` of one observation."""

    interval: Callable[[Values, Values, float], Interval]
    spread: Callable[[Values, Values], Values]


RANKS = Method(rank_interval, pooled_spread)
STUDENT = Method(student_interval, pooled_spread)
PAIRS = Method(paired_interval, paired_spread)


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


@cache
def _left_out(first: int, second: int, error: float) -> int:
    """How many ratios the interval may leave out at each end."""
    if first + second > EXACT:
        spread = np.sqrt(first * second * (first + second + 1) / 12)
        return max(0, int(first * second / 2 + special.ndtri(error / 2) * spread))
    counts = _counts(first, second)
    # In Python's whole numbers: they outgrow 64 bits at 34 runs against 34.
    tail = [part / sum(counts) for part in accumulate(counts)]
    return bisect_right(tail, error / 2)


def ranks_tell(first: int, second: int, error: float) -> bool:
    """Whether the rank test of so few runs can tell anything at this ``error``."""
    return _left_out(first, second, error) > 0


def fewest_runs(error: float) -> int:
    """Runs a side without which the rank test tells nothing at this ``error``."""
    runs = 2
    while not ranks_tell(runs, runs, error):
        runs += 1
    return runs


@cache
def _simulated(method: Method, first: int, second: int, error: float) -> tuple[Values, Values]:
    """Upper ends of the intervals of unchanged rates, and the spreads that are estimated where the
    true one is 1: of normal noise, from a fixed seed."""
    draws = min(DRAWS, LARGEST // (first * second))
    generator = np.random.default_rng(0)
    old, new = (generator.standard_normal((draws, count)) for count in (first, second))
    return method.interval(old, new, error).high, method.spread(old, new)


@cache
def reach(method: Method, first: int, second: int, error: float) -> float:
    """How far an interval's end lies from the truth with probability 0.8 at most, in spreads as
    they are estimated.

    A true change this far beyond a bound is found beyond it in four of five comparisons. By
    simulated ones, of which each takes its spread from another, as whoever plans the next
    comparison does; infinite where an interval is. Beyond :data:`EXACT` observations as of two
    normal means.
    """
    if first + second > EXACT:
        quantiles = special.ndtri(1 - error / 2) + special.ndtri(POWER)
        return float(quantiles * np.sqrt(1 / first + 1 / second))
    ends, spreads = _simulated(method, first, second, error)
    if not np.isfinite(ends).all():
        return np.inf
    return float(np.quantile(ends / np.roll(spreads, 1), POWER))


def observations_needed(method: Method, spreads: Values, margin: float, error: float) -> int | None:
    """Observations a side with which unchanged rates are all told from ones ``margin`` away.

    With a power of 0.8, for the ``spreads`` of an observation at each of some independent points;
    None where more than :data:`MOST`, or where a spread is not known.
    """
    if np.isnan(spreads).any():
        return None
    # Identical observations have no spread.
    farthest = margin / np.maximum(spreads, np.finfo(float).tiny)

    def enough(count: int) -> bool:
        ends = np.sort(_simulated(method, count, count, error)[0])
        shares = np.searchsorted(ends, farthest) / len(ends)
        return bool(shares.prod() >= POWER)

    counts = range(2, MOST + 1)
    index = bisect_left(counts, True, key=enough)
    return counts[index] if index < len(counts) else None
