"""Whether rows are what run.json and the other rows of their run say: what was edited, cut off or
copied from elsewhere is refused instead of becoming another number."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hpcbench.records.identity import IDENTITY, PROGRAM, RUN
from hpcbench.records.schema import PHASE_TRAIN, PHASES, RankRow, ThroughputRow
from hpcbench.words import count

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

# Rates were written to fewer digits once.
ROUNDING = 0.01


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
    firsts = table[columns].iloc[starts].to_dict("records")
    for start, rows, first in zip(starts, numbers, firsts, strict=True):
        _refuse_stranger(name, first, rows, documents[of_run[start]])
    if kind is ThroughputRow:
        _refuse_wrong_intervals(table, name, starts, numbers)


def _refuse_stranger(
    name: str, first: Mapping[Any, Any], rows: int, document: Mapping[str, Any]
) -> None:
    """Raise ValueError where the ``first`` of a file's ``rows`` is not of the run of ``document``,
    or they are more or fewer than it wrote."""
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
    written = (document.get("rows") or {}).get(name)
    if written not in (None, rows):
        raise ValueError(f"{name} has {count(rows, 'row')}, and the run wrote {written}")


def _refuse_wrong_intervals(
    table: "pd.DataFrame",
    name: str,
    starts: "NDArray[np.int64]",
    numbers: "NDArray[np.int64]",
) -> None:
    """Raise ValueError where an interval is there twice or not at all, or its numbers contradict
    each other."""
    unknown = sorted(set(table["phase"].unique()) - set(PHASES))
    if unknown:
        raise ValueError(f"{name} has an interval of {unknown[0]!r}, which is no phase")
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
    for contradicts, what in (
        (own & (samples > most), "more samples than its steps have"),
        (np.abs(rates - timed) > ROUNDING * timed, "another rate than samples over seconds"),
    ):
        if contradicts.any():
            interval = table["interval"].to_numpy()[np.flatnonzero(contradicts)[0]]
            raise ValueError(f"{name}: interval {interval} has {what}")
