"""OLD and NEW, a table of runs each: what they are made of, and which of their points meet."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from hpcbench.analysis.load import SERIES, Row, observe, with_subjects
from hpcbench.analysis.machine import KNOWN
from hpcbench.analysis.reading import read_folder
from hpcbench.errors import ConfigError
from hpcbench.records.identity import UNKNOWN

# The software is what usually changed between two sweeps; it is said, and does not keep them apart.
# How full the nodes were is relative to a folder; their number is not.
_ASIDE = ("sweeps", "software", "placement")
COMPARED = [*(name for name in SERIES if name not in _ASIDE), "devices", "nodes"]
# A folder is a sweep, but may hold several of other names.
SWEEP = ["folder", "sweep"]
REPEAT = [*SWEEP, "repeat", "seed"]


def read_side(folders: Sequence[Path], name: str, columns: Sequence[str]) -> pd.DataFrame:
    """One row a run of all ``folders``, with the ``folder`` of each, alike in ``columns``.

    Raises as ``read_folder`` and :func:`across` do.
    """
    tables = [observe(read_folder(folder)).runs.assign(folder=str(folder)) for folder in folders]
    return across(pd.concat(tables, ignore_index=True), columns, name)


def check_distinct(old: pd.DataFrame, new: pd.DataFrame) -> None:
    """Raise ConfigError if one run is there twice, on both sides or in two folders of a side."""
    runs = pd.concat([old, new], ignore_index=True)
    # A copy under another path is the same measurement, to the last digit of its rate.
    twice = runs[runs.duplicated(["run_id", "started", "samples_per_second"], keep=False)]
    if len(twice):
        run = twice["run_id"].iloc[0]
        where = " and ".join(twice.loc[twice["run_id"] == run, "folder"].head(2))
        raise ConfigError(
            f"run {run} was given twice, in {where}: a measurement counts once, on one side"
        )


def across(runs: pd.DataFrame, columns: Sequence[str], name: str) -> pd.DataFrame:
    """``runs`` without what tells points apart by ``columns``.

    Raises ConfigError where points of the same side fall together.
    """
    blank = runs.assign(**dict.fromkeys(columns, "any"))
    for column in columns:
        if (runs.groupby([blank[part] for part in COMPARED])[column].nunique() > 1).any():
            raise ConfigError(f"--across {column}: {name} itself has points that differ in it")
    return blank


def across_unknown(
    old: pd.DataFrame, new: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """Both run tables without what one of them does not know of any run, as results of an earlier
    schema do not; and a sentence for each such column."""
    sentences = []
    for column in COMPARED:
        ignorant = [
            name for name, runs in (("OLD", old), ("NEW", new)) if (runs[column] == UNKNOWN).all()
        ]
        if len(ignorant) == 1:
            old, new = old.assign(**{column: "any"}), new.assign(**{column: "any"})
            sentences.append(f"{column} is not known of {ignorant[0]}, so points may differ in it")
    return old, new, sentences


def with_names(old: pd.DataFrame, new: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both run tables with a column ``point``, its name in a sentence: "horovod cnn-2 at 8".

    What else tells points of that name apart is added: "horovod cnn-2 at 8, batch 64".
    """
    old, new = with_subjects(old, new)
    both = pd.concat([old, new], ignore_index=True)
    alike = both.groupby(["subject", "devices"])
    varying = [column for column in COMPARED if (alike[column].nunique() > 1).any()]

    def name(row: Row) -> str:
        return ", ".join(
            [f"{row['subject']} at {row['devices']}", *(f"{c} {row[c]}" for c in varying)]
        )

    return (
        old.assign(point=[name(row) for row in old.to_dict("records")]),
        new.assign(point=[name(row) for row in new.to_dict("records")]),
    )


def missing(old: pd.DataFrame, new: pd.DataFrame) -> list[str]:
    """The names of the points of ``old``, by ``with_names``, that ``new`` lacks, in order."""
    points = old[[*COMPARED, "point"]].drop_duplicates()
    there = points.merge(new[COMPARED].drop_duplicates(), on=COMPARED, how="left", indicator=True)
    return sorted(there[there["_merge"] == "left_only"]["point"])


@dataclass(frozen=True)
class Design:
    """How two sides were measured.

    ``several``: a point has more than one sweep on a side, and these are the observations, else
    runs are. ``paired``: each sweep of OLD has its neighbour in time in NEW. ``interleaved``: the
    middle of either side lies within the other's time.
    """

    several: bool
    paired: bool
    interleaved: bool


def design_of(old: pd.DataFrame, new: pd.DataFrame) -> Design:
    """By the sweeps a point has, and when runs ``started``."""
    several = any(
        runs[[*COMPARED, *SWEEP]].drop_duplicates().duplicated(COMPARED).any()
        for runs in (old, new)
    )
    known = not any((runs["started"].fillna("") == "").any() for runs in (old, new))
    return Design(
        several=several,
        paired=several and known and _in_pairs(old, new),
        interleaved=known and _within(old, new) and _within(new, old),
    )


def _in_pairs(old: pd.DataFrame, new: pd.DataFrame) -> bool:
    """Whether sweeps came one after the other, and each two of them are one of either side."""
    both = pd.concat([old.assign(side="old"), new.assign(side="new")])
    spans = both.groupby(["side", *SWEEP])["started"].agg(["min", "max"]).sort_values("min")
    sides = list(spans.index.get_level_values("side"))
    alone = (spans["max"].iloc[:-1].to_numpy() < spans["min"].iloc[1:].to_numpy()).all()
    return bool(alone) and all(len(set(sides[i : i + 2])) == 2 for i in range(0, len(sides), 2))


def _within(runs: pd.DataFrame, other: pd.DataFrame) -> bool:
    """Whether the middle of ``runs`` lies between the first and the last of ``other``."""
    middle = sorted(runs["started"])[len(runs) // 2]
    return bool(other["started"].min() < middle < other["started"].max())


def observations(old: pd.DataFrame, new: pd.DataFrame, several: bool) -> pd.DataFrame:
    """One row an observation of a point that both sides have, of run tables ``with_names``.

    Columns COMPARED and ``point``; ``side`` (old or new); ``rate`` in samples a second; those of
    :data:`hpcbench.analysis.machine.KNOWN`, missing where not known; ``unit``, the number, in order
    of time, of the sweep or the repeat that it is part of. An observation is a run or, where there
    are ``several`` sweeps a side, the median of a sweep's.
    """
    parts = []
    keys = SWEEP if several else REPEAT
    for side, runs in (("old", old), ("new", new)):
        began = runs.assign(began=runs.groupby(keys)["started"].transform("min"))
        parts.append(runs.assign(side=side, unit=began.groupby(["began", *keys]).ngroup()))
    both = pd.concat(parts, ignore_index=True).rename(columns={"samples_per_second": "rate"})
    both = both[both.groupby(COMPARED)["side"].transform("nunique") == 2]
    columns, values = [*COMPARED, "point", "side", "unit"], ["rate", *KNOWN]
    both = both.reindex(columns=[*columns, *values])
    if several:
        both = both.groupby(columns, sort=False)[values].median().reset_index()
    return both
