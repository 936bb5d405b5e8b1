"""The table of accuracies, and of the time to them."""

import math
from collections.abc import Callable
from typing import Any

import pandas as pd

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
from hpcbench.records.schema import ACCURACY


def accuracy_report(accuracy: pd.DataFrame) -> Table:
    """Of ``accuracy_table``'s rows."""
    extra = varying_settings(accuracy)
    if accuracy["training"].nunique() > 1:
        extra.append("training")
    rows = [
        [
            *of_series(row, extra),
            *(Cell(str(row[name]), row[name]) for name in ("devices", "runs")),
            text(str(row["metric"]).replace("_", " ")),
            between(row, "final_accuracy", _shown(row["metric"])),
            Cell(_change(row), row["change"]),
            text(row["verdict"]),
            Cell(_shown(row["metric"])(row["target"]), row["target"]),
            Cell(f"{row['reached']}", row["reached"]),
            Cell(number(row["epochs_to_target"], 2), row["epochs_to_target"]),
            between(row, "seconds_to_target"),
        ]
        for row in accuracy.to_dict("records")
    ]
    return Table(
        "accuracy",
        "Accuracy, and time to it",
        "Final test metric; its change (of accuracies in points) against the smallest count, and "
        "whether that is a loss (one-sided Mann-Whitney test over runs, Holm-corrected, 5 %). Time "
        "to the target is training time alone, to the end of the first epoch that reached it.",
        [
            *SERIES_HEADER,
            *extra,
            "devices",
            "runs",
            "metric",
            "final",
            "change",
            "verdict",
            "target",
            "runs that reached it",
            "epochs",
            "seconds",
        ],
        rows,
    )


def precise(value: Any) -> str:
    """A percentage as accuracies are quoted."""
    return "–" if math.isnan(value) else f"{100 * value:.2f} %"


def _shown(metric: str) -> Callable[[Any], str]:
    return precise if metric == ACCURACY else number


def _change(row: Row) -> str:
    return f"{100 * row['change']:+.2f}" if row["metric"] == ACCURACY else f"{row['change']:+.3g}"
