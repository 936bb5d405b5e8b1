"""Whether one point became slower by more than a threshold: verdicts and their errors.

A false "slower" is one that is said where no point is slower by more than the threshold. Over the
points it takes one interval of many, so these are simultaneous (Bonferroni). That all points are
not slower takes every interval, so each stands at its own level: an intersection-union test
(Berger, Technometrics 24(4), 1982), of which a single point's is one of non-inferiority (Wellek,
Testing Statistical Hypotheses of Equivalence and Noninferiority, 2010, section 2.2).
"""

from typing import Any

import numpy as np

from hpcbench.analysis.ratios import RANKS, STUDENT, Method, Values, ranks_tell, reach

SLOWER = "slower beyond the threshold"
WITHIN = "not slower than the threshold"
FASTER = "faster"
UNTOLD = "can't tell"
VERDICTS = (SLOWER, WITHIN, FASTER, UNTOLD)
# Of an interval, or of all that hold together: half of it to either side. A false "slower" comes
# from the points or from all together, half of it each.
ERROR = 0.05


def change(
    old: Values, new: Values, method: Method, threshold: float, points: int
) -> dict[str, Any]:
    """What became of one of so many ``points``, from the log rates of its observations.

    ``change`` with the point's own 95 % interval, ``low`` and ``high``, and that of all points
    together, ``joint_low`` and ``joint_high``, as shares; ``verdict``; ``detectable``, the slowdown
    that would be found beyond ``threshold`` with a power of 0.8, missing where none would;
    ``spread``, the standard deviation of an observation's log rate, missing of one alone.
    """
    bound = float(np.log1p(-threshold))
    of_many = _of_many(method, len(old), len(new), ERROR / points)
    own = method.interval(old, new, ERROR)
    joint = of_many.interval(old, new, ERROR / points)
    spread = float(method.spread(old, new))
    farthest = spread * reach(of_many, len(old), len(new), ERROR / points)
    return {
        "change": float(np.expm1(own.middle)),
        "low": float(np.expm1(own.low)),
        "high": float(np.expm1(own.high)),
        "joint_low": float(np.expm1(joint.low)),
        "joint_high": float(np.expm1(joint.high)),
        "verdict": verdict_of(own.low, joint.low, joint.high, bound),
        "detectable": detectable(farthest, bound),
        "spread": spread,
    }


def _of_many(method: Method, first: int, second: int, error: float) -> Method:
    """The method for all points' intervals. However far apart few runs are, no order of them is as
    unlikely as many points ask for: then Student's t, which takes their noise for normal."""
    if method is RANKS and ranks_tell(first, second, ERROR) > ranks_tell(first, second, error):
        return STUDENT
    return method


def verdict_of(own_low: Any, low: Any, high: Any, bound: float) -> str:
    """``own_low`` is of the point's own interval, ``low`` and ``high`` of all points'."""
    if high < bound:
        return SLOWER
    if low > 0:
        return FASTER
    return WITHIN if own_low > bound else UNTOLD


def detectable(farthest: float, bound: float) -> float:
    """The share by which a rate has to fall to lie ``farthest`` below ``bound``, both log ratios;
    missing where that is infinite."""
    return float(-np.expm1(bound - farthest)) if np.isfinite(farthest) else np.nan
