"""Which scaling law a series follows, and the band of all that it may follow.

Measured counts choose badly between laws that part only later, and the band of one law knows
nothing of the others. So the band is the union of the 95 % bands of all laws that the runs do not
contradict.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hpcbench.analysis.fitting import Counts, Fit, fit
from hpcbench.analysis.laws import Values, candidates

# The least p for lack of fit of a law that is drawn, and of one that widens the band.
FITS, CONTRADICTED = 0.05, 0.01
# High over low: a wider band says nothing that one would plan by.
WIDEST = 2.0
FEWEST_COUNTS = 3
# On either side of a node's boundary: within one node, over several.
FEWEST_WITHIN, FEWEST_ACROSS = 2, 3


@dataclass(frozen=True)
class Choice:
    """``best`` is the law with the lowest criterion of those that fit, ``tried`` are all that there
    were counts enough for, ``reason`` says why there is no best."""

    counts: Counts
    tried: tuple[Fit, ...] = ()
    best: Fit | None = None
    reason: str = ""

    def rates(self, devices: Values) -> tuple[Values, Values, Values]:
        """Samples a second of the best law at ``devices``, and the ends of the band; the high end
        is infinite where nothing bounds it. Missing where there is no best law.

        A law in which a cost comes out below zero is faster than can be, but where it is slow it
        is no slower than can be: of its band the low end alone counts.
        """
        if self.best is None:
            return (np.full(len(devices), np.nan),) * 3
        rates, low, high = self.best.rates(devices)
        for found in self.tried:
            if found.possible and found.p >= CONTRADICTED:
                _, own_low, own_high = found.rates(devices)
                low = np.minimum(low, own_low)
                high = high if found.below_zero else np.maximum(high, own_high)
        return rates, low, high

    def widths(self, devices: Values) -> Values:
        """High over low end of the band."""
        _, low, high = self.rates(devices)
        return np.divide(high, low, out=np.full(len(low), np.inf), where=low > 0)


def choose(counts: Counts, scaling: str) -> Choice:
    """Of the laws of "weak" or "strong" ``scaling``."""
    unfit = _unfit(counts)
    if unfit:
        return Choice(counts, reason=unfit)
    laws = candidates(scaling, counts.across_nodes)
    tried = tuple(found for law in laws if (found := fit(law, counts)) is not None)
    fitting = [found for found in tried if found.possible and found.p >= FITS]
    drawable = [found for found in fitting if not found.below_zero]
    if not drawable:
        return Choice(counts, tried, reason=_none_fits(tried, fitting))
    choice = Choice(counts, tried, min(drawable, key=lambda found: found.criterion))
    if not choice.widths(counts.devices).max() <= WIDEST:
        return Choice(
            counts,
            tried,
            reason="runs differ so much that the band spans more than a factor of two",
        )
    return choice


def _unfit(counts: Counts) -> str:
    """Why no law may be fitted to these counts; empty where one may."""
    if len(counts) < FEWEST_COUNTS:
        return f"{len(counts)} device counts are too few, a law needs {FEWEST_COUNTS}"
    if counts.freedom < 1:
        return "without repeats what a law misses cannot be told from noise"
    if not counts.across_nodes:
        return ""
    within = int((counts.nodes == 1).sum())
    across = len(counts) - within
    if within >= FEWEST_WITHIN and across >= FEWEST_ACROSS:
        return ""
    return (
        f"of the device counts {within} are within one node and {across} over several, and a law "
        f"of both needs {FEWEST_WITHIN} and {FEWEST_ACROSS}"
    )


def _none_fits(tried: Sequence[Fit], fitting: Sequence[Fit]) -> str:
    if fitting:
        closest = max(fitting, key=lambda found: found.p)
        return (
            f"in all laws that fit a cost is below zero (in {closest.law.name}: "
            f"{' and '.join(closest.below_zero)})"
        )
    closest = max(tried, key=lambda found: found.p)
    return (
        f"each of {len(tried)} laws misses the counts by more than runs differ (lack of fit: "
        f"p = {closest.p:.2g} for the closest, {closest.law.name})"
    )
