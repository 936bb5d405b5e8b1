"""The state of each run of a sweep, from its files and the queue; never from an accounting."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path

from hpcbench.records.ownership import is_being_written
from hpcbench.records.reader import read_document
from hpcbench.records.schema import STATUS_COMPLETE, STATUS_FAILED, STATUS_RUNNING
from hpcbench.sweeps.plan import PlannedRun
from hpcbench.sweeps.submission import Submission


class State(StrEnum):
    DONE = "done"
    RUNNING = "running"
    QUEUED = "queued"
    FAILED = "failed"
    MISSING = "missing"


@dataclass(frozen=True)
class RunStatus:
    """A run's state, and the reason where there is one."""

    run: PlannedRun
    state: State
    reason: str = ""


def statuses(
    runs: Sequence[PlannedRun], submissions: Sequence[Submission], queue: Mapping[str, str] | None
) -> list[RunStatus]:
    """What has become of each run; ``queue`` is state by array task, None where it is not known."""
    in_queue: dict[str, str] = {}
    over: dict[str, tuple[Path, str]] = {}
    for submission in submissions:
        for index, configs in submission.tasks.items():
            task = f"{submission.array_job}_{index}"
            state = (queue or {}).get(task)
            if state:
                in_queue |= {config.run_id: state for config in configs}
            elif queue is not None and submission.site and submission.array_job:
                logs = submission.results / submission.sweep / "logs"
                over |= {config.run_id: (logs, task) for config in configs}
    # Asked for runs that have nothing alone; a task's runs share its log.
    logs_of, last_word = cache(_logs_by_task), cache(_last_word)

    def why_missing(run: PlannedRun) -> str:
        if run.config.run_id not in over:
            return ""
        logs, task = over[run.config.run_id]
        return last_word(task, logs, logs_of(logs).get(task))

    return [_status(run, in_queue.get(run.config.run_id), why_missing) for run in runs]


def _logs_by_task(logs: Path) -> dict[str, Path]:
    """What jobs printed, by the task that their names end with."""
    return {path.stem.rpartition("-")[2]: path for path in logs.glob("*.out")}


def _last_word(task: str, logs: Path, log: Path | None) -> str:
    """What is known of a task whose job is over."""
    if log is None:
        return (
            f"job {task} is over and left no log, as where it was cancelled before it began, or "
            f"its node does not see {logs}"
        )
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return f"job {task} is over; {log} ends with: {lines[-1][:200] if lines else 'nothing'}"


def _status(
    run: PlannedRun, queued: str | None, why_missing: Callable[[PlannedRun], str]
) -> RunStatus:
    try:
        document = read_document(run.folder)
        status = document.get("status")
        reason = f"{document.get('failure')}: {document.get('message')}"
    except FileNotFoundError:
        status, reason = None, "" if queued else why_missing(run)
    except (OSError, ValueError) as error:
        status, reason = STATUS_FAILED, str(error)
    if status == STATUS_COMPLETE:
        return RunStatus(run, State.DONE)
    # After a takeover nobody holds the folder's lock, though the run goes on.
    taken_over = status == STATUS_RUNNING and queued == "RUNNING"
    if taken_over or is_being_written(run.folder):
        return RunStatus(run, State.RUNNING)
    if queued:
        # Its state alone goes without saying.
        return RunStatus(run, State.QUEUED, queued if "(" in queued else "")
    if status == STATUS_RUNNING:
        reason = "it ended without a word: killed, or its node died"
    return RunStatus(run, State.FAILED if status else State.MISSING, reason)


def reasons(of: Iterable[RunStatus], state: State) -> Counter[str]:
    """How many runs of this ``state`` have which reason, in the order in which they come."""
    return Counter(status.reason for status in of if status.state == state and status.reason)


def counts(of: Sequence[RunStatus]) -> str:
    """As ``34 done, 1 running, 1 failed``."""
    count = Counter(status.state for status in of)
    return ", ".join(f"{count[state]} {state}" for state in State if count[state]) or "no runs"
