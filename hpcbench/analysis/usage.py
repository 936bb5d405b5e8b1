"""What OLD and NEW use of the machine, beside the change of rates: no verdict depends on it."""

import numpy as np
import pandas as pd

from hpcbench.analysis.estimates import Estimate
from hpcbench.analysis.machine import OF_CALIBRATED, OF_VENDOR, RATE, TOKENS, machine_columns
from hpcbench.analysis.ratios import Method, Values
from hpcbench.analysis.verdicts import ERROR

MEMORY, MEMORY_CHANGE = "memory_gib", "memory_change"
# Of either side, with old_ and new_ before them.
USED = (RATE, OF_CALIBRATED, OF_VENDOR, TOKENS, MEMORY)


def usage(found: pd.DataFrame, method: Method) -> pd.DataFrame:
    """One row a point of ``observations``; what is not known is missing.

    ``point``; of each side, as ``old_teraflops``, all of USED: TFLOP/s of a device, its shares of
    what was calibrated and of what the vendor says, and tokens a second, by the median rate; the
    median of peak memory, in GiB. ``memory_change`` from OLD to NEW, a share, with its 95 %
    interval, ``_low`` and ``_high``: missing where there are too few observations.
    """
    rows = []
    for point, of_point in found.groupby("point"):
        row: dict[str, object] = {"point": point}
        logs = []
        for side in ("old", "new"):
            own = of_point[of_point["side"] == side].sort_values("unit")
            rate = Estimate.of(np.array([own["rate"].median()]), 0)
            used = machine_columns(own, rate, int(own["devices"].iloc[0]))
            used[MEMORY] = float(own[MEMORY].median())
            row |= {f"{side}_{name}": used[name] for name in USED}
            logs.append(np.log(own[MEMORY].to_numpy(float)))
        rows.append(row | _change(logs[0], logs[1], method))
    return pd.DataFrame(rows)


def _change(old: Values, new: Values, method: Method) -> dict[str, float]:
    """Of log memory, where all observations tell of it."""
    names = [f"{MEMORY_CHANGE}{end}" for end in ("_low", "", "_high")]
    if not (np.isfinite(old).all() and np.isfinite(new).all()):
        return dict.fromkeys(names, np.nan)
    found = np.expm1(method.interval(old, new, ERROR))
    return dict(zip(names, np.where(np.isfinite(found), found, np.nan).tolist(), strict=True))
