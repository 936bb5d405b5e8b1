"""The parts of a step's time, for the figure and the table of them."""

import pandas as pd

from hpcbench.analysis.scaling import PLAUSIBLE

# By column of ``scaling_table``, without its unit.
PARTS = {
    "base_compute": "compute, as on the base",
    "extra_compute": "extra compute time",
    "contention": "slower beside other devices",
    "waiting": "waiting for other ranks",
    "exchange": "gradient exchange",
}


def timed_apart(table: pd.DataFrame) -> pd.DataFrame:
    """The points whose steps were timed without the exchange too; not those where such steps were
    slower than with it, so that they split nothing."""
    return table[table["communication_efficiency"] <= PLAUSIBLE]
