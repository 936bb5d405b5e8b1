"""What Slurm tells a process by its environment: the only place that names its variables."""

from collections.abc import Mapping
from dataclasses import dataclass

from hpcbench.cluster.schedulers import Allocation, Job
from hpcbench.cluster.schedulers.slurm.nodes import expanded, node_of_each_task, tasks_per_node

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
# How many tasks a step has.
STEP_SIZE = "SLURM_STEP_NUM_TASKS"


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
        cluster=environment.get("SLURM_CLUSTER_NAME", ""),
        partition=environment.get("SLURM_JOB_PARTITION", ""),
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
    if "SLURM_PROCID" not in environment or STEP_SIZE not in environment:
        return None
    rank, size = int(environment["SLURM_PROCID"]), int(environment[STEP_SIZE])
    node, listed = int(environment.get("SLURM_NODEID") or 0), "SLURM_STEP_TASKS_PER_NODE"
    if node and not environment.get(listed):
        raise ValueError(f"{listed} is not set, and this is not the first node")
    tasks = tasks_per_node(environment.get(listed) or str(size))
    if len(set(tasks)) > 1 and "SLURM_NODEID" not in environment:
        raise ValueError("nodes have different numbers of tasks, and SLURM_NODEID is not set")
    if node >= len(tasks) or sum(tasks) != size:
        raise ValueError(f"node {node} of {len(tasks)} with {sum(tasks)} tasks in all, not {size}")
    beside = tasks[node]
    if "SLURM_LOCALID" not in environment and beside < size:
        raise ValueError("SLURM_LOCALID is not set, and not all tasks are on one node")
    local = int(environment.get("SLURM_LOCALID", rank))
    if not (0 <= rank < size and 0 <= local < beside):
        raise ValueError(f"task {rank} of {size}, {local} of {beside} on its node")
    return Step(rank, size, local, beside)


def is_bound(environment: Mapping[str, str], cores: int) -> bool:
    """Whether Slurm gave this task ``cores`` of its own: by its own word, else where they are no
    more than the task was promised."""
    kind = environment.get("SLURM_CPU_BIND_TYPE", "").rstrip(":")
    if kind:
        return kind != "none"
    return cores <= int(environment.get("SLURM_CPUS_PER_TASK") or 0)


def nodes(environment: Mapping[str, str]) -> list[str]:
    """The nodes of this job; none where it has no list of them. ValueError where it has none that
    can be read."""
    return expanded(environment.get("SLURM_JOB_NODELIST", ""))


def rank_hosts(environment: Mapping[str, str]) -> list[str]:
    """The node of each task of this step, by its nodes, tasks a node and distribution; none outside
    of a step. Raises ValueError where they do not say."""
    listed, tasks = (environment.get(f"SLURM_STEP_{n}", "") for n in ("NODELIST", "TASKS_PER_NODE"))
    if not listed or not tasks:
        return []
    distribution = environment.get("SLURM_DISTRIBUTION", "")
    if distribution == "plane":
        distribution = f"plane={environment.get('SLURM_DIST_PLANESIZE', '')}"
    names = expanded(listed)
    node_of = node_of_each_task(tasks_per_node(tasks), distribution)
    rank, node = (environment.get(f"SLURM_{name}", "") for name in ("PROCID", "NODEID"))
    if rank.isdigit() and node.isdigit() and node_of[int(rank) : int(rank) + 1] != [int(node)]:
        raise ValueError(f"task {rank} is on node {node}, where its distribution has it elsewhere")
    return [names[node] for node in node_of]


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
