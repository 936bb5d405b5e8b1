"""Results as tidy tables, for notebooks and programs of one's own."""

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd

from hpcbench.analysis.answers import points_of
from hpcbench.analysis.load import observe
from hpcbench.analysis.reading import read_folder
from hpcbench.analysis.why import why_table
from hpcbench.records.identity import RUN
from hpcbench.records.upgrade import columns_of

OF_RUN = [*RUN, "model", "framework", "strategy", "devices"]
OF_FAILED = ["folder", "status", "failure", "message"]


@dataclass(frozen=True)
class Frames:
    """Tables whose rows and columns are named by :func:`hpcbench.load`.

    ``runs``, ``intervals``, ``epochs`` and ``energy`` begin with the columns of a run's identity,
    ``ranks`` and ``failed`` with :data:`OF_RUN`; rates are in samples per second, times in seconds,
    efficiencies shares of one. Columns that end in ``_low`` and ``_high`` are a 95 % interval over
    runs, missing where there is one run alone.
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
        ranks=_with_runs(found.ranks, observed.runs),
        why=why_table(points, observed.runs, found.ranks, found.runs),
        failed=_failed(found.failed),
        skipped=found.skipped,
    )


def _with_runs(ranks: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    named = ranks.merge(runs[OF_RUN], on=RUN, how="left")
    return named[[*OF_RUN, *(name for name in ranks if name not in RUN)]]


def _failed(documents: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """A row a run; what a run.json does not say is missing."""
    rows = []
    for document in documents:
        known = document | columns_of(document)
        rows.append({name: known.get(name) for name in (*OF_RUN, *OF_FAILED)})
    return pd.DataFrame(rows, columns=[*OF_RUN, *OF_FAILED])
