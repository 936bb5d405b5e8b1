"""The parts of a step's time, for the figure and the table of them."""

import math

import pandas as pd

from hpcbench.analysis.load import Row
from hpcbench.analysis.scaling import PLAUSIBLE

# By column of ``scaling_table``, without its unit.
PARTS = {
    "base_compute": "compute (as at the base)",
    "extra_compute": "extra compute",
    "extra_input": "slower input",
    "extra_background": "background threads",
    "contention": "contention between devices",
    "waiting": "waiting for other ranks",
    "exchange": "gradient exchange",
}
# What is part of the extra compute where it was not timed apart.
WITHIN_EXTRA_COMPUTE = {
    "contention": "contention",
    "extra_input": "input",
    "extra_background": "background threads",
}


def parts_of(point: Row) -> dict[str, str]:
    """What each of :data:`PARTS` is of a point: one may hold another that was not timed apart, as
    in runs of earlier schemas, or under ``mirrored``."""
    parts = dict(PARTS)
    held = [
        words
        for name, words in WITHIN_EXTRA_COMPUTE.items()
        if math.isnan(point[f"{name}_seconds"])
    ]
    if held:
        parts["extra_compute"] += f" (including {', '.join(held)})"
    if math.isnan(point["serialization_efficiency"]):
        parts["exchange"] += " (including waiting within steps)"
    return parts


def timed_apart(table: pd.DataFrame) -> pd.DataFrame:
    """The points whose steps were timed without the exchange too; not those where such steps were
    slower than with it, so that they split nothing."""
    return table[table["communication_efficiency"] <= PLAUSIBLE]
