"""Where the ranks of a launch meet: the host of each, and ports that are theirs alone."""

import os
import platform
import socket
import zlib
from collections.abc import Mapping, MutableMapping, Sequence

from hpcbench.cluster.launchers import LAUNCHERS, Launch
from hpcbench.cluster.place import HOSTS, mpi_hosts, named_hosts
from hpcbench.cluster.schedulers import current_job, scheduler_of
from hpcbench.errors import ConfigError
from hpcbench.words import count

# Which gRPC, between TensorFlow's workers, takes a proxy from, and what tells it of exceptions
# (gRPC, "gRPC environment variables").
PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")
PAST_PROXIES = ("no_grpc_proxy", "no_proxy")
# Makes the name of a host that of its fast interconnect, as "i" makes jwb0001i of jwb0001.
SUFFIX = "HPCBENCH_RENDEZVOUS_SUFFIX"
# Below the ports that Linux hands out by itself.
FIRST_PORT, PORTS = 20_000, 10_000


def rank_hosts(launch: Launch, environment: Mapping[str, str]) -> list[str]:
    """The host of each rank, in rank order, by the name under which others reach it.

    From ``HPCBENCH_HOSTS``, else this host where all ranks are on it, else from the scheduler whose
    launcher started them, else as MPI's ranks tell each other.
    Raises ConfigError where none of them says, or a name with the suffix has no address.
    """
    named = environment.get(HOSTS)
    if named:
        hosts = named_hosts(named)
    elif launch.local_size == launch.size:
        return ["localhost"] * launch.size
    else:
        hosts, reason = _scheduled(launch, environment)
        if not hosts:
            raise ConfigError(
                f"the ranks are on several hosts, and nothing says on which{reason}; name them, as "
                f"in {HOSTS}=n1:2,n2:2"
            )
    if len(hosts) < launch.size:
        raise ConfigError(f"{launch.size} ranks were started, but only {len(hosts)} have a host")
    return reached(hosts[: launch.size], environment)


def reached(hosts: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """``hosts`` by their names on the network where ranks are to meet. ConfigError where one has no
    address: under another name they would meet over another network, and be measured on it."""
    suffix = environment.get(SUFFIX, "")
    names = [host + suffix for host in hosts]
    for name in dict.fromkeys(names) if suffix else ():
        try:
            socket.getaddrinfo(name, None)
        except (OSError, UnicodeError) as error:
            raise ConfigError(
                f"{name} has no address, so ranks cannot meet there; {SUFFIX} is {suffix!r}, from "
                f"the site's rendezvous_suffix"
            ) from error
    return names


def _scheduled(launch: Launch, environment: Mapping[str, str]) -> tuple[list[str], str]:
    """The hosts as the scheduler tells them; none, and why, where it does not."""
    scheduler, launcher = scheduler_of(current_job(environment)), LAUNCHERS[launch.launcher]
    try:
        if launcher.of_scheduler:
            return scheduler.rank_hosts(environment), ""
        if launcher.connects_mpi and (hosts := mpi_hosts(launch.size)):
            return hosts, ""
        nodes = scheduler.nodes(environment)
    except ValueError as error:
        return [], f" ({error})"
    # Where ranks cannot ask each other, they are as the harness starts them, or they are not known.
    each = launch.local_size
    if nodes and (each * len(nodes) != launch.size or launch.rank % each != launch.local_rank):
        return [], (
            f" (they are not equally many on each of {count(len(nodes), 'node')}, one node after "
            f"the other)"
        )
    return [node for node in nodes for _ in range(each)], ""


def pass_proxies(hosts: Sequence[str], environment: MutableMapping[str, str]) -> None:
    """Let ranks on ``hosts`` and on this one talk to each other directly: through a proxy they
    would wait for ever."""
    direct = dict.fromkeys(["localhost", "127.0.0.1", "::1", platform.node(), *hosts])
    for name in PAST_PROXIES:
        kept = [part for part in environment.get(name, "").split(",") if part]
        environment[name] = ",".join(dict.fromkeys([*kept, *direct]))


def rendezvous_port(launch: Launch, environment: Mapping[str, str]) -> int:
    """The first of ``launch.size`` ports: the same for all ranks, another for another launch."""
    job = current_job(environment)
    if launch.launcher not in LAUNCHERS:
        # A rank that nobody started meets itself, beside others of its kind.
        of_job = str(os.getpid())
    else:
        # Another launcher's daemons are a step of the scheduler's on all nodes but the first.
        of_job = job.mark if LAUNCHERS[launch.launcher].of_scheduler else job.task
    marks = [of_job, *(known.mark(environment) for known in LAUNCHERS)]
    return FIRST_PORT + zlib.crc32("/".join(marks).encode()) % (PORTS - launch.size)
