"""What a scheduler tells of its cluster: partitions, their nodes, and the limits of jobs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from hpcbench.words import count as counted

UNLIMITED = math.inf


def minutes(limit: str) -> float:
    """A time limit as Slurm and site files have it, as ``90`` or ``1-12:00``, in minutes."""
    if not limit[:1].isdecimal():
        return UNLIMITED
    days, _, rest = limit.rpartition("-")
    parts = [float(part) for part in rest.split(":")]
    if days:
        hours, mins, seconds = (*parts, 0.0, 0.0)[:3]
    elif len(parts) == 3:
        hours, mins, seconds = parts
    else:
        hours, mins, seconds = 0.0, *(*parts, 0.0)[:2]
    return float(days or 0) * 1440 + hours * 60 + mins + seconds / 60


@dataclass(frozen=True)
class UserLimits:
    """What an accounting lets one user's jobs have, by ``qos``: ``minutes`` of time, ``queued``
    jobs at once, running ones too, and of one job ``nodes``, ``cpus`` and ``gpus``; infinite where
    it does not say."""

    qos: str = ""
    minutes: float = UNLIMITED
    queued: float = UNLIMITED
    nodes: float = UNLIMITED
    cpus: float = UNLIMITED
    gpus: float = UNLIMITED

    def tightened(self, other: "UserLimits") -> "UserLimits":
        """The smaller of each, under the names of both."""
        names = dict.fromkeys(filter(None, (self.qos, other.qos)))
        values = {
            each.name: min(getattr(self, each.name), getattr(other, each.name))
            for each in fields(self)
            if each.name != "qos"
        }
        return UserLimits(" and ".join(names), **values)


@dataclass(frozen=True)
class NodeKind:
    """Nodes of a partition that are alike, and in the same state.

    ``cpus`` are what the scheduler hands out: hardware threads where ``threads`` a core are more
    than one. ``gpus`` are counted by type, "" where they have none. Only ``usable`` ones take jobs.
    """

    count: int
    usable: bool
    cpus: int
    sockets: int
    threads: int
    megabytes: int
    gpus: Mapping[str, int]

    @property
    def cores(self) -> int:
        return self.cpus // self.threads

    def gpus_of(self, kind: str | None) -> int:
        """How many GPUs (of ``kind``) such a node has."""
        return sum(count for name, count in self.gpus.items() if kind in (None, name))


@dataclass(frozen=True)
class Partition:
    """A partition as the scheduler describes it: ``minutes`` of the time limit (infinite without
    one), and ``limit`` as the scheduler writes it.

    With ``whole_nodes`` jobs have their nodes alone. ``qos`` and ``accounts`` are those that it
    takes, empty where it takes any; ``cpus_of_job`` is how many CPUs of a node a job may have, and
    ``limits`` are those of this user's jobs there that name no QoS.
    """

    name: str
    state: str
    limit: str
    minutes: float
    kinds: Sequence[NodeKind]
    default: bool = False
    max_nodes: float = UNLIMITED
    whole_nodes: bool = False
    qos: Sequence[str] = ()
    accounts: Sequence[str] = ()
    cpus_of_job: float = UNLIMITED
    # Whether a job that does not say how much memory it wants gets all of its nodes'.
    all_memory: bool = False
    min_nodes: int = 1
    limits: UserLimits = UserLimits()

    @property
    def nodes(self) -> int:
        return sum(kind.count for kind in self.kinds)

    def cpus(self, threads_per_core: int | None = None) -> int:
        """The CPUs of its largest node, of each core no more than so many threads."""
        return max(
            kind.cores * min(kind.threads, threads_per_core or kind.threads) for kind in self.kinds
        )

    def gpus_of(self, kind: str | None) -> int:
        """How many GPUs (of ``kind``) its best node has."""
        return max(node.gpus_of(kind) for node in self.kinds)

    def __str__(self) -> str:
        kinds = sorted(
            {
                ", ".join(f"{n} {kind} GPUs".replace("  ", " ") for kind, n in node.gpus.items())
                or f"{node.cpus} CPUs"
                for node in self.kinds
            }
        )
        return f"{self.name} ({counted(self.nodes, 'node')} of {' or '.join(kinds)})"


@dataclass(frozen=True)
class Survey:
    """A cluster: what its jobs may ask for, by what its scheduler says.

    ``mpi`` are the kinds of MPI that its launcher serves; ``gpu_requests`` the site file's words
    for GPUs that it takes, best first; ``accounts`` and ``qos`` the caller's own.
    """

    cluster: str
    scheduler: str
    version: str
    partitions: Sequence[Partition]
    max_array_size: int | None = None
    mpi: Sequence[str] = ()
    gpu_requests: Sequence[str] = ("per-node",)
    accounts: Sequence[str] = ()
    qos: Sequence[str] = ()
    # Whether all jobs have whole nodes, whatever they ask for.
    whole_nodes: bool = False
