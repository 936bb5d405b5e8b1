"""Why a run really ended, where it only sees that it was stopped or that a rank is gone."""

import platform
import threading

from hpcbench.cluster.schedulers import VAGUE_FAILURES, Ending, Job, scheduler_of
from hpcbench.devices.core_time import core_time
from hpcbench.devices.memory import oom_kills

# What becomes of a rank without a core: others give it up, or its job's time limit comes.
STARVATION_LOOKS_LIKE = (*VAGUE_FAILURES, "timeout")


class Circumstances:
    """What scheduler and kernel know of a run's process, from here on; for two threads."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._began, self._oom_kills = core_time(), oom_kills()
        self._ending: Ending | None = None
        self._asking = threading.Lock()

    def explained(self, failure: str, message: str) -> tuple[str, str]:
        """A class of failure and its message, more exactly where that says little."""
        if failure not in VAGUE_FAILURES:
            return failure, message
        failure, message = self._by_scheduler(failure, message)
        used = core_time().since(self._began)
        if used.starved and failure in STARVATION_LOOKS_LIKE:
            return "starved", f"other processes had the cores of this rank: {used} ({message})"
        return failure, message

    def of_lost_rank(self, rank: int) -> tuple[str, str]:
        """The class of failure and the message where another rank of this host is gone."""
        name = f"rank {rank} on {platform.node()}"
        if oom_kills() > self._oom_kills:
            ran_out = "memory ran out meanwhile, and the system killed processes for it"
            return "out-of-memory", f"{name} died: {ran_out}"
        return self._by_scheduler("communication", f"{name} died")

    def _by_scheduler(self, failure: str, message: str) -> tuple[str, str]:
        with self._asking:
            self._ending = self._ending or scheduler_of(self._job).ending(self._job)
        if self._ending is None:
            return failure, message
        return self._ending.failure, f"{self._ending.message} ({message})"
