"""Writes a run's files so that a reader, or a crash, never meets half a line.

Rows are appended by whole lines with one write call each; run.json is written to a temporary
name and renamed. One process writes a run: the one that owns its folder.
"""

import contextlib
import csv
import io
import json
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hpcbench.cluster.schedulers import VAGUE_FAILURES
from hpcbench.errors import ConfigError, EnvironmentLacks
from hpcbench.records.identity import Identity
from hpcbench.records.ownership import Ownership
from hpcbench.records.reader import is_complete
from hpcbench.records.schema import (
    ACCURACY_FILE,
    ENERGY_FILE,
    RANKS_FILE,
    RUN_FILE,
    SCHEMA_VERSION,
    STATUS_COMPLETE,
    STATUS_FAILED,
    STATUS_RUNNING,
    THROUGHPUT_FILE,
    AccuracyRow,
    EnergyRow,
    RankRow,
    RankTimes,
    ThroughputRow,
    columns,
    values,
)


def ensure_writable(folder: Path) -> None:
    """Make ``folder`` and try a write in it; EnvironmentLacks says what does not work,
    ConfigError that its name cannot be written down."""
    probe = folder / f".probe-{os.getpid()}"
    try:
        str(folder).encode()
    except UnicodeEncodeError as error:
        raise ConfigError(
            f"folder {os.fsencode(folder)!r} has a name that is no UTF-8, as the language's "
            f"setting (LC_ALL, LANG) has it; choose another, or a UTF-8 one"
        ) from error
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"hpcbench")
    except OSError as error:
        raise EnvironmentLacks(f"folder {folder} cannot be written: {error}") from error
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()


