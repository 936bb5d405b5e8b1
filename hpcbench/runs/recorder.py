"""What is written of a run: rank 0's recorder writes it, those of the other ranks do nothing."""

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hpcbench.errors import EnvironmentLacks, Superseded
from hpcbench.frameworks.backend import Backend
from hpcbench.process import age
from hpcbench.records.identity import Identity
from hpcbench.records.observer import Observer
from hpcbench.records.ownership import OWNER_FILE, Owner, Ownership
from hpcbench.records.schema import AccuracyRow, EnergyRow, RankTimes, Row, ThroughputRow
from hpcbench.records.writer import RunWriter
from hpcbench.training.checkpoint import CHECKPOINT_FILE, Progress, save


class Recorder:
    """Records nothing, as ranks above 0 do."""

    def watch(self, make: Callable[[], Observer]) -> None:
        """Let one more observer, which is made here, be told of the run."""

    def checkpoint(self, wanted: bool) -> Path | None:
        """The run's checkpoint, if one is ``wanted`` and there; what is not wanted is removed."""
        return None

    def start(
        self,
        identity: Identity,
        document: dict[str, Any],
        progress: Progress,
        energy: bool,
        ranks: bool,
    ) -> None:
        """The run is under way: write run.json, keep the rows that ``progress`` counts."""

    def training(self, intervals: int, steps: int) -> None:
        """Training starts, with ``intervals`` ahead and ``steps`` behind."""

    def trained(self, samples: int) -> None:
        """Training is over, well or not, after so many samples in whole epochs."""

    def row(self, row: Row) -> None:
        """Write a row and tell the observers."""

    def add(self, **facts: Any) -> None:
        """Add facts that became known on the way to run.json."""

    def save(self, backend: Backend, progress: Progress) -> None:
        """Write a checkpoint."""

    def keep_model(self, write: Callable[[Path], None] | None) -> None:
        """Keep the trained model, where it is to be kept; else not even a stop's checkpoint."""

    def profile(self, work: Callable[[], None]) -> None:
        """Do some more steps, which observers may look at."""
        work()

    def complete(self, report: Callable[[Identity, Sequence[Row]], None]) -> None:
        """The run has ended well; ``report`` is given all its rows of training."""

    def fail(self, failure: str, message: str) -> None:
        """The run has ended badly; what was claimed before anything was written is given back."""

    def killed(self, failure: str, message: str) -> None:
        """The process may be killed at any moment; called from another thread."""

    def close(self) -> None:
        """Nothing more will be recorded."""


class RunRecorder(Recorder):
    """Rank 0's: owns the run's ``folder``, whose files it alone writes.

    Raises ConfigError where another process has the folder.
    """

    def __init__(self, folder: Path, owner: Owner) -> None:
        self._folder = folder
        self._ownership = Ownership(folder, owner)
        self._writer: RunWriter | None = None
        self._observers: list[Observer] = []
        self._rows: list[Row] = []

    def watch(self, make: Callable[[], Observer]) -> None:
        self._observers.append(make())

    def checkpoint(self, wanted: bool) -> Path | None:
        path = self._folder / CHECKPOINT_FILE
        if not wanted:
            path.unlink(missing_ok=True)
        return path if path.exists() else None

    def start(
        self,
        identity: Identity,
        document: dict[str, Any],
        progress: Progress,
        energy: bool,
        ranks: bool,
    ) -> None:
        keep = (progress.throughput_rows, progress.accuracy_rows)
        self._writer = RunWriter(self._folder, identity, self._ownership, keep, energy, ranks)
        self._writer.start(document)

    def training(self, intervals: int, steps: int) -> None:
        for observer in self._observers:
            observer.start(intervals, steps)

    def trained(self, samples: int) -> None:
        for observer in self._observers:
            observer.stop(samples)

    def row(self, row: Row) -> None:
        if isinstance(row, RankTimes):
            self._started.ranks(row)
            return
        self._rows.append(row)
        if isinstance(row, ThroughputRow):
            self._started.throughput(row)
            for observer in self._observers:
                observer.interval(row)
        elif isinstance(row, EnergyRow):
            self._started.energy(row)
        else:
            self._started.accuracy(row)
            for observer in self._observers:
                observer.epoch(row)

    def add(self, **facts: Any) -> None:
        self._started.add(**facts)

    def save(self, backend: Backend, progress: Progress) -> None:
        with self._ownership.guard():
            save(self._folder / CHECKPOINT_FILE, backend.state(), progress)

    def keep_model(self, write: Callable[[Path], None] | None) -> None:
        if write:
            write(self._folder)
        else:
            (self._folder / CHECKPOINT_FILE).unlink(missing_ok=True)

    def profile(self, work: Callable[[], None]) -> None:
        for observer in self._observers:
            work = _profiled(observer, work)
        work()

    def complete(self, report: Callable[[Identity, Sequence[Row]], None]) -> None:
        self._started.add(**_spent(self._rows))
        self._started.complete()
        for observer in self._observers:
            observer.close()
        if any(isinstance(row, ThroughputRow) for row in self._rows):
            report(self._started.identity, self._rows)
        else:
            print(f"already complete: {self._folder}")

    def fail(self, failure: str, message: str) -> None:
        if self._writer is None:
            self._give_back_claim()
            return
        # The disk that failed the run may not take its obituary; run.json still says "running"
        # then, which readers report as a run that did not end.
        with contextlib.suppress(EnvironmentLacks, Superseded):
            self._writer.fail(failure, message)

    def killed(self, failure: str, message: str) -> None:
        if self._writer:
            self._writer.fail(failure, message)

    def close(self) -> None:
        if self._writer:
            self._writer.close()
        self._ownership.release()

    @property
    def _started(self) -> RunWriter:
        if self._writer is None:
            raise RuntimeError("the run has not been started yet")
        return self._writer

    def _give_back_claim(self) -> None:
        """Remove the folder of a run that failed before it wrote anything."""
        with contextlib.suppress(OSError):
            (self._folder / OWNER_FILE).unlink()
            self._folder.rmdir()


def _spent(rows: Sequence[Row]) -> dict[str, float]:
    """What this process took, so that a plan can tell how long such runs take."""
    intervals = [row for row in rows if isinstance(row, ThroughputRow)]
    evaluated = [row.evaluation_seconds for row in rows if isinstance(row, AccuracyRow)]
    return {
        "process_seconds": age(),
        "training_seconds": sum(row.seconds for row in intervals),
        "training_samples": sum(row.samples for row in intervals),
        "evaluation_seconds": sum(evaluated),
        "evaluations": len(evaluated),
    }


def _profiled(observer: Observer, work: Callable[[], None]) -> Callable[[], None]:
    return lambda: observer.profile(work)
