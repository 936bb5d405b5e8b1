"""Who started this process and as which rank, read from the environment; and its CPU cores."""

import os
import re
import shutil
import subprocess
import sys
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hpcbench.errors import ConfigError


@dataclass(frozen=True)
class Launch:
    """A process' place among those that were started together."""

    launcher: str
    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1


# Launcher, then its variables for rank, size, local rank and local size (None: not set by it).
# horovodrun over MPI is seen as mpirun, which it calls; over Gloo it sets its own.
LAUNCHERS = (
    ("torchrun", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"),
    ("mpirun", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE",
     "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"),
    ("horovodrun", "HOROVOD_RANK", "HOROVOD_SIZE", "HOROVOD_LOCAL_RANK", "HOROVOD_LOCAL_SIZE"),
    ("srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", None),
    ("mpiexec", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
)  # fmt: skip
# Below the ports that Linux hands out by itself.
FIRST_PORT, PORTS = 20_000, 10_000
# What all ranks of one launch have in common, and those of another have not.
LAUNCH_NAMES = (
    "SLURM_JOB_ID",
    "SLURM_STEP_ID",
    "OMPI_MCA_ess_base_jobid",
    "HOROVOD_GLOO_RENDEZVOUS_PORT",
)


# Two numbers of a version have to agree; Open MPI promises no more between releases.
MPI_VERSION = re.compile(r"(Open MPI|MPICH|Intel\S* MPI)\D*(\d+\.\d+)")


def mpi_version(text: str) -> tuple[str, ...] | None:
    """MPI's name and version in what a launcher or a library says of itself."""
    match = MPI_VERSION.search(text)
    return match.groups() if match else None


def detect(environment: Mapping[str, str]) -> Launch:
    """The launch that the environment tells of; ``Launch("none")`` where no launcher is seen.

    Raises ConfigError where a launcher's variables are set but are not numbers.
    """
    for launcher, rank, size, local_rank, local_size in LAUNCHERS:
        # Scripts export RANK and WORLD_SIZE too; torchrun alone names its run.
        if launcher == "torchrun" and "TORCHELASTIC_RUN_ID" not in environment:
            continue
        if rank in environment and size in environment:
            try:
                world = int(environment[size])
                local = int(environment.get(local_rank, environment[rank]))
                if local_size is None:
                    # "4(x2),3" means 4 tasks on each of two nodes, then 3: the first is ours
                    # closely enough, since the harness starts equally many on each node.
                    tasks = environment.get("SLURM_STEP_TASKS_PER_NODE", str(world))
                    beside = int(re.match(r"\d+", tasks)[0])  # type: ignore[index]
                else:
                    beside = int(environment.get(local_size, world))
                return Launch(launcher, int(environment[rank]), world, local, beside)
            except (ValueError, TypeError) as error:
                raise ConfigError(
                    f"{launcher}'s {rank}={environment[rank]!r} and {size}={environment[size]!r} "
                    f"are not a rank and a world size"
                ) from error
    return Launch("none")


def program(name: str) -> str | None:
    """Where a launcher is: in this environment, whose Horovod may be built with its MPI, else on
    the PATH."""
    beside = Path(sys.executable).parent
    return shutil.which(name, path=f"{beside}{os.pathsep}{os.environ.get('PATH', os.defpath)}")


def slurm_task(environment: Mapping[str, str]) -> str:
    """This job as Slurm's commands want it named; empty outside of one.

    An array's last task has the number of the whole array, so a task goes by its index.
    """
    array = environment.get("SLURM_ARRAY_JOB_ID")
    if array:
        return f"{array}_{environment.get('SLURM_ARRAY_TASK_ID', '')}"
    return environment.get("SLURM_JOB_ID", "")


def rank_hosts(launch: Launch, environment: Mapping[str, str]) -> list[str]:
    """The host of each rank, in rank order.

    From ``HPCBENCH_HOSTS`` ("n1:2,n2:2", a host and its ranks), else from Slurm's step or job,
    else this host where all ranks are on it. Raises ConfigError where none of them says.
    """
    given = environment.get("HPCBENCH_HOSTS")
    if given:
        try:
            entries = [entry.strip().partition(":") for entry in given.split(",")]
            hosts = [host for host, _, ranks in entries for _ in range(int(ranks or 1))]
        except ValueError as error:
            raise ConfigError(f"HPCBENCH_HOSTS={given!r}: not like n1:2,n2:2") from error
    elif launch.local_size == launch.size:
        hosts = ["localhost"] * launch.size
    else:
        step = environment.get("SLURM_STEP_NODELIST") if launch.launcher == "srun" else None
        nodes = step or environment.get("SLURM_JOB_NODELIST")
        if not nodes:
            raise ConfigError(
                "the ranks are on several hosts, and nothing says on which; name them, as in "
                "HPCBENCH_HOSTS=n1:2,n2:2"
            )
        expanded = subprocess.run(
            ["scontrol", "show", "hostnames", nodes], capture_output=True, text=True, check=False
        ).stdout.split()
        # The harness starts equally many on each node, one node after the other.
        hosts = [host for host in expanded for _ in range(launch.local_size)]
    if len(hosts) < launch.size:
        raise ConfigError(f"{launch.size} ranks were started, but only {len(hosts)} have a host")
    return hosts[: launch.size]


def rendezvous_port(launch: Launch, environment: Mapping[str, str]) -> int:
    """The first of ``launch.size`` ports: the same for all ranks, another for another launch."""
    mark = "/".join(environment.get(name, "") for name in LAUNCH_NAMES).encode()
    return FIRST_PORT + zlib.crc32(mark) % (PORTS - launch.size)


def visible_gpus(environment: Mapping[str, str], device_folder: Path = Path("/dev")) -> int:
    """NVIDIA GPUs that this process may use, counted without loading a framework."""
    chosen = environment.get("CUDA_VISIBLE_DEVICES")
    present = len([p for p in device_folder.glob("nvidia*") if re.fullmatch(r"nvidia\d+", p.name)])
    if chosen is None or present == 0:
        return present
    return len([entry for entry in chosen.split(",") if entry.strip() not in ("", "-1")])


def core_share(cores: list[int], local_rank: int, local_size: int, wanted: int | None) -> list[int]:
    """The cores of local rank ``local_rank``: ``wanted`` of them, or an equal share.

    Shares are disjoint while there are cores enough; with more ranks than cores, a rank gets
    one core, which it shares.
    """
    width = min(wanted or max(1, len(cores) // local_size), len(cores))
    first = local_rank * width
    if first + width <= len(cores):
        return cores[first : first + width]
    return [cores[(first + i) % len(cores)] for i in range(width)]


def available_cores() -> list[int]:
    """The cores that this process may run on now."""
    return sorted(os.sched_getaffinity(0))
