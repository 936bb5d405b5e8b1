"""Reads the files of runs back; what does not fit is reported by name, never guessed at."""

import io
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpcbench.records.schema import (
    ACCURACY_FILE,
    ENERGY_FILE,
    MAY_BE_EMPTY,
    RUN_FILE,
    SCHEMA_VERSION,
    STATUS_COMPLETE,
    STATUS_FAILED,
    THROUGHPUT_FILE,
    AccuracyRow,
    EnergyRow,
    ThroughputRow,
    columns,
    types,
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
    """All complete runs below a folder: their rows, and what was left out and why.

    ``runs`` holds a run.json each; ``failed`` those of runs that did not end well, with the
    ``folder`` added; ``skipped`` a sentence for each run or file whose rows are not here.
    """

    throughput: "pd.DataFrame"
    accuracy: "pd.DataFrame"
    energy: "pd.DataFrame"
    runs: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Found:
    """A complete run's folder and document, and its files' text."""

    folder: Path
    document: dict[str, Any]
    throughput: str
    accuracy: str
    energy: str


def read_results(root: Path) -> Results:
    """Read every complete run below ``root``, whatever the folders' names."""
    failed: list[dict[str, Any]] = []
    skipped: list[str] = []
    folders = []
    for folder, files in _walk(root):
        if RUN_FILE in files:
            folders.append(folder)
        else:
            strays = sorted({THROUGHPUT_FILE, ACCURACY_FILE} & files)
            skipped += [f"{folder / name}: there is no {RUN_FILE} beside it" for name in strays]
    found = list(_complete_runs(folders, failed, skipped))
    try:
        # One parse for all files is several times as fast as one for each.
        tables = _parse(found)
    except ValueError:
        found = [run for run in found if _fits(run, skipped)]
        tables = _parse(found)
    return Results(*tables, [run.document for run in found], failed, sorted(skipped))


def _walk(root: Path) -> Iterator[tuple[Path, set[str]]]:
    """Each folder below ``root`` once, through links too, and the names of its files."""
    seen = set()
    for place, folders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        yield Path(place), set(files)


def _complete_runs(
    folders: list[Path], failed: list[dict[str, Any]], skipped: list[str]
) -> Iterator[_Found]:
    """The runs that ended well; others go to ``failed`` or ``skipped``."""
    seen: dict[tuple[str, str], Path] = {}
    for folder in sorted(folders):
        try:
            document = read_document(folder)
            if document.get("status") != STATUS_COMPLETE:
                reason = document.get("message") or "it did not end"
                failed.append({"folder": str(folder), "message": reason} | document)
                skipped.append(f"{folder}: {document.get('status', STATUS_FAILED)}: {reason}")
                continue
            run = (str(document["sweep"]), str(document["run_id"]))
            first = seen.setdefault(run, folder)
            if first != folder:
                raise ValueError(f"the same run as {first}")
            yield _Found(
                folder,
                document,
                _text(folder / THROUGHPUT_FILE, ThroughputRow),
                _text(folder / ACCURACY_FILE, AccuracyRow),
                # Only where something counts energy is there such a file.
                _text(folder / ENERGY_FILE, EnergyRow) if (folder / ENERGY_FILE).exists() else "",
            )
        except KeyError as error:
            skipped.append(f"{folder}: {RUN_FILE} says nothing of {error}")
        except (OSError, ValueError) as error:
            skipped.append(f"{folder}: {error}")


def _text(path: Path, row: type) -> str:
    """The file's lines without the header; raises ValueError if they cannot be all there."""
    header, _, body = path.read_text().partition("\n")
    if header.split(",") != columns(row):
        raise ValueError(f"{path.name} does not have the columns of schema {SCHEMA_VERSION}")
    if body and not body.endswith("\n"):
        raise ValueError(f"{path.name} ends within a line")
    if not body and row is ThroughputRow:
        raise ValueError(f"{path.name} has no rows")
    return body


def _parse(runs: list[_Found]) -> "tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]":
    """All runs' rows; raises ValueError if any of them does not fit."""
    ids = {(str(run.document["sweep"]), str(run.document["run_id"])) for run in runs}
    return (
        _table("".join(run.throughput for run in runs), ThroughputRow, THROUGHPUT_FILE, ids),
        _table("".join(run.accuracy for run in runs), AccuracyRow, ACCURACY_FILE, ids),
        _table("".join(run.energy for run in runs), EnergyRow, ENERGY_FILE, ids),
    )


def _table(text: str, row: type, name: str, ids: set[tuple[str, str]]) -> "pd.DataFrame":
    import pandas as pd

    kinds = {field: kind for field, kind in types(row).items() if kind is not bool}
    try:
        table = pd.read_csv(
            io.StringIO(text), names=columns(row), dtype=kinds, keep_default_na=False,
            na_values={column: [""] for column in columns(row)}, index_col=False,
        )  # fmt: skip
    except (ValueError, pd.errors.ParserError) as error:
        raise ValueError(f"{name}: {str(error).strip()}") from error
    if table.drop(columns=MAY_BE_EMPTY, errors="ignore").isna().any(axis=None):
        raise ValueError(f"{name} has a line with missing values")
    if row is ThroughputRow:
        counts = table[["seconds", "samples", "steps"]]
        if not ((counts > 0) & (counts < float("inf"))).all(axis=None):
            raise ValueError(f"{name} has an interval without time, samples or steps")
    strangers = set(zip(table["sweep"], table["run_id"], strict=True)) - ids
    if strangers:
        raise ValueError(f"{name} has rows of another run, {' '.join(sorted(strangers)[0])}")
    return table


def _fits(run: _Found, skipped: list[str]) -> bool:
    try:
        _parse([run])
    except ValueError as error:
        skipped.append(f"{run.folder}: {error}")
        return False
    return True
