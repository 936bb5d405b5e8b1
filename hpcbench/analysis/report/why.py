"""Why points lose: the table of causes, and its sentences."""

import pandas as pd

from hpcbench.analysis.load import SERIES, Row
from hpcbench.analysis.report.cells import (
    SERIES_HEADER,
    Cell,
    Table,
    between,
    milliseconds,
    of_series,
    percent,
    varying_settings,
)
from hpcbench.analysis.why import CAUSES, named, sentence, slow_rank_in_words

SENTENCES = 6


def sentences(why: pd.DataFrame) -> list[str]:
    """Of ``why_table``: a sentence a series, of its largest count."""
    if why.empty:
        return []
    ends = why.loc[why.groupby(SERIES)["devices"].idxmax()]
    ends = ends.sort_values("loss_seconds", ascending=False)
    said = [sentence(row) for row in ends.to_dict("records")]
    more = len(said) - SENTENCES
    return [*said[:SENTENCES], *([f"And {more} more, in the table."] if more > 0 else [])]


def why_report(why: pd.DataFrame) -> Table | None:
    """Of ``why_table``'s rows; None where there are none."""
    if why.empty:
        return None
    extra = varying_settings(why)
    return Table(
        "why",
        "Why a step takes longer than at the base",
        "By how much a step takes longer than the base's step for the same work, and the causes "
        "whose 95 % bootstrap interval lies above zero and that take at least 1 % of the step. "
        "Unexplained: the loss minus all causes. Medians do not add up exactly, so a small "
        "remainder is normal.",
        [
            *(*SERIES_HEADER, *extra, "devices", "runs", "loss, ms", "share of step"),
            *("causes, ms", "unexplained, ms", "not measured", "slow rank"),
        ],
        [
            [
                *of_series(row, extra),
                *(Cell(str(row[name]), row[name]) for name in ("devices", "runs")),
                between(row, "loss_seconds", milliseconds),
                between(row, "loss_share", percent),
                _causes(row),
                between(row, "rest_seconds", milliseconds),
                _words(", ".join(CAUSES[name] for name in row["unmeasured"]) or "–"),
                _words(slow_rank_in_words(row) or "–"),
            ]
            for row in why.to_dict("records")
        ],
    )


def _words(said: str) -> Cell:
    return Cell(said, said)


def _causes(row: Row) -> Cell:
    if row["runs"] < 2:
        return _words("a single run is not enough")
    blamed = [
        f"{named(row, name)} {between(row, f'{name}_seconds', milliseconds).text}"
        for name in row["blamed"]
    ]
    return _words("; ".join(blamed) or "none distinguishable from noise")
