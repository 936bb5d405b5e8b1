"""What can be known of a machine before a job is queued: checks, a file a subject.

A check is a function of what is asked for; it yields findings and never raises for what it finds.
"""

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from hpcbench.sweeps.sites import Site


class State(StrEnum):
    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """What was looked at, what was found, and the sentence that mends it where it is not well."""

    subject: str
    state: State
    found: str
    remedy: str = ""


@dataclass(frozen=True)
class Asked:
    """What somebody wants to run; None where it does not matter."""

    model: str
    dataset: str = "auto"
    devices: int | None = None
    data_dir: Path | None = None
    results: Path = Path("results")
    site: Site | None = None
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)


Check = Callable[[Asked], Iterator[Finding]]


def said(*command: str, timeout: float = 10.0) -> str | None:
    """What a command printed; None where it is not there, fails or does not answer in time."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def findings(checks: Sequence[Check], asked: Asked) -> Iterator[Finding]:
    """The findings of all ``checks``, in their order, as they are made."""
    for check in checks:
        yield from check(asked)
