"""Whether more devices cost accuracy: the change of a test metric, and a margin for it.

Changes are gains, so that a loss is negative whatever the metric. "No loss seen" is no evidence of
no loss, so what is tested is that the loss is smaller than a margin: non-inferiority (Wellek,
Testing Statistical Hypotheses of Equivalence and Noninferiority, 2010, section 2.2), one-sided at
2.5 % as is usual for it (ICH E9, 1998, section 3.3.2). Holm's step-down correction (Scandinavian
Journal of Statistics 6, 1979) over the device counts makes that the chance of *any* false verdict
of a series, of either kind.
"""

from dataclasses import dataclass

import numpy as np
from scipy import special

from hpcbench.analysis.estimates import Values

# MLPerf Inference asks for 99 % of the reference's quality (Reddi et al., ISCA 2020, section III).
MARGIN = 0.01
# The chance of a false "loss", and of a false "no loss larger than the margin".
ERROR = 0.025
# Fewer observations that agree to the last digit tell nothing of how far the next would be off.
ENOUGH_ALIKE = 6

NO_LOSS, LOSS, UNKNOWN = "no loss larger than the margin", "loss", "inconclusive"


@dataclass(frozen=True)
class Change:
    """A mean gain with its standard error and Student's degrees of freedom, of shape (...,).

    The error is missing where a side has one observation, or where fewer than six agree exactly.
    """

    gain: Values
    error: Values
    freedom: Values

    def interval(self) -> tuple[Values, Values]:
        """The ends of the 95 % interval."""
        reach = special.stdtrit(self.freedom, 1 - ERROR) * self.error
        return self.gain - reach, self.gain + reach

    def p_above(self, bound: float) -> Values:
        """One-sided p of a gain this large if the true one were ``bound``."""
        distance = np.asarray(self.gain - bound)
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.where(distance == 0, 0.0 * self.error, distance / self.error)
        return np.asarray(special.stdtr(self.freedom, -t))

    def p_below(self, bound: float) -> Values:
        """One-sided p of a gain this small if the true one were ``bound``."""
        return np.asarray(Change(-self.gain, self.error, self.freedom).p_above(-bound))


def paired_change(at: Values, base: Values) -> Change:
    """Of ``at[..., i]`` against ``base[..., i]`` with the same seed: Student's t of differences."""
    gains = at - base
    count = gains.shape[-1]
    mean = gains.mean(axis=-1)
    if count < 2:
        return Change(mean, np.full_like(mean, np.nan), np.full_like(mean, np.nan))
    # Rounding makes a tiny spread of differences that are the same number.
    spread = _without_rounding(gains.std(axis=-1, ddof=1), np.abs(at).max(axis=-1))
    return Change(mean, _known(spread / np.sqrt(count), count), np.full_like(mean, count - 1))


def welch_change(at: Values, base: Values) -> Change:
    """Of observations that are not pairs: Welch's t (Biometrika 34, 1947)."""
    counts = at.shape[-1], base.shape[-1]
    gain = at.mean(axis=-1) - base.mean(axis=-1)
    if min(counts) < 2:
        return Change(gain, np.full_like(gain, np.nan), np.full_like(gain, np.nan))
    parts = [side.var(axis=-1, ddof=1) / side.shape[-1] for side in (at, base)]
    total = parts[0] + parts[1]
    shares = sum(part**2 / (count - 1) for part, count in zip(parts, counts, strict=True))
    with np.errstate(invalid="ignore"):
        freedom = np.where(total > 0, total**2 / shares, min(counts) - 1)
    error = _without_rounding(np.sqrt(total), np.abs(at).max(axis=-1))
    return Change(gain, _known(error, min(counts)), freedom)


def _without_rounding(spread: Values, scale: Values) -> Values:
    return np.where(spread <= 8 * np.finfo(float).eps * scale, 0.0, spread)


def _known(error: Values, count: int) -> Values:
    return np.where((error == 0) & (count < ENOUGH_ALIKE), np.nan, error)


def holm(values: Values) -> Values:
    """Holm's adjusted p of ``values``; what is missing was not tested."""
    adjusted = np.full(len(values), np.nan)
    order = np.argsort(values)[: np.isfinite(values).sum()]
    factors = len(order) - np.arange(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(values[order] * factors), 1)
    return adjusted


def verdict_of(p_margin: float, p_loss: float) -> str:
    """By Holm's p that a loss as large as the margin would look so small, and that no loss would
    look so large. A loss that is surely smaller than the margin is none that matters."""
    if p_margin < ERROR:
        return NO_LOSS
    return LOSS if p_loss < ERROR else UNKNOWN
