"""Reads the files of runs back; what does not fit is reported by name, never guessed at."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpcbench.records.schema import (
    ACCURACY_FILE,
    RUN_FILE,
    SCHEMA_VERSION,
    STATUS_COMPLETE,
    THROUGHPUT_FILE,
    AccuracyRow,
    ThroughputRow,
    columns,
)

if TYPE_CHECKING:
    import pandas as pd


def read_document(folder: Path) -> dict[str, Any]:
    """A run's run.json; raises ValueError if it is not one, OSError if it cannot be read."""
    document = json.loads((folder / RUN_FILE).read_text())
    if not isinstance(document, dict) or document.get("schema_version") != SCHEMA_VERSION:
        raise ValueError(f"not a {RUN_FILE} of schema version {SCHEMA_VERSION}")
    return document


def is_complete(folder: Path) -> bool:
    """Whether the run in ``folder`` ended well."""
    try:
        return bool(read_document(folder).get("status") == STATUS_COMPLETE)
    except (OSError, ValueError):
        return False


@dataclass
class Results:
    """All complete runs below a folder: their rows, and what was left out and why."""

    throughput: "pd.DataFrame"
    accuracy: "pd.DataFrame"
    runs: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def read_results(root: Path) -> Results:
    """Read every complete run below ``root``; others are named in ``skipped`` with the reason."""

    throughput, accuracy, runs, skipped = [], [], [], []
    for path in sorted(root.rglob(RUN_FILE)):
        folder = path.parent
        try:
            document = read_document(folder)
            status = document.get("status")
            if status != STATUS_COMPLETE:
                reason = document.get("message") or "it did not end"
                skipped.append(f"{folder}: {status}: {reason}")
                continue
            rows = _read_csv(folder / THROUGHPUT_FILE, ThroughputRow)
            epochs = _read_csv(folder / ACCURACY_FILE, AccuracyRow)
        except (OSError, ValueError) as error:
            skipped.append(f"{folder}: {error}")
            continue
        throughput.append(rows)
        accuracy.append(epochs)
        runs.append(document)
    return Results(
        _concatenate(throughput, ThroughputRow), _concatenate(accuracy, AccuracyRow), runs, skipped
    )


def _read_csv(path: Path, row: type) -> "pd.DataFrame":
    import pandas as pd

    table = pd.read_csv(path)
    if list(table.columns) != columns(row):
        raise ValueError(f"{path.name} does not have the columns of schema {SCHEMA_VERSION}")
    if table.isna().any(axis=None):
        raise ValueError(f"{path.name} has a line with missing values")
    return table


def _concatenate(tables: "list[pd.DataFrame]", row: type) -> "pd.DataFrame":
    import pandas as pd

    if not tables:
        return pd.DataFrame(columns=columns(row))
    return pd.concat(tables, ignore_index=True)
