"""Runs planned runs one after the other, each in processes of its own with its own log."""

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from hpcbench.records.reader import is_complete, read_document
from hpcbench.records.schema import RUN_FILE, SCHEMA_VERSION, STATUS_FAILED
from hpcbench.records.upgrade import identity_of
from hpcbench.records.writer import write_atomically
from hpcbench.sweeps.plan import PlannedRun

# What each sentence of ours on stderr begins with.
OWN_WORD = "hpcbench: "


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its exit status, seconds, and the log that says more."""

    run: PlannedRun
    status: int
    seconds: float
    log: Path
    reason: str = ""

    def __str__(self) -> str:
        end = {0: "done", 75: "stopped, to be resumed"}.get(
            self.status, f"FAILED ({self.status}): {self.reason}; see {self.log}"
        )
        return f"{self.run}: {end}, {self.seconds:.1f} s"


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process' environment; Open MPI refuses to run as root unless it is allowed twice."""
    root = {}
    if os.geteuid() == 0:
        root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    return os.environ | root | dict(more or {})


def said_last(log: Path, start: int) -> str:
    """Why a run ended, from its ``log`` after the first ``start`` bytes: its own last word, since
    launchers add pages of theirs; else the last line with a word in it."""
    text = log.read_bytes()[start:].decode(errors="replace")
    own = [line for line in text.splitlines() if line.startswith(OWN_WORD)]
    lines = own or [line for line in text.splitlines() if re.search(r"\w", line)]
    return lines[-1].removeprefix(OWN_WORD) if lines else "nothing stands in its log"


def record_failure(planned: PlannedRun, status: int, message: str) -> None:
    """Write into run.json why a run failed that could not say so itself.

    Of an earlier failure all else stays, such as its provenance. A run that is complete, or that
    another process is writing, is not touched.
    """
    path = planned.folder / RUN_FILE
    failed = {
        "status": STATUS_FAILED,
        "failure": {2: "config", 3: "environment"}.get(status, "communication"),
        "message": message,
    }
    if path.exists():
        try:
            document = read_document(planned.folder)
        except (OSError, ValueError):
            return
        if document.get("status") != STATUS_FAILED:
            return
    else:
        document = {
            "schema_version": SCHEMA_VERSION,
            "run_id": planned.config.run_id,
            "sweep": planned.folder.parent.name,
            "config": planned.config.model_dump(mode="json"),
        }
        identity = identity_of(document)
        if identity:
            document["identity"] = asdict(identity)
    planned.folder.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(document | failed, indent=2).encode())


def _written(path: Path) -> tuple[int, int] | None:
    """What tells one version of a file from another; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino


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
        before = _written(planned.folder / RUN_FILE)
        with open(log, "ab") as output:
            logged = output.tell()
            self._process = subprocess.Popen(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=self._environment,
            )
            try:
                status = self._process.wait()
            finally:
                self._process = None
        if status == 0 and not is_complete(planned.folder):
            # Seen of srun, when the last attempt's step had not quite ended.
            status = 4
        reason = ""
        if status not in (0, 75):
            reason = said_last(log, logged)
            # What an attempt before this one wrote says nothing of this one.
            if _written(planned.folder / RUN_FILE) == before:
                record_failure(planned, status, reason)
        # Stopped before it could listen, it has measured nothing; it is to be run again.
        if self.stopped and status not in (0, 75):
            status = 75
        return Outcome(planned, status, time.monotonic() - start, log, reason)

    def stop_on(self, numbers: Sequence[int], elsewhere: Callable[[], None]) -> None:
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
