"""Runs planned runs one after the other, each in processes of its own with its own log."""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from hpcbench.records.reader import is_complete
from hpcbench.records.schema import RUN_FILE, SCHEMA_VERSION, STATUS_FAILED
from hpcbench.records.writer import write_atomically
from hpcbench.sweeps.plan import PlannedRun


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its exit status, seconds, and the log that says more."""

    run: PlannedRun
    status: int
    seconds: float
    log: Path

    def __str__(self) -> str:
        end = {0: "done", 75: "stopped, to be resumed"}.get(
            self.status, f"FAILED ({self.status}), see {self.log}"
        )
        return f"{self.run}: {end}, {self.seconds:.1f} s"


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process' environment; Open MPI refuses to run as root unless told twice."""
    root = {}
    if os.geteuid() == 0:
        root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    return os.environ | root | dict(more or {})


def _leave_a_word(planned: PlannedRun, status: int, log: Path) -> None:
    """Record a run that failed before it could itself."""
    path = planned.folder / RUN_FILE
    if path.exists():
        return
    said = log.read_text(errors="replace").strip().splitlines() or ["no word in its log"]
    failure = {2: "config", 3: "environment"}.get(status, "communication")
    document = {
        "schema_version": SCHEMA_VERSION, "run_id": planned.config.run_id,
        "config": planned.config.model_dump(mode="json"), "status": STATUS_FAILED,
        "failure": failure, "message": said[-1].removeprefix("hpcbench: "),
    }  # fmt: skip
    planned.folder.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(document, indent=2).encode())


def _stop_trainer(process: psutil.Process) -> None:
    """Ask it to save and end, if it is a trainer; its launcher's line names the trainer too."""
    if "hpcbench.train" in process.cmdline() and process.name().startswith("python"):
        process.send_signal(signal.SIGUSR1)


class Runner:
    """Runs commands, and passes a request to stop on to the one under way."""

    def __init__(self, logs: Path, more: Mapping[str, str] | None = None) -> None:
        self._logs = logs
        self._environment = environment(more)
        self._process: subprocess.Popen[bytes] | None = None
        self.stopped = False

    def run(self, planned: PlannedRun, command: list[str]) -> Outcome:
        log = self._logs / f"{planned.config.run_id}.log"
        start = time.monotonic()
        with open(log, "ab") as output:
            self._process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL, env=self._environment,
            )  # fmt: skip
            try:
                status = self._process.wait()
            finally:
                self._process = None
        if status == 0 and not is_complete(planned.folder):
            # Seen of srun, when the last attempt's step had not quite ended.
            status = 4
        if status not in (0, 75):
            _leave_a_word(planned, status, log)
        # Stopped before it could listen, it has measured nothing; it is to be run again.
        if self.stopped and status not in (0, 75):
            status = 75
        return Outcome(planned, status, time.monotonic() - start, log)

    def stop_on(self, numbers: list[int], elsewhere: Callable[[], None]) -> None:
        """On these signals, ask the run to save and end; ``elsewhere`` asks its remote ranks."""

        def stop(*_: object) -> None:
            self.stopped = True
            if not self._process:
                return
            elsewhere()
            # A process may end while it is looked at.
            with contextlib.suppress(psutil.Error):
                started = psutil.Process(self._process.pid)
                for process in (started, *started.children(recursive=True)):
                    with contextlib.suppress(psutil.Error):
                        _stop_trainer(process)

        for number in numbers:
            signal.signal(number, stop)
