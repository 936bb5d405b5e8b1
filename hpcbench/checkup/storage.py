"""The data set, there and whole; the results' folder, writable and with room."""

import os
import shutil
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from hpcbench.checkup import CheckContext, Finding, Severity
from hpcbench.datasets import DATASETS
from hpcbench.datasets.sources import Source, find
from hpcbench.errors import EnvironmentLacks, HpcbenchError
from hpcbench.models import MODELS
from hpcbench.records.writer import ensure_writable

MIB = 1 << 20
# Rows, a checkpoint of the largest model with its optimizer, logs.
WANTED_SPACE = 1024 * MIB
LEAST_SPACE = 20 * MIB
# Between a node's clock and its file server's; make and checkpoints go by it.
CLOCK_TOLERANCE = 2.0


def source_of(context: CheckContext) -> Source | None:
    """The data set that training would take, if it is here."""
    model = MODELS[context.model]
    sets = (DATASETS[name] for name in _names(context))
    found = (find(spec, context.data_dir, model.image_size) for spec in sets)
    return next((source for source in found if source), None)


def _names(context: CheckContext) -> Sequence[str]:
    return MODELS[context.model].datasets if context.dataset == "auto" else (context.dataset,)


def data(context: CheckContext) -> Iterator[Finding]:
    """Whether the data set is here, without downloading it, and looks complete."""
    try:
        source = source_of(context)
    except HpcbenchError as error:
        yield _damaged(str(error), "mend it, or name another with --data-dir or HPCBENCH_DATA")
        return
    yield _whole(source) if source else _missing(_names(context)[0])


def _missing(name: str) -> Finding:
    if DATASETS[name].downloads:
        return Finding(
            "data",
            Severity.WARNING,
            f"{name} is not here; training would download it",
            f"compute nodes often cannot: python -m hpcbench.datasets.sources {name} on a login "
            f"node",
        )
    return Finding(
        "data",
        Severity.PROBLEM,
        f"{name} is not here and has no download",
        "put its files into a folder and name it with --data-dir or HPCBENCH_DATA",
    )


def _whole(source: Source) -> Finding:
    name, files = source.spec.name, source.files
    where = f"{name}, {files[0]}" + (f" and {len(files) - 1} more" if len(files) > 1 else "")
    for file in files:
        if not os.access(file, os.R_OK):
            return _damaged(f"{file} may not be read", "chmod it, or name another --data-dir")
        if file.is_file() and file.stat().st_size == 0:
            return _damaged(f"{file} is empty")
        if file.suffix == ".npz" and not zipfile.is_zipfile(file):
            return _damaged(f"{file} is truncated or not an archive")
    return Finding("data", Severity.OK, where)


def _damaged(found: str, remedy: str = "remove it, so that it is downloaded again") -> Finding:
    return Finding("data", Severity.PROBLEM, found, remedy)


def data_read(context: CheckContext) -> Iterator[Finding]:
    """The data set really read."""
    try:
        source = source_of(context)
    except HpcbenchError:
        return
    if source is None:
        return
    try:
        arrays = source.read()
    except HpcbenchError as error:
        yield _damaged(str(error))
        return
    samples = f"{len(arrays.train_inputs):,} training and {len(arrays.test_inputs):,} test"
    yield Finding("data", Severity.OK, f"read: {samples} samples")


def results(context: CheckContext) -> Iterator[Finding]:
    """The results' folder takes files, has room for more, and shares this node's clock."""
    folder = context.results
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    try:
        # The doctor leaves nothing behind; the trainer makes the folder.
        ensure_writable(there)
        yield room(folder, there)
        yield clock(there, time.time)
    except EnvironmentLacks as error:
        yield Finding("results", Severity.PROBLEM, str(error), "name another folder: --results")
    except OSError as error:
        yield Finding("results", Severity.PROBLEM, f"{folder}: {error}", "name another: --results")


def room(folder: Path, there: Path) -> Finding:
    """How much more ``folder`` can hold; ``there`` is the part of its path that exists."""
    free = shutil.disk_usage(there).free
    files = os.statvfs(there)
    found = f"{folder} takes files, {free / MIB:,.0f} MiB free"
    if free < LEAST_SPACE or (files.f_files and files.f_favail < 100):
        return Finding(
            "results",
            Severity.PROBLEM,
            f"{folder} is full ({free / MIB:,.0f} MiB free)",
            "make room, or name another folder: --results",
        )
    if free < WANTED_SPACE:
        return Finding("results", Severity.WARNING, found, "a large model's checkpoint may not fit")
    return Finding("results", Severity.OK, found)


def clock(there: Path, now: Callable[[], float]) -> Finding:
    """Whether the file server that holds ``there`` has this node's time."""
    probe = there / f".clock-{os.getpid()}"
    probe.touch()
    try:
        skew = probe.stat().st_mtime - now()
    finally:
        probe.unlink()
    if abs(skew) > CLOCK_TOLERANCE:
        return Finding(
            "clock",
            Severity.WARNING,
            f"files are dated {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} this clock",
            "have the clocks synchronized (chrony, ntp): rows of several nodes cannot be ordered",
        )
    return Finding("clock", Severity.OK, time.strftime("%Y-%m-%d %H:%M:%S %z"))
