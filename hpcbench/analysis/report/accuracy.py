"""The table of accuracies, and of the time to them."""

import math
from collections.abc import Callable
from typing import Any

import pandas as pd

from hpcbench.analysis.load import Row
from hpcbench.analysis.loss import ERROR, LOSS, NO_LOSS, UNKNOWN
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
from hpcbench.records.schema import ACCURACY


def accuracy_report(accuracy: pd.DataFrame) -> Table:
    """Of ``accuracy_table``'s rows."""
    extra = varying_settings(accuracy)
    if accuracy["training"].nunique() > 1:
        extra.append("training")
    timed = accuracy["seconds_with_evaluation"].notna().any()
    rows = [
        [
            *of_series(row, extra),
            *(Cell(str(row[name]), row[name]) for name in ("devices", "runs")),
            text(str(row["metric"]).replace("_", " ")),
            between(row, "final_accuracy", _shown(row["metric"])),
            Cell(_shown(row["metric"])(row["mean_accuracy"]), row["mean_accuracy"]),
            _change(row),
            text(_verdict(row)),
            Cell(_shown(row["metric"])(row["target"]), row["target"]),
            Cell(f"{row['reached']}", row["reached"]),
            between(row, "epochs_to_target", lambda value: number(value, 2)),
            between(row, "seconds_to_target"),
            *([between(row, "seconds_with_evaluation")] if timed else []),
        ]
        for row in accuracy.to_dict("records")
    ]
    return Table(
        "accuracy",
        "Accuracy, and time to it",
        "Final test metric, the median over runs; its change (of accuracies in points) is that of "
        "the mean over seeds against the smallest count, with a 95 % interval over seeds. "
        f"{NO_LOSS.capitalize()}: less than {_margins(accuracy)}; {LOSS}: a significant loss, "
        f"which may exceed the margin; {UNKNOWN}: neither can be shown. The verdicts hold "
        "for all counts of a line together (one-sided t tests at 2.5 %, Holm-corrected), so they "
        "can be stricter than the intervals. Seconds to the target end with the first epoch that "
        "reached it; MLPerf's time to train includes evaluations"
        f"{', as the next column does' if timed else ', which were not timed here'}.",
        [
            *SERIES_HEADER,
            *extra,
            "devices",
            "runs",
            "metric",
            "final",
            "mean over seeds",
            "change",
            "verdict",
            "target",
            "runs that reached it",
            "epochs to target",
            "training seconds to target, without evaluation",
            *(["with evaluation"] if timed else []),
        ],
        rows,
    )


def precise(value: Any) -> str:
    """A percentage as accuracies are quoted."""
    return "–" if math.isnan(value) else f"{100 * value:.2f} %"


def _shown(metric: str) -> Callable[[Any], str]:
    return precise if metric == ACCURACY else number


def _change(row: Row) -> Cell:
    """ "-0.20 [-0.31, -0.09]", of accuracies in points."""
    if row["devices"] == row["base_devices"]:
        return Cell("–", 0.0)
    scale, show = (100, "{:+.2f}") if row["metric"] == ACCURACY else (1, "{:+.3g}")
    return between(row, "change", lambda value: show.format(scale * value))


def _verdict(row: Row) -> str:
    if row["reason"]:
        return f"{row['verdict']}: {row['reason']}"
    smaller = row["verdict"] == NO_LOSS and row["p_loss"] < ERROR
    return row["verdict"] + (" (a significant one within it)" if smaller else "")


def _margins(accuracy: pd.DataFrame) -> str:
    """The margins of all rows in words: "0.97 to 0.98 points of accuracy"."""
    said = []
    for metric, rows in accuracy.groupby("metric"):
        points = metric == ACCURACY
        scale, unit = (100, "points of accuracy") if points else (1, str(metric).replace("_", " "))
        ends = sorted({number(scale * float(value), 2) for value in rows["margin"]}, key=float)
        said.append(f"{' to '.join(dict.fromkeys([ends[0], ends[-1]]))} {unit}")
    return " or ".join(said)
