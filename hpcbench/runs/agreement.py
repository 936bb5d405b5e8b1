"""What the processes of a run have to agree on before it starts."""

import itertools
import os
import platform
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from hpcbench.cluster.launchers import Launch
from hpcbench.cluster.patience import time_limit
from hpcbench.cluster.place import HOSTS
from hpcbench.config import RunConfig
from hpcbench.devices.cores import available_cores
from hpcbench.devices.gpus import MIG, NVIDIA, gpus_of_process, visible_gpus
from hpcbench.errors import ConfigError, EnvironmentLacks
from hpcbench.records.ownership import Owner, writer_of
from hpcbench.records.writer import claim_folder
from hpcbench.runs.resolve import ResolvedRun
from hpcbench.strategies import Communicator, Strategy

# Longer names, UUIDs and ids are cut where ranks tell them each other.
LENGTH = 64

_MEND_PLACES = (
    f"if {HOSTS} is set, let it name each rank's host as it is, else start the ranks with mpirun, "
    f"srun or torchrun, or have the launcher bind each to its own cores"
)


def rendezvous(
    launch: Launch, strategy: type[Strategy], environment: Mapping[str, str] = os.environ
) -> AbstractContextManager[None]:
    """Within it the ranks connect by ``strategy``: one that waits longer than ``patience`` is ended
    and says for whom it waited. Raises ConfigError where the ranks' hosts cannot be known."""
    if launch.size == 1:
        return nullcontext()
    meeting = {
        f"rank {rank}": address
        for rank, address in strategy.meeting(launch, environment).items()
        if rank != launch.rank
    }
    return time_limit(launch.name, meeting, environment)


def settle_repeat(resolved: ResolvedRun, communicator: Communicator) -> tuple[RunConfig, Path]:
    """Which repeat this is, and its folder; rank 0 decides for all."""
    config, output = resolved.config, resolved.output
    sweep = output.results / output.sweep

    def of(repeat: int) -> RunConfig:
        return config.model_copy(update={"repeat": repeat})

    repeat = config.repeat
    if repeat is None:
        repeat = 0
        if communicator.rank == 0:
            repeat = claim_folder(lambda free: sweep / of(free).run_id, output.resume)
    settled = of(int(communicator.all_gather([repeat])[0, 0]))
    return settled, sweep / settled.run_id


def refuse_company(resolved: ResolvedRun, settled: RunConfig, owner: Owner) -> None:
    """Raise ConfigError where another process of this host, or of this job on another one, measures
    the same point now.

    So it is where a launcher that nothing tells of started several ranks, each of which believes
    that it is alone. Whoever names the repeat wants it so.
    """
    if resolved.config.repeat is not None or resolved.launch.launcher != "none":
        return
    sweep = resolved.output.results / resolved.output.sweep
    for repeat in itertools.count():
        folder = sweep / settled.model_copy(update={"repeat": repeat}).run_id
        if not folder.exists():
            return
        other = None if repeat == settled.repeat else writer_of(folder)
        here = other is not None and other.host == owner.host
        if other and other.job == owner.job and (here or owner.job):
            where = "this host" if here else f"{other.host} of this job"
            raise ConfigError(
                f"process {other.pid} measures the same on {where} right now: start the ranks of "
                f"one run with mpirun, srun, horovodrun or torchrun; each believes that it is the "
                f"only one"
            )


def exchange_hosts(
    communicator: Communicator, gpu: str, launch: Launch
) -> tuple[list[str], dict[int, int]]:
    """All ranks' host names, and the process ids of the other ranks on this host.

    Hosts that share a name are told apart by what their kernels call this boot. Raises
    EnvironmentLacks, on all ranks, where two of them compute on one ``gpu``, by the UUID of this
    process's, empty where it has none; and where their hosts show that a ``launch`` told them
    wrong local ranks.
    """
    cores = zlib.crc32(repr(available_cores()).encode())
    names, boots, gpus = _texts_of_all(communicator, platform.node(), kernel_boot(), gpu)
    rows = communicator.all_gather([os.getpid(), launch.local_rank, launch.local_size, cores])
    hosts = told_apart(names, boots)
    refuse_wrong_places(hosts, [(int(row[1]), int(row[2]), int(row[3])) for row in rows])
    refuse_shared_gpus(gpus)
    here = hosts[communicator.rank]
    pids = {
        rank: int(rows[rank, 0])
        for rank, host in enumerate(hosts)
        if host == here and rank != communicator.rank
    }
    return hosts, pids


