"""Runs planned runs one after the other, each in processes of its own with its own log."""

import contextlib
import math
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from hpcbench.cluster.schedulers import Ending
from hpcbench.devices.memory import oom_kills
from hpcbench.process import end_of
from hpcbench.programs.config import ProgramConfig
from hpcbench.records.reader import is_complete
from hpcbench.records.schema import ACCURACY_FILE, RUN_FILE, THROUGHPUT_FILE
from hpcbench.sweeps.failures import Attempt, of_status, record_failure, said_last, says_less
from hpcbench.sweeps.plan import PlannedRun
from hpcbench.validation import seconds_of

# Overrules how long a run may write nothing: compiling, an evaluation, a long interval.
STALL, STALL_SECONDS, POLL = "HPCBENCH_STALL_SECONDS", 1800.0, 5.0
NO_JOB = Attempt()
# Between being asked to end and being killed.
GRACE = 20


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


def _written(path: Path) -> tuple[int, int] | None:
    """What tells one version of a file from another; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino


def _end_tree(process: subprocess.Popen[bytes]) -> int:
    """Ask a launcher and all that it started here to end, then make them; its exit status."""
    with contextlib.suppress(psutil.Error):
        started = psutil.Process(process.pid)
        tree = [started, *started.children(recursive=True)]
        for one in tree:
            with contextlib.suppress(psutil.Error):
                one.terminate()
        _, alive = psutil.wait_procs(tree, timeout=GRACE)
        for one in alive:
            with contextlib.suppress(psutil.Error):
                one.kill()
    return process.wait() or 4


def _stop_trainer(process: psutil.Process) -> None:
    """Ask it to save and end, if it is a trainer; its launcher's line names the trainer too."""
    ours = {"hpcbench.train", "hpcbench.runs.program"} & set(process.cmdline())
    if ours and process.name().startswith("python"):
        process.send_signal(signal.SIGUSR1)


class Runner:
    """Runs commands, and passes a request to stop on to the one under way."""

    def __init__(
        self,
        logs: Path,
        more: Mapping[str, str] | None = None,
        ended: Callable[[str], Ending | None] = lambda _: None,
        attempt: Attempt = NO_JOB,
    ) -> None:
        """``more`` variables for runs; ``ended`` is how a scheduler says that what printed this
        was ended; ``attempt`` at a job's runs."""
        self._logs = logs
        self._environment = environment(more)
        self._stall_limit = seconds_of(self._environment, STALL, STALL_SECONDS)
        self._ended, self._attempt = ended, attempt
        self._process: subprocess.Popen[bytes] | None = None
        self.stopped = False

    def run(self, planned: PlannedRun, command: list[str]) -> Outcome:
        log = self._logs / f"{planned.config.run_id}.log"
        start = time.monotonic()
        before, kills = _written(planned.folder / RUN_FILE), oom_kills()
        stalled = False
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
                status, stalled = self._wait(self._process, planned)
            except KeyboardInterrupt:
                # A terminal's reached it too; nothing trains on behind anybody's back.
                _end_tree(self._process)
                raise
            finally:
                self._process = None
        if status == 0 and not is_complete(planned.folder):
            # Seen of srun, when the last attempt's step had not quite ended.
            status = 4
        reason = ""
        if status not in (0, 75):
            reason = said_last(log, logged)
            # What an attempt before this one wrote says nothing of this one.
            silent = _written(planned.folder / RUN_FILE) == before
            ending = self._ending(log, logged, kills, stalled)
            if ending:
                reason = f"{ending.message}; {reason}"
            if silent or says_less(planned, ending):
                known = ending or of_status(status)
                record_failure(
                    planned, replace(known, message=reason), None if silent else self._attempt
                )
        # Stopped before it could listen, it has measured nothing; it is to be run again.
        if self.stopped and status not in (0, 75):
            status = 75
        return Outcome(planned, status, time.monotonic() - start, log, reason)

    def _wait(self, process: subprocess.Popen[bytes], planned: PlannedRun) -> tuple[int, bool]:
        """The exit status, and whether the run was ended since it wrote nothing for too long."""
        # A program of one's own is watched by its run, which writes its rows at the end.
        limit = math.inf if isinstance(planned.config, ProgramConfig) else self._stall_limit
        names = (RUN_FILE, THROUGHPUT_FILE, ACCURACY_FILE)
        files = [planned.folder / name for name in names]
        seen, since = [_written(path) for path in files], time.monotonic()
        with end_of(process) as ended:
            while not ended(min(POLL, limit)):
                now = [_written(path) for path in files]
                if now != seen:
                    seen, since = now, time.monotonic()
                elif time.monotonic() - since > limit:
                    return _end_tree(process), True
        return process.wait(), False

    def _ending(self, log: Path, start: int, kills: int, stalled: bool) -> Ending | None:
        """What is known of how the run ended, besides what it said itself."""
        if stalled:
            return Ending(
                "timeout", f"nothing was measured for {self._stall_limit:.0f} s ({STALL})"
            )
        printed = log.read_bytes()[start:].decode(errors="replace")
        told = self._ended(printed)
        if told is None and oom_kills() > kills:
            return Ending("out-of-memory", "memory ran out, and the system killed processes for it")
        return told

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
