"""A rank's place on its host, where its launcher's variables do not say all of it."""

import platform
import re
from collections.abc import Mapping
from typing import Any

from hpcbench.cluster.patience import time_limit
from hpcbench.errors import ConfigError

# Names the hosts where nothing else does: "n1:2,n2:2", a host and its ranks.
HOSTS = "HPCBENCH_HOSTS"
ENTRY = re.compile(r"\s*([^\s:]+)(?::0*([1-9]\d*))?\s*", re.ASCII)


def named_hosts(named: str) -> list[str]:
    """The host of each rank in HPCBENCH_HOSTS; ConfigError where that cannot be read."""
    hosts = []
    for entry in named.split(","):
        match = ENTRY.fullmatch(entry)
        if match is None:
            raise ConfigError(f"{HOSTS}={named!r}: not like n1:2,n2:2")
        hosts += [match[1]] * int(match[2] or 1)
    return hosts


def local_place(
    launcher: str, rank: int, size: int, environment: Mapping[str, str]
) -> tuple[int, int]:
    """Local rank and local size by HPCBENCH_HOSTS, else as MPI's ranks tell each other.

    Raises ConfigError where neither says: to guess would bind a rank to another's cores and GPU.
    """
    if size == 1:
        return 0, 1
    named = environment.get(HOSTS)
    if named:
        hosts = named_hosts(named)
        if not rank < size <= len(hosts):
            raise ConfigError(f"{HOSTS}={named!r} names {len(hosts)} ranks, and there are {size}")
        host = hosts[rank]
        return hosts[:rank].count(host), hosts[:size].count(host)
    ranks = mpi_ranks()
    if ranks is None or ranks[0] != size:
        raise ConfigError(
            f"{launcher} says that this is rank {rank} of {size}, and not which of them are on "
            f"this host; name the hosts, as in {HOSTS}=n1:2,n2:2"
        )
    return ranks[1:]


def mpi_ranks() -> tuple[int, int, int] | None:
    """How many ranks MPI has, and this one's local rank and local size; None without MPI."""
    mpi = start_mpi("a rank")
    if mpi is None:
        return None
    node = mpi.COMM_WORLD.Split_type(mpi.COMM_TYPE_SHARED)
    found = mpi.COMM_WORLD.size, node.rank, node.size
    node.Free()
    return found


def world_size(told_by: str, rank: int, environment: Mapping[str, str]) -> int:
    """How many ranks there are, by HPCBENCH_HOSTS or by MPI, where a launcher tells the rank alone,
    in the variable ``told_by``.

    Raises ConfigError where neither knows. MPI that knows of one rank may not have been told of the
    others: each would train on its own.
    """
    named = environment.get(HOSTS)
    if named:
        return len(named_hosts(named))
    ranks = mpi_ranks()
    if ranks is None or ranks[0] == 1:
        raise ConfigError(
            f"{told_by}={rank} is set, so something started this process, and neither it nor MPI "
            f"says how many there are; start them with mpirun, srun or torchrun, or name the "
            f"ranks' hosts, as in {HOSTS}=n1:2,n2:2 ({HOSTS}={platform.node()} where it is the "
            f"only one)"
        )
    return ranks[0]


def mpi_hosts(size: int) -> list[str]:
    """The host of each of ``size`` ranks as they tell each other by MPI; empty where it knows of
    another number, or there is none."""
    mpi = start_mpi("a rank")
    if mpi is None or mpi.COMM_WORLD.size != size:
        return []
    hosts: list[str] = mpi.COMM_WORLD.allgather(platform.node())
    return hosts


def start_mpi(who: str) -> Any:
    """mpi4py's ``MPI``, which starts MPI: this process, ``who``, waits for the other ranks then, as
    long as ``patience`` allows. None without MPI."""
    try:
        with time_limit(who):
            from mpi4py import MPI
    except (ImportError, RuntimeError):
        return None
    return MPI