def refuse_unlike_devices(
    communicator: Communicator, hosts: Sequence[str], device_kind: str, cpu_math: str
) -> None:
    """Raise EnvironmentLacks, on all ranks, where not all have devices of one kind that calculate
    alike: rows name one, and all wait for the slowest."""
    kinds, maths = _texts_of_all(communicator, device_kind, cpu_math)
    for said in (kinds, maths):
        other = next((rank for rank, one in enumerate(said) if one != said[0]), None)
        if other is not None:
            raise EnvironmentLacks(
                f"rank 0 on {hosts[0]} computes on {said[0]} and rank {other} on {hosts[other]} on "
                f"{said[other]}: all would wait for the slower; give all ranks devices of one "
                f"kind, on a cluster by a partition or constraint"
            )


def _texts_of_all(communicator: Communicator, *texts: str) -> list[list[str]]:
    """Of each of ``texts`` what every rank says, in order of ranks, cut to LENGTH."""
    codes = [float(ord(c)) for text in texts for c in text[:LENGTH].ljust(LENGTH)]
    rows = communicator.all_gather(codes)
    told = ["".join(chr(int(code)) for code in row) for row in rows]
    starts = range(0, len(texts) * LENGTH, LENGTH)
    return [[text[start : start + LENGTH].rstrip() for text in told] for start in starts]


def kernel_boot() -> str:
    """What no other machine has in common with this one; empty where the kernel does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def told_apart(names: list[str], boots: list[str]) -> list[str]:
    """Hosts' ``names``, with the start of their boot's id where hosts of several boots share one:
    containers often call themselves the same everywhere."""
    boots_of: dict[str, set[str]] = {}
    for name, boot in zip(names, boots, strict=True):
        boots_of.setdefault(name, set()).add(boot)
    return [
        f"{name} ({boot[:8]})" if len(boots_of[name]) > 1 else name
        for name, boot in zip(names, boots, strict=True)
    ]


def gpu_of_rank(local_rank: int, environment: Mapping[str, str] = os.environ) -> str:
    """What tells this rank's GPU, or part of one, from all others; empty where it has none, or its
    driver does not answer."""
    if visible_gpus(environment) == 0:
        return ""
    entries = environment.get(NVIDIA, "").strip()
    if entries.startswith(MIG):
        return entries.partition(",")[0]
    try:
        return next((gpu.uuid for gpu in gpus_of_process(local_rank, 1, environment)), "")
    except EnvironmentLacks:
        return ""


def refuse_wrong_places(hosts: Sequence[str], places: Sequence[tuple[int, int, int]]) -> None:
    """Raise EnvironmentLacks where the ranks' ``hosts`` contradict their ``places``: the local rank
    and local size that a launcher told each, and a mark of its cores.

    Cores and GPUs were shared out by them. Two launches on one host may number their ranks alike,
    as long as each has cores of its own.
    """
    ranks_on = Counter(hosts)
    alike = Counter((host, *place[:2]) for host, place in zip(hosts, places, strict=True))
    first: dict[tuple[str, int, int], int] = {}
    for rank, (host, (local, size, cores)) in enumerate(zip(hosts, places, strict=True)):
        if size > ranks_on[host]:
            raise EnvironmentLacks(
                f"rank {rank} was told that it is local rank {local} of {size} on {host}, where "
                f"there {'is' if ranks_on[host] == 1 else 'are'} {ranks_on[host]}: cores and GPUs "
                f"would be shared out wrongly; {_MEND_PLACES}"
            )
        if alike[host, local, size] * size > ranks_on[host]:
            raise EnvironmentLacks(
                f"{alike[host, local, size]} ranks were told that they are local rank {local} of "
                f"{size} on {host}, where there are {ranks_on[host]}; {_MEND_PLACES}"
            )
        other = first.setdefault((host, local, cores), rank)
        if other != rank:
            raise EnvironmentLacks(
                f"ranks {other} and {rank} are both local rank {local} of {host} and share its "
                f"cores; {_MEND_PLACES}"
            )


def refuse_shared_gpus(gpus: list[str]) -> None:
    """Raise EnvironmentLacks where two ranks name the same GPU: each would measure the other."""
    of_gpu: dict[str, list[int]] = {}
    for rank, gpu in enumerate(gpus):
        of_gpu.setdefault(gpu, []).append(rank)
    for gpu, ranks in of_gpu.items():
        if gpu and len(ranks) > 1:
            raise EnvironmentLacks(
                f"ranks {', '.join(map(str, ranks))} are on one GPU, {gpu}; start at most one "
                f"process a GPU, or give each its own"
            )
