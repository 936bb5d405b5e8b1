"""What to know of rates that programs printed themselves."""

from collections.abc import Iterator

import pandas as pd

from hpcbench.analysis.load import SERIES
from hpcbench.analysis.validity import Caution
from hpcbench.words import count

# Share by which rates may differ and look like one device's own.
SAME = 0.1


def printed_rates(table: pd.DataFrame, runs: pd.DataFrame) -> Iterator[Caution]:
    """Objections to the points of ``scaling_table`` whose runs printed their rates."""
    printed = runs[runs["printed"]]
    if printed.empty:
        return
    yield Caution(
        f"{len(printed)} of {count(len(runs), 'run')} have rates that the program printed: how it "
        f"took the time is not known, nor how long a step is",
        None,
    )
    # Numbers that are of a device, or of a rank each, were told to be.
    of_all = printed[printed["metric_of"] == "all"]
    for key, series in table.groupby(SERIES, sort=True):
        if not (of_all[SERIES] == pd.Series(dict(zip(SERIES, key, strict=True)))).all(axis=1).any():
            continue
        for few, many in _unchanged(series):
            yield Caution(
                f"{series['line'].iloc[0]}: the rate that is printed is as high on {many} devices "
                f"as on {few}; where it is each device's own, say --metric-of device",
                many / few - 1,
            )


def _unchanged(series: pd.DataFrame) -> Iterator[tuple[int, int]]:
    """Counts of which one is at least twice the other, and the rate is the same."""
    rates = series.set_index("devices")["samples_per_second"].sort_index()
    counts = [int(devices) for devices in rates.index]
    for place, few in enumerate(counts):
        many = next((n for n in counts[place:] if n >= 2 * few), None)
        if many is not None and abs(rates[many] / rates[few] - 1) <= SAME:
            yield few, many
