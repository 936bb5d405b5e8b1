"""What Slurm tells a process by its environment: the only place that names its variables."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from hpcbench.cluster.schedulers import Allocation, Job

# What says in which job something was measured.
_FACTS = (
    "SLURM_JOB_ID",
    "SLURM_ARRAY_JOB_ID",
    "SLURM_ARRAY_TASK_ID",
    "SLURM_RESTART_COUNT",
    "SLURM_JOB_PARTITION",
    "SLURM_JOB_NODELIST",
    "SLURM_CLUSTER_NAME",
)


@dataclass(frozen=True)
class Step:
    """A process's place in what one srun started."""

    rank: int
    size: int
    local_rank: int
    local_size: int


def job(environment: Mapping[str, str]) -> Job | None:
    """The job that this process belongs to; None outside of one."""
    number = environment.get("SLURM_JOB_ID", "")
    array, index = (environment.get(f"SLURM_ARRAY_{n}_ID", "") for n in ("JOB", "TASK"))
    if not number and not array:
        return None
    return Job(
        scheduler="slurm",
        # An array's last task has the number of the whole array, so a task goes by its index.
        task=f"{array}_{index}" if array else number,
        array=array,
        index=index,
        restart=int(environment.get("SLURM_RESTART_COUNT") or 0),
        mark=f"{number}/{environment.get('SLURM_STEP_ID', '')}",
        granted=f"{number} {environment.get('SLURM_JOB_NODELIST', '')}".strip(),
        allocation=_allocation(environment),
        facts={name: environment[name] for name in _FACTS if name in environment},
    )


def _allocation(environment: Mapping[str, str]) -> Allocation | None:
    def count(name: str) -> int:
        return int(environment.get(name) or 0)

    try:
        return Allocation(
            nodes=int(environment["SLURM_JOB_NUM_NODES"]),
            cpus_per_node=int(environment["SLURM_CPUS_ON_NODE"]),
            gpus_per_node=count("SLURM_GPUS_ON_NODE"),
            tasks_per_node=count("SLURM_NTASKS_PER_NODE"),
            cpus_per_task=count("SLURM_CPUS_PER_TASK"),
        )
    except (KeyError, ValueError):
        return None


def step(environment: Mapping[str, str]) -> Step | None:
    """The step that this process is a task of; None in a batch script's own shell.

    Raises ValueError where Slurm's variables are not numbers.
    """
    if "SLURM_PROCID" not in environment or "SLURM_STEP_NUM_TASKS" not in environment:
        return None
    rank, size = int(environment["SLURM_PROCID"]), int(environment["SLURM_STEP_NUM_TASKS"])
    # "4(x2),3" means 4 tasks on each of two nodes, then 3: the first is ours closely enough, since
    # the harness starts equally many on each node.
    beside = re.match(r"\d+", environment.get("SLURM_STEP_TASKS_PER_NODE", str(size)))
    if beside is None:
        raise ValueError(f"SLURM_STEP_TASKS_PER_NODE={environment['SLURM_STEP_TASKS_PER_NODE']!r}")
    return Step(rank, size, int(environment.get("SLURM_LOCALID", rank)), int(beside[0]))


def cpus_per_task(environment: Mapping[str, str]) -> int:
    """How many CPUs each task was promised; 0 where that was not said."""
    return int(environment.get("SLURM_CPUS_PER_TASK") or 0)


def node_list(environment: Mapping[str, str], of_step: bool) -> str:
    """The nodes of this job, or of this step if it is one, as Slurm abbreviates them."""
    of_this_step = environment.get("SLURM_STEP_NODELIST") if of_step else None
    return of_this_step or environment.get("SLURM_JOB_NODELIST", "")


def where_this_job_is(environment: Mapping[str, str]) -> dict[str, str]:
    """Options of sbatch that put another job where this one is."""
    names = {"--partition": "SLURM_JOB_PARTITION", "--account": "SLURM_JOB_ACCOUNT"}
    values = {option: environment.get(name, "") for option, name in names.items()}
    return {option: value for option, value in values.items() if value}


def outside(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment as it is outside of a job, whose variables Slurm would take as wishes."""
    return {
        name: value
        for name, value in environment.items()
        if not name.startswith("SLURM_") or name == "SLURM_CONF"
    }
