"""The state of each run of a sweep, from its files and the queue; never from sacct."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from hpcbench.records.ownership import is_being_written
from hpcbench.records.reader import read_document
from hpcbench.records.schema import STATUS_COMPLETE, STATUS_FAILED, STATUS_RUNNING
from hpcbench.sweeps.plan import PlannedRun
from hpcbench.sweeps.record import Record


class State(StrEnum):
    DONE = "done"
    RUNNING = "running"
    QUEUED = "queued"
    FAILED = "failed"
    MISSING = "missing"


@dataclass(frozen=True)
class Fate:
    """A run's state, and a word on why where there is one."""

    run: PlannedRun
    state: State
    why: str = ""


def fates(
    runs: Sequence[PlannedRun], records: Sequence[Record], queue: Mapping[str, str]
) -> list[Fate]:
    """What has become of each run; ``queue`` is state by array task."""
    in_queue: dict[str, str] = {}
    for record in records:
        for index, configs in record.tasks.items():
            state = queue.get(f"{record.array_job}_{index}")
            if state:
                in_queue |= {config.run_id: state for config in configs}
    return [_fate(run, in_queue.get(run.config.run_id)) for run in runs]


def _fate(run: PlannedRun, queued: str | None) -> Fate:
    try:
        document = read_document(run.folder)
        status = document.get("status")
        why = f"{document.get('failure')}: {document.get('message')}"
    except FileNotFoundError:
        status, why = None, ""
    except (OSError, ValueError) as error:
        status, why = STATUS_FAILED, str(error)
    if status == STATUS_COMPLETE:
        return Fate(run, State.DONE)
    # After a takeover nobody holds the folder's lock, though the run goes on.
    taken_over = status == STATUS_RUNNING and queued == "RUNNING"
    if taken_over or is_being_written(run.folder):
        return Fate(run, State.RUNNING)
    if queued:
        return Fate(run, State.QUEUED, queued.lower())
    if status == STATUS_RUNNING:
        why = "it ended without a word: killed, or its node died"
    return Fate(run, State.FAILED if status else State.MISSING, why)


def counts(of: Sequence[Fate]) -> str:
    """As ``34 done, 1 running, 1 failed``."""
    count = Counter(fate.state for fate in of)
    return ", ".join(f"{count[state]} {state}" for state in State if count[state]) or "no runs"
