"""Whether rows are what run.json and the other rows of their run say: what was edited, cut off or
copied from elsewhere is refused instead of becoming another number."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hpcbench.records.identity import IDENTITY, PROGRAM, RUN
from hpcbench.records.schema import PHASE_TRAIN, PHASES, AccuracyRow, RankRow, ThroughputRow

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

# Rates were written to fewer digits once.
ROUNDING = 0.01
_MORE = 1 + ROUNDING


def refuse_contradictions(
    table: "pd.DataFrame",
    kind: type,
    name: str,
    of_run: "NDArray[np.int64]",
    documents: Sequence[Mapping[str, Any]],
) -> None:
    """Raise ValueError where the rows of file ``name``, each of the run whose run.json is
    ``documents[of_run]``, contradict it or each other; the rows of a run are together."""
    starts = np.flatnonzero(np.diff(of_run, prepend=-1))
    numbers = np.diff(starts, append=len(of_run))
    columns = list(RUN if kind is RankRow else IDENTITY)
    first_of_row = np.repeat(starts, numbers)
    for column in columns:
        values = table[column].to_numpy()
        other = np.flatnonzero(values != values[first_of_row])
        if len(other):
            mine, theirs = values[first_of_row[other[0]]], values[other[0]]
            what = "rows of another run" if column in RUN else f"more than one {column}"
            raise ValueError(f"{name} has {what}: {mine} and {theirs}")
    firsts = zip(*(table[column].iloc[starts].tolist() for column in columns), strict=True)
    for start, first in zip(starts, firsts, strict=True):
        _refuse_stranger(name, dict(zip(columns, first, strict=True)), documents[of_run[start]])
    if kind is ThroughputRow:
        _refuse_wrong_intervals(table, name, starts, numbers)
    elif kind is RankRow:
        devices = [(document.get("identity") or {}).get("devices") for document in documents]
        _refuse_wrong_ranks(table, name, np.array([n or np.inf for n in devices])[of_run])
    elif kind is AccuracyRow:
        _refuse_wrong_epochs(table, name, first_of_row)


def _refuse_stranger(name: str, first: Mapping[Any, Any], document: Mapping[str, Any]) -> None:
    """Raise ValueError where the ``first`` row of a file is not of the run of ``document``."""
    known = document.get("identity") or {}
    if "devices" in first and first["devices"] < 1:
        raise ValueError(f"{name} says that the run had {first['devices']} devices")
    for column, value in first.items():
        expected = document[column] if column in RUN else known.get(column)
        if expected is None or str(expected) == str(value):
            continue
        if column in RUN:
            raise ValueError(f"{name} has rows of another run, {first['sweep']} {first['run_id']}")
        raise ValueError(f"{name} says {column} {value}, and run.json {expected}")


def _refuse_wrong_ranks(table: "pd.DataFrame", name: str, devices: "NDArray[np.float64]") -> None:
    """Raise ValueError where a rank cannot be, of a run on so many ``devices`` for each row, or has
    one interval of training twice."""
    _refuse_unknown_phases(table, name)
    ranks = table["rank"].to_numpy()
    wrong = np.flatnonzero((ranks < 0) | (ranks >= devices))
    if len(wrong):
        raise ValueError(f"{name} has a rank {ranks[wrong[0]]}, which the run did not have")
    trained = table[table["phase"] == PHASE_TRAIN]
    if trained.duplicated([*RUN, "interval", "rank"]).any():
        raise ValueError(f"{name} has an interval of a rank twice")


def _refuse_wrong_epochs(
    table: "pd.DataFrame", name: str, first_of_row: "NDArray[np.int64]"
) -> None:
    """Raise ValueError where an epoch does not follow the one before it, or took no time at all."""
    epochs, first = table["epoch"].to_numpy(), first_of_row
    wrong = np.flatnonzero(epochs - epochs[first] != np.arange(len(epochs)) - first)
    if len(wrong):
        raise ValueError(f"{name} has epoch {epochs[wrong[0]]} where another should follow")
    if (table[["train_seconds", "elapsed_seconds"]] < 0).any(axis=None):
        raise ValueError(f"{name} has an epoch of less than no time")


def _refuse_unknown_phases(table: "pd.DataFrame", name: str) -> None:
    unknown = sorted(set(table["phase"].unique()) - set(PHASES))
    if unknown:
        raise ValueError(f"{name} has an interval of {unknown[0]!r}, which is no phase")


def _refuse_wrong_intervals(
    table: "pd.DataFrame",
    name: str,
    starts: "NDArray[np.int64]",
    numbers: "NDArray[np.int64]",
) -> None:
    """Raise ValueError where an interval is there twice or not at all, or its numbers contradict
    each other."""
    _refuse_unknown_phases(table, name)
    trained = (table["phase"] == PHASE_TRAIN).to_numpy()
    so_far = np.cumsum(trained)
    before = np.repeat(so_far[starts] - trained[starts], numbers)
    place = so_far - before - 1
    wrong = np.flatnonzero(trained & (table["interval"].to_numpy() != place))
    if len(wrong):
        raise ValueError(f"{name} lacks interval {place[wrong[0]]}, or has one twice")
    samples = table["samples"].to_numpy(float)
    most = (table["steps"] * table["global_batch"]).to_numpy(float)
    # A program of one's own counts as it likes.
    own = (table["framework"] != PROGRAM).to_numpy() & trained
    timed = samples / table["seconds"].to_numpy(float)
    rates = table["samples_per_second"].to_numpy(float)
    fastest, mean, slowest = (
        table[column].to_numpy(float)
        for column in ("fastest_rank_seconds", "mean_rank_seconds", "seconds")
    )
    in_order = (fastest > 0) & (fastest <= mean * _MORE) & (mean <= slowest * _MORE)
    for contradicts, what in (
        (own & (samples > most), "more samples than its steps have"),
        (trained & ~in_order, "a mean over ranks that is not between its fastest and slowest"),
        (np.abs(rates - timed) > ROUNDING * timed, "another rate than samples over seconds"),
    ):
        if contradicts.any():
            interval = table["interval"].to_numpy()[np.flatnonzero(contradicts)[0]]
            raise ValueError(f"{name}: interval {interval} has {what}")