def write_atomically(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content``, whole or not at all; EnvironmentLacks on a full disk."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise EnvironmentLacks(f"{path} cannot be written: {error.strerror}") from error


class RowFile:
    """An append-only CSV file with a ``header``, of which the first ``keep_rows`` rows stay."""

    def __init__(self, path: Path, header: Sequence[str], keep_rows: int = 0) -> None:
        self.path = path
        self._columns = header
        kept: list[bytes] = []
        if keep_rows and path.is_file():
            kept = path.read_bytes().splitlines(keepends=True)[1 : keep_rows + 1]
        header = ",".join(self._columns) + "\n"
        write_atomically(path, header.encode() + b"".join(kept))
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
        self.rows = len(kept)

    def append(self, *rows: dict[str, Any]) -> None:
        """Add lines; if the disk takes only part of them, take that part back and raise."""
        text = io.StringIO()
        csv.DictWriter(text, self._columns, lineterminator="\n").writerows(rows)
        lines = text.getvalue().encode()
        size = os.fstat(self._descriptor).st_size
        try:
            if os.write(self._descriptor, lines) < len(lines):
                raise OSError("no space left on device")
        except OSError as error:
            os.truncate(self.path, size)
            raise EnvironmentLacks(f"{self.path} cannot be written: {error}") from error
        self.rows += len(rows)

    def close(self) -> None:
        os.close(self._descriptor)


class RunWriter:
    """The one writer of a run's folder, which ``ownership`` stands for.

    ``keep_rows`` is how many throughput and accuracy rows a resumed run keeps from before;
    ``energy`` says whether something here counts it, ``ranks`` whether there are several.
    Each write raises Superseded once a later attempt has taken the folder over.
    """

    def __init__(
        self,
        folder: Path,
        identity: Identity,
        ownership: Ownership,
        keep_rows: tuple[int, int] = (0, 0),
        energy: bool = False,
        ranks: bool = False,
    ) -> None:
        self.folder = folder
        self.identity = identity
        self._ownership = ownership
        self._document: dict[str, Any] = {}
        # The thread that waits for signals writes a status too.
        self._status_lock = threading.Lock()
        self._done = False
        self._failure: str | None = None
        # New files, renamed into place: an earlier attempt's open ones are no longer these.
        with ownership.guard():
            self._throughput = RowFile(
                folder / THROUGHPUT_FILE, columns(ThroughputRow), keep_rows[0]
            )
            self._accuracy = RowFile(folder / ACCURACY_FILE, columns(AccuracyRow), keep_rows[1])
            # Their rows go with those of throughput.
            self._energy = _beside(folder / ENERGY_FILE, EnergyRow, keep_rows[0], energy)
            self._ranks = _beside(folder / RANKS_FILE, RankRow, keep_rows[0], ranks)

    @property
    def rows(self) -> tuple[int, int]:
        """How many throughput and accuracy rows there are."""
        return self._throughput.rows, self._accuracy.rows

    def throughput(self, row: ThroughputRow) -> None:
        with self._ownership.guard():
            self._throughput.append(values(self.identity, row))

    def accuracy(self, row: AccuracyRow) -> None:
        with self._ownership.guard():
            self._accuracy.append(values(self.identity, row))

    def energy(self, row: EnergyRow) -> None:
        if self._energy:
            with self._ownership.guard():
                self._energy.append(values(self.identity, row))

    def ranks(self, times: RankTimes) -> None:
        if self._ranks:
            with self._ownership.guard():
                self._ranks.append(*(values(self.identity, row) for row in times.rows()))

    def start(self, document: dict[str, Any]) -> None:
        """Write run.json for a run that is under way."""
        self._document = {
            "schema_version": SCHEMA_VERSION,
            "run_id": self.identity.run_id,
            "sweep": self.identity.sweep,
            "identity": asdict(self.identity),
            **document,
        }
        self._write(status=STATUS_RUNNING)

    def add(self, **more: Any) -> None:
        """Add facts that became known on the way; they reach the file with the next status."""
        self._document.update(more)

    def complete(self) -> None:
        """So many rows are in the files, so that a reader sees what was cut off later."""
        files = {
            THROUGHPUT_FILE: self._throughput,
            ACCURACY_FILE: self._accuracy,
            ENERGY_FILE: self._energy,
            RANKS_FILE: self._ranks,
        }
        self._write(
            status=STATUS_COMPLETE, rows={name: file.rows for name, file in files.items() if file}
        )

    def fail(self, failure: str, message: str) -> None:
        """Say how the run ended badly; a run that is complete stays complete.

        What says little does not replace what was known better: two threads find out, and either
        may be the last.
        """
        self._write(status=STATUS_FAILED, failure=failure, message=message)

    def _write(self, **status: Any) -> None:
        with self._status_lock, self._ownership.guard():
            said, says = self._failure, status.get("failure")
            if self._done or (said and said not in VAGUE_FAILURES and says in VAGUE_FAILURES):
                return
            self._failure = says
            text = json.dumps(self._document | status, indent=2, allow_nan=False)
            write_atomically(self.folder / RUN_FILE, text.encode() + b"\n")
            self._done = status["status"] == STATUS_COMPLETE

    def close(self) -> None:
        self._throughput.close()
        self._accuracy.close()
        for file in (self._energy, self._ranks):
            if file:
                file.close()


def _beside(path: Path, kind: type, intervals: int, wanted: bool) -> RowFile | None:
    """A file of rows that go with intervals of training, of which so many are kept; None where
    there is none and none is ``wanted``."""
    if not (wanted or path.exists()):
        return None
    return RowFile(path, columns(kind), _rows_before(path, intervals))


def _rows_before(path: Path, interval: int) -> int:
    """How many rows of ``path`` are of intervals before that; some intervals may have none."""
    if not path.is_file():
        return 0
    with open(path, encoding="utf-8", newline="") as file:
        return sum(int(row["interval"]) < interval for row in csv.DictReader(file))


def claim_folder(folder_of: Callable[[int], Path], resume: bool) -> int:
    """The first repeat whose folder is free, claimed by making it.

    With ``resume``, a folder whose run is not complete counts as free.
    """
    repeat = 0
    while True:
        folder = folder_of(repeat)
        try:
            folder.mkdir(parents=True)
            return repeat
        except FileExistsError:
            if resume and not is_complete(folder):
                return repeat
            repeat += 1
