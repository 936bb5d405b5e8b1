"""The table of scaling laws, and in sentences what they foretold or why there is none."""

import math
from typing import Any

import pandas as pd

from hpcbench.analysis.choice import FITS
from hpcbench.analysis.load import Row
from hpcbench.analysis.report.cells import (
    SERIES_HEADER,
    Cell,
    Table,
    between,
    number,
    of_series,
    text,
    varying_settings,
)
from hpcbench.analysis.units import counted, of_data

# Of the laws that do not fit a cell names no more.
NAMED = 4


def laws_table(laws: pd.DataFrame) -> Table:
    """Of ``law_table``'s rows."""
    extra = varying_settings(laws)
    rows = [
        [
            *of_series(row, extra),
            text(row["law"] or "none"),
            text("; ".join(map(_parameter, row["parameters"])) or "–"),
            _reach(row),
            text(row["reason"] or "requested limit reached"),
            between(row, "most_useful", lambda value: number(value, 2)),
            text(_unfit(row["tried"]) or "–"),
            Cell(str(row["largest"]), row["largest"]),
            _predicted(row),
            between(row, "measured"),
        ]
        for row in laws.to_dict("records")
    ]
    return Table(
        "laws",
        "Scaling laws",
        "The law with the lowest Mallows' criterion among those that fit, with 95 % intervals: the "
        f"rate of one device in {counted(laws)}/s, and the cost of additional devices relative to "
        "the time on one. Drawn to: the device count up to which the band of all laws that the "
        "runs do not contradict can be trusted. Does not fit: p of the test for lack of fit "
        f"against the spread of runs, below {FITS}. Predicted: the rate at the largest count from "
        "the other counts alone.",
        [
            *SERIES_HEADER,
            *extra,
            "law",
            "parameters",
            "drawn to",
            "reason for the limit",
            "fastest at about",
            "does not fit",
            "largest count",
            "predicted there",
            "measured there",
        ],
        rows,
    )


def _parameter(one: dict[str, Any]) -> str:
    ends = f"[{number(one['low'])}, {number(one['high'])}]"
    return f"{one['name']} {number(one['value'])} {ends}"


def _reach(row: Row) -> Cell:
    known = not math.isnan(row["reach"])
    return Cell(str(int(row["reach"])) if known else "–", row["reach"])


def _unfit(tried: list[dict[str, Any]]) -> str:
    """The laws that do not fit, those known by a name of their own first."""
    unfit = sorted((one for one in tried if one["p"] < FITS), key=lambda one: " + " in one["law"])
    named = [f"{one['law']} (p = {one['p']:.1g})" for one in unfit[:NAMED]]
    more = [f"{len(unfit) - NAMED} more"] if len(unfit) > NAMED else []
    return ", ".join([*named, *more])


def _predicted(row: Row) -> Cell:
    if row["vague"] and not row["missed"]:
        return Cell("inconclusive", row["predicted"])
    cell = between(row, "predicted")
    return Cell(f"{cell.text}, missed", cell.value) if row["missed"] else cell


def sentences(laws: pd.DataFrame) -> list[str]:
    """Of each law how far it is drawn and how well it foretells its largest count from the others;
    then of the series without one why, those with the same reason together."""
    without: dict[str, list[str]] = {}
    said = []
    for row in laws.to_dict("records"):
        if row["law"]:
            said.append(_of_law(row))
        else:
            without.setdefault(row["reason"], []).append(row["line"])
    return said + [f"No law for {', '.join(who)}: {why}." for why, who in without.items()]


def _of_law(row: Row) -> str:
    law = f"{row['law']} for {row['line']}"
    why = f", since {row['reason']}" if row["reason"] else ""
    drawn = f"drawn to {int(row['reach'])} devices{why}"
    if math.isnan(row["predicted"]):
        return f"{law}: not checked, the counts without {row['largest']} have no law; {drawn}."
    if row["vague"] and not row["missed"]:
        return (
            f"{law}: not checked, the other counts say too little about {row['largest']}; {drawn}."
        )
    # An interval of fewer runs is not to be believed out of context.
    expected = between(row, "predicted").text if row["enough_runs"] else number(row["predicted"])
    unit = f"{of_data(row['dataset'])}/s"
    return (
        f"{law}: without the runs at {row['largest']} it predicts {expected} {unit} there, "
        f"measured {number(row['measured'])}"
        f"{' (missed)' if row['missed'] else ''}; {drawn}."
    )
