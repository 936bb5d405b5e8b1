"""What can be known of a machine before a job is queued: checks, a file a subject.

A check is a function of what is wanted; it yields findings and never raises for what it finds.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from hpcbench.cluster.schedulers import Job, current_job
from hpcbench.cluster.site import Site


class Severity(StrEnum):
    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """What was looked at, what was found, and the sentence that mends it where it is not well."""

    subject: str
    state: Severity
    found: str
    remedy: str = ""


@dataclass(frozen=True)
class CheckContext:
    """What somebody wants to run, and where; None where it does not matter."""

    model: str
    dataset: str = "auto"
    devices: int | None = None
    data_dir: Path | None = None
    results: Path = Path("results")
    site: Site | None = None
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)

    @property
    def job(self) -> Job:
        """The scheduler's job that this is in, if it is in one."""
        return current_job(self.environment)


Check = Callable[[CheckContext], Iterator[Finding]]


def findings(checks: Sequence[Check], context: CheckContext) -> Iterator[Finding]:
    """The findings of all ``checks``, in their order, as they are made."""
    for check in checks:
        yield from check(context)
