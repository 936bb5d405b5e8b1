"""The table of runs that did not end well."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hpcbench.analysis.report.cells import Cell, Table, text
from hpcbench.records.upgrade import columns_of


def failed_table(failed: Iterable[dict[str, Any]]) -> Table:
    """Of the run.json of each, with its folder and message."""
    rows = []
    for document in failed:
        known = columns_of(document)
        rows.append(
            [
                text(document.get("run_id") or Path(document["folder"]).name),
                *(text(known.get(name, "–")) for name in ("model", "framework", "strategy")),
                Cell(str(known.get("devices", "–")), known.get("devices")),
                text(document.get("status", "–")),
                text(document.get("failure", "–")),
                text(document["message"]),
            ]
        )
    return Table(
        "failed",
        "Failed runs",
        "None of their rows are in the figures.",
        ["run", "model", "framework", "strategy", "devices", "status", "class", "message"],
        rows,
    )
