"""What runs that have not ended have measured so far."""

import csv
import io
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpcbench.records.folders import walk
from hpcbench.records.reader import read_document
from hpcbench.records.schema import PHASE_TRAIN, RUN_FILE, STATUS_RUNNING, THROUGHPUT_FILE

# Of so many of the newest intervals the rate of now is.
NEWEST = 5
# Enough of a file's end for those.
END = 8192


@dataclass(frozen=True)
class UnderWay:
    """A run without an end: its sweep and run id, its ``line``, ``devices`` and repeat,
    ``samples_per_second`` over its newest intervals (None before the first), and how long its file
    has been as it is."""

    key: tuple[str, str]
    line: str
    devices: int
    repeat: int
    samples_per_second: float | None
    silent_seconds: float


@dataclass(frozen=True)
class RunsUnderWay:
    """Runs below a folder: the status of those that have ended, by sweep and run id, and those
    under way."""

    ended: Mapping[tuple[str, str], str]
    under_way: list[UnderWay]


def look(results: Path) -> RunsUnderWay:
    """As of now; what cannot be read is left out, since it may be being written."""
    ended: dict[tuple[str, str], str] = {}
    under_way = []
    for folder, files in walk(results):
        if RUN_FILE not in files:
            continue
        try:
            document = read_document(folder)
        except (OSError, ValueError):
            continue
        status = str(document.get("status"))
        if status == STATUS_RUNNING:
            under_way.append(_under_way(folder, document))
        else:
            ended[_key(document)] = status
    return RunsUnderWay(
        ended, sorted(under_way, key=lambda run: (run.line, run.devices, run.repeat))
    )


def _key(document: Mapping[str, Any]) -> tuple[str, str]:
    return str(document.get("sweep")), str(document.get("run_id"))


def _under_way(folder: Path, document: Mapping[str, Any]) -> UnderWay:
    # Early versions wrote no identity.
    identity = (document.get("config") or {}) | (document.get("identity") or {})
    path = folder / THROUGHPUT_FILE
    try:
        silent = max(0.0, time.time() - path.stat().st_mtime)
        newest = list(_newest(path))
    except OSError:
        silent, newest = 0.0, []
    seconds = sum(seconds for _, seconds in newest)
    return UnderWay(
        _key(document),
        f"{identity.get('strategy', '?')} {identity.get('model', '?')}",
        int(identity.get("devices") or 0),
        int(identity.get("repeat") or 0),
        sum(samples for samples, _ in newest) / seconds if seconds else None,
        silent,
    )


def _newest(path: Path) -> Iterator[tuple[float, float]]:
    """Samples and seconds of the newest intervals of training; a line that is being written is
    none yet."""
    with path.open("rb") as file:
        header = file.readline().decode(errors="replace").rstrip("\n").split(",")
        begin = file.tell()
        file.seek(0, io.SEEK_END)
        file.seek(max(begin, file.tell() - END))
        cut = file.tell() > begin
        lines = file.read().decode(errors="replace").split("\n")[1 if cut else 0 : -1]
    rows = (dict(zip(header, cells, strict=False)) for cells in csv.reader(lines))
    train = [row for row in rows if row.get("phase") == PHASE_TRAIN]
    for row in train[-NEWEST:]:
        try:
            yield float(row["samples"]), float(row["seconds"])
        except (KeyError, ValueError):
            continue
