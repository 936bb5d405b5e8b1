"""Reads the files of runs back; what does not fit is reported by name, never guessed at."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpcbench.records.calibrations import above, is_calibration
from hpcbench.records.calibrations import read as read_calibration
from hpcbench.records.folders import walk
from hpcbench.records.identity import IDENTITY
from hpcbench.records.schema import (
    ACCURACY_FILE,
    ENERGY_FILE,
    MAY_BE_EMPTY,
    MAY_TAKE_NO_TIME,
    RANKS_FILE,
    RUN_FILE,
    STATUS_COMPLETE,
    STATUS_FAILED,
    THROUGHPUT_FILE,
    AccuracyRow,
    EnergyRow,
    RankRow,
    ThroughputRow,
    columns,
    types,
)
from hpcbench.records.upgrade import check_version, missing_columns
from hpcbench.words import count

if TYPE_CHECKING:
    import pandas as pd


def read_document(folder: Path) -> dict[str, Any]:
    """A run's run.json; raises ValueError if it is not one, OSError if it cannot be read."""
    text = (folder / RUN_FILE).read_text(encoding="utf-8")
    try:
        document = json.loads(text)
        if "\\ud" in text.lower():
            # Half of a surrogate pair can be read, and not be written.
            json.dumps(document, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ValueError(f"{RUN_FILE} has tables within tables without end") from error
    check_version(document)
    return dict(document)


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
    ``folder`` added; ``skipped`` a sentence for each run or file whose rows are not here;
    ``calibrations`` what devices reached at most.
    """

    throughput: "pd.DataFrame"
    accuracy: "pd.DataFrame"
    energy: "pd.DataFrame"
    ranks: "pd.DataFrame"
    runs: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    calibrations: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class _File:
    """A file's lines without its header, its columns, and what its missing columns are given."""

    body: str = ""
    columns: tuple[str, ...] = ()
    defaults: tuple[tuple[str, Any], ...] = ()

    @cached_property
    def lines(self) -> int:
        """How many rows there are, blank lines being none."""
        return sum(map(bool, self.body.split("\n")))


@dataclass(frozen=True)
class _Found:
    """A complete run's folder and document, and its files."""

    folder: Path
    document: dict[str, Any]
    throughput: _File
    accuracy: _File
    energy: _File
    ranks: _File


def read_results(root: Path) -> Results:
    """Read every complete run below ``root``, whatever the folders' names."""
    failed: list[dict[str, Any]] = []
    skipped: list[str] = []
    folders, calibrations = [], list(above(root))
    for folder, files in walk(root):
        calibrations += [folder / name for name in sorted(files) if is_calibration(name)]
        if RUN_FILE in files:
            folders.append(folder)
        else:
            strays = sorted({THROUGHPUT_FILE, ACCURACY_FILE} & files)
            skipped += [f"{folder / name}: there is no {RUN_FILE} beside it" for name in strays]
    found = list(_complete_runs(folders, failed, skipped))
    peaks = list(_calibrations(calibrations, skipped))
    try:
        # One parse for all files is several times as fast as one for each.
        tables = _parse(found)
        whole = [run for run in found if _is_whole(run, skipped)]
    except ValueError:
        whole = [run for run in found if _fits(run, skipped) and _is_whole(run, skipped)]
    if len(whole) < len(found):
        found, tables = whole, _parse(whole)
    documents = [run.document for run in found]
    return Results(*tables, documents, failed, sorted(skipped), peaks)


def _calibrations(paths: list[Path], skipped: list[str]) -> Iterator[dict[str, Any]]:
    for path in paths:
        try:
            yield read_calibration(path)
        except (OSError, ValueError, RecursionError) as error:
            skipped.append(f"{path}: {error}")


def _complete_runs(
    folders: list[Path], failed: list[dict[str, Any]], skipped: list[str]
) -> Iterator[_Found]:
    """The runs that ended well; others go to ``failed`` or ``skipped``."""
    seen: dict[tuple[str, str], Path] = {}
    for folder in sorted(folders):
        try:
            document = read_document(folder)
            _check_facts(document)
            if document.get("status") != STATUS_COMPLETE:
                reason = document.get("message") or "it did not end"
                failed.append({"folder": str(folder), "message": reason} | document)
                skipped.append(f"{folder}: {document.get('status', STATUS_FAILED)}: {reason}")
                continue
            run = (str(document["sweep"]), str(document["run_id"]))
            first = seen.setdefault(run, folder)
            if first != folder:
                raise ValueError(f"the same run as {first}")
            version = document["schema_version"]
            files = {
                name: _read(folder / name, kind, version, optional=name != THROUGHPUT_FILE)
                # A measurement of throughput alone has no accuracy, and few machines count energy.
                for name, kind in _KINDS.items()
            }
            yield _Found(folder, document, *files.values())
        except KeyError as error:
            skipped.append(f"{folder}: {RUN_FILE} lacks {error}")
        except (OSError, ValueError) as error:
            skipped.append(f"{folder}: {error}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _are_numbers(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_number, value))


# What readers take fields of run.json for, those of its provenance after a dot, and in words; those
# that may be null. Others are shown as they are.
_FIELDS: Mapping[str, tuple[Callable[[object], bool], str]] = {
    **dict.fromkeys(
        (
            *("config", "schedule", "identity", "rows", "provenance", "provenance.packages"),
            *("provenance.allocation", "provenance.scheduler", "provenance.settings"),
            "provenance.site",
        ),
        (lambda value: isinstance(value, dict), "table"),
    ),
    **dict.fromkeys(
        ("run_id", "sweep", "provenance.started", "provenance.git_commit", "schedule.optimizer"),
        (lambda value: isinstance(value, str), "text"),
    ),
    **dict.fromkeys(
        (
            *("provenance.load_average", "provenance.cores_of_machine"),
            *("cores_taken_share", "waiting_for_data_share"),
            *("schedule.global_batch", "schedule.world_size", "schedule.momentum"),
            *("parameters", "trainable_parameters"),
            *("flops_per_sample", "tokens_per_sample", "peak_memory_bytes"),
        ),
        (_is_number, "number"),
    ),
    **dict.fromkeys(("hosts", "provenance.command", "remarks"), (_are_texts, "list of texts")),
    "waiting_for_data_seconds": (_are_numbers, "list of numbers"),
}
_MAY_BE_NULL = {
    *("provenance.git_commit", "provenance.site", "provenance.cores_of_machine"),
    *("cores_taken_share", "waiting_for_data_share"),
    *("parameters", "trainable_parameters"),
    *("flops_per_sample", "tokens_per_sample", "peak_memory_bytes"),
}
_KINDS = {
    THROUGHPUT_FILE: ThroughputRow,
    ACCURACY_FILE: AccuracyRow,
    ENERGY_FILE: EnergyRow,
    RANKS_FILE: RankRow,
}


def _check_facts(document: dict[str, Any]) -> None:
    """Raise ValueError where run.json has something else than what is written there."""
    for path, (fits, what) in _FIELDS.items():
        outer, _, name = path.rpartition(".")
        place = document.get(outer, {}) if outer else document
        value = place.get(name)
        if name in place and not (fits(value) or (value is None and path in _MAY_BE_NULL)):
            raise ValueError(f"{RUN_FILE}: {name} is no {what}")
    if "identity" in document and not {*IDENTITY} <= document["identity"].keys():
        raise ValueError(f"{RUN_FILE}: identity does not say everything")


def _read(path: Path, row: type, version: int, optional: bool = False) -> _File:
    """A file of rows; raises ValueError if they cannot be all there."""
    try:
        header, _, body = path.read_text(encoding="utf-8").partition("\n")
    except FileNotFoundError:
        if optional:
            return _File()
        raise
    names = header.split(",")
    try:
        defaults = missing_columns(names, columns(row), version)
    except ValueError as error:
        raise ValueError(f"{path.name} {error}") from error
    if body and not body.endswith("\n"):
        raise ValueError(f"{path.name} ends within a line")
    if not body and row is ThroughputRow:
        raise ValueError(f"{path.name} has no rows")
    return _File(body, tuple(names), tuple(defaults.items()))


def _parse(runs: list[_Found]) -> "tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]":
    """All runs' rows; raises ValueError if any of them does not fit."""
    documents = [run.document for run in runs]
    return (
        _table([run.throughput for run in runs], ThroughputRow, THROUGHPUT_FILE, documents),
        _table([run.accuracy for run in runs], AccuracyRow, ACCURACY_FILE, documents),
        _table([run.energy for run in runs], EnergyRow, ENERGY_FILE, documents),
        _table([run.ranks for run in runs], RankRow, RANKS_FILE, documents),
    )


def _table(
    files: list[_File], row: type, name: str, documents: list[dict[str, Any]]
) -> "pd.DataFrame":
    """The rows of a run's file each, whose run.json are ``documents``."""
    import numpy as np
    import pandas as pd

    from hpcbench.records.consistency import refuse_contradictions

    # Files of one schema are parsed together, which is several times as fast as each by itself.
    by_columns: dict[_File, list[int]] = {}
    for number, file in enumerate(files):
        if file.body:
            by_columns.setdefault(replace(file, body=""), []).append(number)
    if not by_columns:
        return _parsed("", row, tuple(columns(row)), name)
    parts, of_run = [], []
    for kind, numbers in by_columns.items():
        bodies = [files[number].body for number in numbers]
        part = _parsed("".join(bodies), row, kind.columns, name).assign(**dict(kind.defaults))
        lines = [files[number].lines for number in numbers]
        if sum(lines) != len(part):
            raise ValueError(f"{name} has a line that is broken")
        parts.append(part)
        of_run.append(np.repeat(numbers, lines))
    table = pd.concat(parts, ignore_index=True)[columns(row)]
    if table.drop(columns=MAY_BE_EMPTY, errors="ignore").isna().any(axis=None):
        raise ValueError(f"{name} has a line with missing values")
    if row in (ThroughputRow, RankRow):
        counts = table[["seconds", "steps", *(["samples"] if row is ThroughputRow else [])]]
        counted = (counts > 0) & (counts < float("inf"))
        counted["seconds"] |= (table["seconds"] == 0) & table["phase"].isin(MAY_TAKE_NO_TIME)
        if not counted.all(axis=None):
            raise ValueError(f"{name} has an interval without time, samples or steps")
    refuse_contradictions(table, row, name, np.concatenate(of_run), documents)
    return table


def _parsed(text: str, row: type, names: tuple[str, ...], file: str) -> "pd.DataFrame":
    import numpy as np
    import pandas as pd

    kinds = {n: kind for n, kind in types(row).items() if kind is not bool and n in names}
    if not _lines_are_whole(text, len(names)):
        raise ValueError(f"{file}: {_wrong_cell(text, names, kinds) or 'a line is broken'}")
    try:
        # An infinity where a whole number belongs is an error, and no warning before it.
        with np.errstate(invalid="ignore"):
            return pd.read_csv(
                io.BytesIO(text.encode()),
                names=names,
                dtype=kinds,
                keep_default_na=False,
                na_values={column: [""] for column in names},
                index_col=False,
            )
    except (ValueError, OverflowError, pd.errors.ParserError) as error:
        wrong = _wrong_cell(text, names, kinds) or str(error).strip()
        raise ValueError(f"{file}: {wrong}") from error


def _lines_are_whole(text: str, cells: int) -> bool:
    """Whether lines have as many cells as the header, but for those that pandas refuses: it fills
    up short lines, and cuts a first one that is too long."""
    if '"' not in text:
        first, lines = text.partition("\n")[0], text.count("\n") - text.count("\n\n")
        right = (cells - 1, (cells - 1) * lines) if first else (0, 0)
        return (first.count(","), text.count(",")) == right
    try:
        return all(len(line) == cells for line in csv.reader(io.StringIO(text)) if line)
    except csv.Error:
        return False


def _wrong_cell(text: str, names: tuple[str, ...], kinds: Mapping[str, type]) -> str:
    """Which line is too short or too long, or which cell none of its kind, in words; empty where
    all are right."""
    lines = csv.reader(io.StringIO(text))
    try:
        for cells in lines:
            # The header is a line too.
            number = lines.line_num + 1
            if cells and len(cells) != len(names):
                return f"line {number} has {count(len(cells), 'cell')}, and the header {len(names)}"
            for name, cell in zip(names, cells, strict=False):
                kind = kinds.get(name, str)
                if not _is_a(kind, cell):
                    whole = "a whole number" if kind is int else "a number"
                    return f"{cell[:40]!r} in line {number}, column {name!r}, where {whole} belongs"
    except csv.Error as error:
        return f"line {lines.line_num + 1}: {error}"
    return ""


def _is_a(kind: type, cell: str) -> bool:
    if kind is float and not cell:
        # Missing, which is another matter.
        return True
    try:
        value = kind(cell)
    except ValueError:
        return False
    return kind is not int or abs(value) < 2**63


def _fits(run: _Found, skipped: list[str]) -> bool:
    try:
        _parse([run])
    except ValueError as error:
        skipped.append(f"{run.folder}: {error}")
        return False
    return True


def _is_whole(run: _Found, skipped: list[str]) -> bool:
    """Whether there are as many rows as the run wrote; a file that is gone is told of."""
    files = zip(_KINDS, (run.throughput, run.accuracy, run.energy, run.ranks), strict=True)
    written = run.document.get("rows", {})
    for name, file in files:
        there = file.lines if name in written else 0
        if written.get(name, there) == there:
            continue
        if file.columns:
            wrote = f"{count(there, 'row')}, and the run wrote {written[name]}"
            skipped.append(f"{run.folder}: {name} has {wrote}")
            return False
        skipped.append(f"{run.folder}: {name} is not there, and the run wrote it")
    return True
