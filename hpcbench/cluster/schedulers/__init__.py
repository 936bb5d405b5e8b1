"""Who queues jobs: one file (or folder) a scheduler, all behind the class Scheduler.

Adding a scheduler is adding one file (or one module of another package, by an entry point of the
group ``hpcbench.schedulers``). Nothing else knows one's commands or variables.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from hpcbench.cluster.survey import Partition, Survey, UserLimits, minutes
from hpcbench.errors import EnvironmentLacks
from hpcbench.registry import Registry


@dataclass(frozen=True)
class Allocation:
    """What a job got; 0 where the scheduler does not say."""

    nodes: int
    cpus_per_node: int
    gpus_per_node: int = 0
    tasks_per_node: int = 0
    cpus_per_task: int = 0


@dataclass(frozen=True)
class Job:
    """The job that this process belongs to; all is empty outside of one.

    ``task`` is this job as the scheduler's commands want it named; ``array`` the number of the
    array that it is of, ``index`` its place there; ``restart`` how often it was started again;
    ``mark`` what tells one launch within it from another; ``granted`` names the job and the nodes
    that it holds; ``cluster`` is the scheduler's name of the whole, ``partition`` of the part;
    ``facts`` go into provenance.
    """

    scheduler: str = "none"
    task: str = ""
    array: str = ""
    index: str = ""
    restart: int = 0
    mark: str = ""
    granted: str = ""
    cluster: str = ""
    partition: str = ""
    allocation: Allocation | None = None
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Ending:
    """How a scheduler says that something ended: a class of failure, and a sentence's part."""

    failure: str
    message: str


# What a run says of itself where an end comes from outside, which it does not see.
VAGUE_FAILURES = ("communication", "preempted")


GpuRequest = Literal["per-node", "per-task", "gres", "total"]


@dataclass(frozen=True)
class Request:
    """What a job asks for: nodes and what of each; ``gpus`` a node, or in all if ``gpu_request`` is
    "total", in the way that the site takes.

    With ``whole_nodes`` nobody else's job may run there. ``options`` are the site's own, after all
    others.
    """

    nodes: int
    tasks_per_node: int
    cores_per_task: int
    time: str
    gpus: int = 0
    gpu_type: str | None = None
    gpu_request: GpuRequest = "per-node"
    whole_nodes: bool = False
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    memory: str | None = None
    threads_per_core: int | None = None
    options: Sequence[str] = ()


@dataclass(frozen=True)
class ArrayJob:
    """One job for each of ``tasks`` indices from 0, each of which runs its part of ``record``.

    At most ``throttle`` run at once; ``signal_seconds`` before its time limit a job is told. None
    begins before all jobs of ``after`` are over, whatever became of them.
    """

    name: str
    tasks: int
    request: Request
    record: Path
    logs: Path
    signal_seconds: int
    throttle: int | None = None
    after: Sequence[str] = ()
    # Shell that a job reads before anything else.
    setup: Path | None = None


class Scheduler(ABC):
    """Commands are lists of arguments, which no shell reads."""

    name: ClassVar[str]
    # Whether a sweep can be handed to it.
    queues: ClassVar[bool] = True

    @abstractmethod
    def job(self, environment: Mapping[str, str]) -> Job | None:
        """The job that this process belongs to; None where it is none of this scheduler's."""

    def is_here(self) -> bool:
        """Whether this is a machine of a cluster of this scheduler's."""
        return False

    def minutes(self, limit: str) -> float:
        """A time limit as a site's file has it, in minutes."""
        return minutes(limit)

    def array_command(self, array: ArrayJob) -> list[str]:
        """The command that queues ``array``."""
        raise self._has_no_queue()

    def analysis_command(
        self,
        jobs: Sequence[str],
        folder: Path,
        request: Request | None,
        setup: Path | None = None,
    ) -> list[str]:
        """The command that queues the analysis of ``folder`` for when all ``jobs`` are over,
        whatever failed; without ``request`` where this job is. It reads the shell of ``setup``
        first."""
        raise self._has_no_queue()

    def submit(self, command: Sequence[str]) -> str:
        """Run a queueing command; the job's number. EnvironmentLacks with the scheduler's own
        words."""
        raise self._has_no_queue()

    def queue(self) -> dict[str, str]:
        """State by task, ``<array job>_<index>`` (or ``<job>``), of this user's jobs."""
        return {}

    def signal_ranks(self, job: Job, name: str) -> None:
        """Signal all processes that were started for this job, on whatever node."""
        return

    def ending(self, job: Job, printed: str = "") -> Ending | None:
        """How ``job``, or what it started and what ``printed`` is the output of, is being ended;
        None where the scheduler has nothing to do with that, or does not say."""
        return None

    def has_whole_nodes(self, job: Job) -> bool | None:
        """Whether nobody else's job may run on this job's nodes; None where it is not known."""
        return None

    def nodes(self, environment: Mapping[str, str]) -> list[str]:
        """The nodes of this job; empty where they are not known."""
        return []

    def rank_hosts(self, environment: Mapping[str, str]) -> list[str]:
        """The node of each rank that the scheduler's own launcher started, in rank order; empty
        where it is not known."""
        return []

    def partitions(self) -> list[Partition] | None:
        """All partitions; None where the scheduler does not answer."""
        return []

    def max_array_size(self) -> int | None:
        """How many tasks an array may have; None where it is not known."""
        return None

    def survey(self) -> Survey | None:
        """The cluster as it is, for a site's file; None where the scheduler does not answer."""
        return None

    def user_limits(
        self, account: str | None, qos: str | None, partition: str | None
    ) -> UserLimits:
        """What this user's jobs may have under an account and a QoS in a partition, by default
        those that a job gets which names none."""
        return UserLimits()

    def refusal(self, command: Sequence[str]) -> str | None:
        """Why ``command``, as :meth:`array_command` and :meth:`analysis_command` make it, would not
        be taken, in the scheduler's words; None where it would be. Nothing is queued."""
        return None

    def output_of_each_node(self, program: Sequence[str], nodes: int) -> str | None:
        """What ``program`` prints on each of this job's ``nodes``; None where that fails."""
        return None

    def _has_no_queue(self) -> EnvironmentLacks:
        return EnvironmentLacks(f"{self.name} has no queue; hpcbench sweep run runs a sweep here")


SCHEDULERS: Registry[Scheduler] = Registry("scheduler", __name__)


def schedulers_with_queues() -> Iterator[Scheduler]:
    return (scheduler for scheduler in SCHEDULERS if scheduler.queues)


def current_job(environment: Mapping[str, str]) -> Job:
    """The job that this process belongs to; an empty one outside of any."""
    found = (scheduler.job(environment) for scheduler in SCHEDULERS)
    return next((job for job in found if job), Job())


def scheduler_of(job: Job) -> Scheduler:
    """The scheduler of a job; where it is none, that of this machine alone."""
    return SCHEDULERS[job.scheduler if job.scheduler != "none" else "local"]
