"""Results as tidy tables, for notebooks and programs of one's own."""

from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import pandas as pd

from hpcbench.analysis.answers import points_of
from hpcbench.analysis.load import observe
from hpcbench.analysis.reading import read_folder
from hpcbench.analysis.why import why_table


@dataclass(frozen=True)
class Frames:
    """Tables whose rows and columns are named by :func:`hpcbench.load`.

    All but ``points``, ``ranks``, ``why`` and ``failed`` begin with the columns of a run's
    identity; rates are in samples a second, times in seconds, efficiencies shares of one. Columns
    that end in ``_low`` and ``_high`` are a 95 % interval over runs, missing where there is one run
    alone.
    """

    runs: pd.DataFrame
    points: pd.DataFrame
    intervals: pd.DataFrame
    epochs: pd.DataFrame
    energy: pd.DataFrame
    ranks: pd.DataFrame
    why: pd.DataFrame
    failed: pd.DataFrame
    skipped: list[str]


def load_frames(results: str | PathLike[str]) -> Frames:
    """Read ``results``; raises ConfigError and EnvironmentLacks as :func:`hpcbench.load` says."""
    found = read_folder(Path(results))
    observed = observe(found)
    points, every_point = points_of(found, observed)
    return Frames(
        runs=observed.runs,
        points=every_point,
        intervals=found.throughput,
        epochs=found.accuracy,
        energy=found.energy,
        ranks=found.ranks,
        why=why_table(points, observed.runs, found.ranks, found.runs),
        failed=pd.DataFrame(found.failed),
        skipped=found.skipped,
    )
