"""Binds a process to its own CPU cores, so that 1 -> 2 devices compares like with like."""

import os
from dataclasses import dataclass

from hpcbench.config import RunConfig
from hpcbench.launch import Launch, available_cores, core_share
from hpcbench.report import warn

# Open MPI's own names: what it is told, and what it tells its ranks.
YIELD_WHEN_IDLE = "OMPI_MCA_mpi_yield_when_idle"
BOUND_AT_LAUNCH = "OMPI_MCA_orte_bound_at_launch"
BINDING_POLICY = "OMPI_MCA_hwloc_base_binding_policy"


@dataclass(frozen=True)
class Cores:
    """This process' cores, and with how many processes it shares each of them."""

    count: int
    processes_per_core: int = 1


def bind_cores(launch: Launch, config: RunConfig, process_per_device: bool) -> Cores:
    """Bind this process to its cores, unless the launcher did.

    Has to come before TensorFlow, whose threads inherit the binding, and before MPI starts.
    """
    cores = available_cores()
    processes_per_core = 1
    if process_per_device:
        local_rank, local_size = launch.local_rank, launch.local_size
        if local_size > len(cores) and not _certainly_bound(launch, cores):
            # Open MPI spins while it waits; with several ranks to a core that starves the others.
            processes_per_core = -(-local_size // len(cores))
            os.environ[YIELD_WHEN_IDLE] = "1"
            if launch.rank == 0:
                warn(
                    f"{local_size} ranks share {len(cores)} cores of this machine: such numbers "
                    f"show how ranks get in each other's way, not how training scales"
                )
        elif local_size > 1 and _bound(launch, cores):
            local_rank, local_size = 0, 1
        cores = core_share(cores, local_rank, local_size, config.cores_per_device)
    elif config.cores_per_device:
        cores = cores[: config.cores_per_device * (config.devices or 1)]
    os.sched_setaffinity(0, cores)
    os.environ.setdefault("OMP_NUM_THREADS", str(len(cores)))
    return Cores(len(cores), processes_per_core)


def _certainly_bound(launch: Launch, cores: list[int]) -> bool:
    """Whether the launcher gave this rank cores of its own, as far as its environment says."""
    if launch.launcher == "srun":
        return len(cores) <= int(os.environ.get("SLURM_CPUS_PER_TASK", "0"))
    return (
        BOUND_AT_LAUNCH in os.environ
        and os.environ.get(BINDING_POLICY) != "none"
        and len(cores) < (os.cpu_count() or 1)
    )


def _bound(launch: Launch, cores: list[int]) -> bool:
    """Whether the ranks of this node came with different cores."""
    if launch.launcher != "mpirun":
        return _certainly_bound(launch, cores)
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError):
        return False
    node = MPI.COMM_WORLD.Split_type(MPI.COMM_TYPE_SHARED)
    sets = node.allgather(tuple(cores))
    node.Free()
    return len(set(sets)) > 1
