"""What runs that have not ended have measured so far."""

import csv
import io
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpcbench.programs.config import ProgramConfig
from hpcbench.programs.intervals import measured
from hpcbench.programs.probe_lines import LINES, RANKS, process
from hpcbench.records.folders import walk
from hpcbench.records.identity import PROGRAM
from hpcbench.records.reader import read_document
from hpcbench.records.schema import PHASE_TRAIN, RUN_FILE, STATUS_RUNNING, THROUGHPUT_FILE

# Of so many of the newest intervals the rate of now is.
NEWEST = 5
# Enough of a file's end for those.
END = 16384


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
    try:
        if identity.get("strategy") == PROGRAM:
            written, newest = _newest_of_program(folder / RANKS, document)
        else:
            path = folder / THROUGHPUT_FILE
            written, newest = path.stat().st_mtime, list(_newest(path))
    except (OSError, ValueError):
        written, newest = time.time(), []
    silent = max(0.0, time.time() - written)
    seconds = sum(seconds for _, seconds in newest)
    return UnderWay(
        _key(document),
        f"{identity.get('strategy', '?')} {identity.get('model', '?')}",
        int(identity.get("devices") or 0),
        int(identity.get("repeat") or 0),
        sum(samples for samples, _ in newest) / seconds if seconds else None,
        silent,
    )


def _newest_of_program(
    ranks: Path, document: Mapping[str, Any]
) -> tuple[float, list[tuple[float, float]]]:
    """When the probe last wrote a line, and :func:`_newest` of a program, whose rows are written
    when it ends; raises ValueError where the probe has told of no step, or not of how many
    samples."""
    config = ProgramConfig.model_validate(document["config"])
    files = list(ranks.glob(LINES))
    found = [one for path in files if (one := process(_ends(path)))]
    if not found:
        raise ValueError(f"{ranks} tells of no step")
    intervals = measured(found, config.interval_seconds).intervals[-NEWEST:]
    of_all = config.batches[1] if config.batches else 0
    samples = [one.samples or one.steps * of_all for one in intervals]
    if not all(samples):
        raise ValueError(f"{ranks} tells of no samples")
    seconds = [one.slowest for one in intervals]
    return max(path.stat().st_mtime for path in files), list(zip(samples, seconds, strict=True))


def _ends(path: Path) -> list[bytes]:
    """The first line of a file, and its newest whole ones."""
    with path.open("rb") as file:
        first, begin = file.readline(), file.tell()
        file.seek(max(begin, file.seek(0, io.SEEK_END) - END))
        cut = file.tell() > begin
        return [first, *file.read().split(b"\n")[1 if cut else 0 : -1]]


def _newest(path: Path) -> Iterator[tuple[float, float]]:
    """Samples and seconds of the newest intervals of training; a line that is being written is
    none yet."""
    header, *lines = (line.decode(errors="replace") for line in _ends(path))
    names = header.rstrip("\n").split(",")
    rows = (dict(zip(names, cells, strict=False)) for cells in csv.reader(lines))
    train = [row for row in rows if row.get("phase") == PHASE_TRAIN]
    for row in train[-NEWEST:]:
        try:
            yield float(row["samples"]), float(row["seconds"])
        except (KeyError, ValueError):
            continue
