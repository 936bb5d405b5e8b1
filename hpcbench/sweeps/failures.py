"""Why runs failed that could not say so themselves."""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from hpcbench.cluster.schedulers import VAGUE_FAILURES, Ending
from hpcbench.records.ownership import is_being_written, owner_of
from hpcbench.records.reader import read_document
from hpcbench.records.schema import RUN_FILE, SCHEMA_VERSION, STATUS_FAILED, STATUS_RUNNING
from hpcbench.records.upgrade import identity_of
from hpcbench.records.writer import write_atomically
from hpcbench.sweeps.plan import PlannedRun

# What each sentence of ours on stderr begins with.
OWN_WORD = "hpcbench: "
OF_STATUS = {2: "config", 3: "environment"}


def said_last(log: Path, start: int) -> str:
    """Why a run ended, from its ``log`` after the first ``start`` bytes: its own last word, since
    launchers add pages of theirs; else the last line with a word in it."""
    if not log.exists():
        return "its log is gone"
    text = log.read_bytes()[start:].decode(errors="replace")
    own = [line for line in text.splitlines() if line.startswith(OWN_WORD)]
    lines = own or [line for line in text.splitlines() if re.search(r"\w", line)]
    return lines[-1].removeprefix(OWN_WORD) if lines else "nothing stands in its log"


@dataclass(frozen=True)
class Attempt:
    """Which attempt at a run this is: of a job, started again so often; "" outside of any."""

    job: str = ""
    restart: int = 0

    def owns(self, folder: Path) -> bool:
        """Whether it was the last to take ``folder``, and nobody lives who has it."""
        owner = owner_of(folder)
        ours = owner is None or (owner.job, owner.restart) == (self.job, self.restart)
        return ours and not is_being_written(folder)


def record_failure(planned: PlannedRun, ending: Ending, by: Attempt | None) -> None:
    """Write into run.json why a run failed that could not say so itself.

    Of an earlier failure all else stays, such as its provenance. A run that is complete, or that
    another process is writing, is not touched: one that says "running" is called failed only ``by``
    the attempt that wrote that, if that is known.
    """
    path = planned.folder / RUN_FILE
    failed = {"status": STATUS_FAILED, "failure": ending.failure, "message": ending.message}
    if path.exists():
        try:
            document = read_document(planned.folder)
        except (OSError, ValueError):
            return
        status = document.get("status")
        ended = status == STATUS_RUNNING and by is not None and by.owns(planned.folder)
        if status != STATUS_FAILED and not ended:
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


def of_status(status: int) -> Ending:
    """What an exit status tells, where nothing else does."""
    return Ending(OF_STATUS.get(status, "communication"), "")


def says_less(planned: PlannedRun, ending: Ending | None) -> bool:
    """Whether a run's own word is less than what is known from outside: it says that it still runs,
    or, where its ``ending`` is known, that it failed of what it could not see."""
    try:
        document = read_document(planned.folder)
    except (OSError, ValueError):
        return False
    seen = ending is not None and document.get("failure") in VAGUE_FAILURES
    return seen or document.get("status") == STATUS_RUNNING
