"""The ways a run can end other than well: each has an exit status and a failure class.

Messages are one sentence that says what is wrong and, where it can be known, what would be
right. Exit statuses: 2 bad arguments, 3 the environment lacks something, 4 the training
failed, 75 (``EX_TEMPFAIL``) stopped by the scheduler with a checkpoint to resume from.
"""

from difflib import get_close_matches


class HpcbenchError(Exception):
    """Base of all errors that the harness raises on purpose."""

    exit_status = 4
    failure = "environment"
    # Whether all ranks raise it together, so that one of them may speak for all.
    on_all_ranks = False


class ConfigError(HpcbenchError):
    exit_status = 2
    failure = "config"


class DataError(HpcbenchError):
    exit_status = 3
    failure = "data"


class EnvironmentLacks(HpcbenchError):
    exit_status = 3
    failure = "environment"


class OutOfMemory(HpcbenchError):
    failure = "out-of-memory"


class Diverged(HpcbenchError):
    failure = "diverged"
    on_all_ranks = True


class CommunicationFailed(HpcbenchError):
    failure = "communication"


class Superseded(HpcbenchError):
    """A later attempt of the same job writes this run now."""

    failure = "superseded"


class Preempted(HpcbenchError):
    """Stopped by a signal, after a checkpoint."""

    exit_status = 75
    failure = "preempted"
    on_all_ranks = True


def first_line(error: BaseException) -> str:
    """What an error of somebody else's begins with, since frameworks write pages."""
    return (str(error).splitlines() or [""])[0][:300]


def unknown_name(kind: str, name: str, known: list[str]) -> ConfigError:
    """A ConfigError that suggests the closest known name, or lists them all."""
    close = get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
    return ConfigError(f"unknown {kind} {name!r}; {hint}")
