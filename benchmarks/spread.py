"""How the benchmarks print what they measured several times."""

import statistics
from collections.abc import Sequence


def spread(values: Sequence[float], digits: int) -> str:
    """Median and range, as ``12.3 [11.9, 14.0]``."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:,.{digits}f} [{low:,.{digits}f}, {high:,.{digits}f}]"
