"""A rank's place on its host, where its launcher's variables do not say all of it."""

from collections.abc import Mapping
from typing import Any

from hpcbench.cluster.patience import time_limit
from hpcbench.errors import ConfigError

# Names the hosts where nothing else does: "n1:2,n2:2", a host and its ranks.
HOSTS = "HPCBENCH_HOSTS"


def named_hosts(named: str) -> list[str]:
    """The host of each rank in HPCBENCH_HOSTS; ConfigError where that cannot be read."""
    try:
        entries = [entry.strip().partition(":") for entry in named.split(",")]
        return [host for host, _, ranks in entries for _ in range(int(ranks or 1))]
    except ValueError as error:
        raise ConfigError(f"{HOSTS}={named!r}: not like n1:2,n2:2") from error


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


def start_mpi(who: str) -> Any:
    """mpi4py's ``MPI``, which starts MPI: this process, ``who``, waits for the other ranks then, as
    long as ``patience`` allows. None without MPI."""
    try:
        with time_limit(who):
            from mpi4py import MPI
    except (ImportError, RuntimeError):
        return None
    return MPI
