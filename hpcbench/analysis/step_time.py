"""The parts of a step's time, for the figure and the table of them."""

import math

import pandas as pd

from hpcbench.analysis.load import Row
from hpcbench.analysis.scaling import PLAUSIBLE

# By column of ``scaling_table``, without its unit.
PARTS = {
    "base_compute": "compute, as on the base",
    "extra_compute": "extra compute time",
    "contention": "slower beside other devices",
    "waiting": "waiting for other ranks",
    "exchange": "gradient exchange",
}


def parts_of(point: Row) -> dict[str, str]:
    """What each of :data:`PARTS` is of a point: one may hold another that was not timed apart, as
    in runs of before schema 4, or under ``mirrored``."""
    parts = dict(PARTS)
    if math.isnan(point["contention_seconds"]):
        parts["extra_compute"] += " (with what devices slow each other down)"
    if math.isnan(point["serialization_efficiency"]):
        parts["exchange"] += " (with waiting in steps)"
    return parts


def timed_apart(table: pd.DataFrame) -> pd.DataFrame:
    """The points whose steps were timed without the exchange too; not those where such steps were
    slower than with it, so that they split nothing."""
    return table[table["communication_efficiency"] <= PLAUSIBLE]
