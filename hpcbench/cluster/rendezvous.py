"""Where the ranks of a launch meet: the host of each, and ports that are theirs alone."""

import zlib
from collections.abc import Mapping

from hpcbench.cluster.launchers import LAUNCHERS, Launch
from hpcbench.cluster.schedulers import current_job, scheduler_of
from hpcbench.errors import ConfigError

# Names the hosts where nothing else does: "n1:2,n2:2", a host and its ranks.
HOSTS = "HPCBENCH_HOSTS"
# Below the ports that Linux hands out by itself.
FIRST_PORT, PORTS = 20_000, 10_000


def rank_hosts(launch: Launch, environment: Mapping[str, str]) -> list[str]:
    """The host of each rank, in rank order.

    From ``HPCBENCH_HOSTS``, else this host where all ranks are on it, else from the scheduler.
    Raises ConfigError where none of them says.
    """
    named = environment.get(HOSTS)
    if named:
        hosts = _read(named)
    elif launch.local_size == launch.size:
        hosts = ["localhost"] * launch.size
    else:
        scheduler = scheduler_of(current_job(environment))
        nodes = scheduler.hosts(environment, of_step=launch.launcher == "srun")
        if not nodes:
            raise ConfigError(
                f"the ranks are on several hosts, and nothing says on which; name them, as in "
                f"{HOSTS}=n1:2,n2:2"
            )
        # The harness starts equally many on each node, one node after the other.
        hosts = [node for node in nodes for _ in range(launch.local_size)]
    if len(hosts) < launch.size:
        raise ConfigError(f"{launch.size} ranks were started, but only {len(hosts)} have a host")
    return hosts[: launch.size]


def _read(named: str) -> list[str]:
    try:
        entries = [entry.strip().partition(":") for entry in named.split(",")]
        return [host for host, _, ranks in entries for _ in range(int(ranks or 1))]
    except ValueError as error:
        raise ConfigError(f"{HOSTS}={named!r}: not like n1:2,n2:2") from error


def rendezvous_port(launch: Launch, environment: Mapping[str, str]) -> int:
    """The first of ``launch.size`` ports: the same for all ranks, another for another launch."""
    marks = [current_job(environment).mark, *(known.mark(environment) for known in LAUNCHERS)]
    return FIRST_PORT + zlib.crc32("/".join(marks).encode()) % (PORTS - launch.size)
