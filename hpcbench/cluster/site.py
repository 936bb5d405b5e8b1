"""A site: what a cluster wants to be asked for devices, and how it starts ranks."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from hpcbench.cluster.launchers import LAUNCHERS
from hpcbench.cluster.rendezvous import SUFFIX
from hpcbench.cluster.schedulers import GpuRequest, Job, Request, schedulers_with_queues
from hpcbench.errors import ConfigError, EnvironmentLacks, unknown_name
from hpcbench.resources import job_files
from hpcbench.validation import NAME_PATTERN, read_toml

# Where containers/install.sh has it.
IMAGE_PYTHON = "/opt/hpcbench/.venv/bin/python"

OPTION = re.compile(r"--([a-z][a-z-]*)(=[^\s].*)?$")
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
# Some clusters' have a kind of device behind an @.
Account = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$")]
Constraint = Annotated[str, Field(pattern=r"^[\w&|*!,\[\]().-]+$")]
Count = Annotated[int, Field(ge=1)]
TimeLimit = Annotated[str, Field(pattern=r"^(\d+-)?\d+(:\d+){0,2}$")]
# Names the site where nothing else does; and what a run's processes are told of theirs.
NAMED_BY, SAID_IN = "HPCBENCH_SITE", "HPCBENCH_SITE_SAYS"
# A value of mpi for srun without --mpi.
NO_MPI = "none"
# What the harness tells sbatch and srun itself, or what would keep it from doing its work.
OURS = frozenset(
    {
        *("array", "begin", "chdir", "clusters", "cpus-per-gpu", "cpus-per-task", "dependency"),
        *("epilog", "error", "hold", "input", "job-name", "kill-on-bad-exit", "label", "mpi"),
        *("multi-prog", "no-requeue", "nodes", "ntasks", "ntasks-per-gpu", "ntasks-per-node"),
        *("open-mode", "output", "parsable", "prolog", "quiet", "requeue", "signal"),
        *("task-epilog", "task-prolog", "test-only", "time-min", "wait", "wrap"),
    }
)
# What a site's own settings say.
OF_SETTINGS = {
    **dict.fromkeys(("gpus", "gpus-per-node", "gpus-per-task"), "gpu_request"),
    **{"account": "account", "constraint": "constraint", "exclusive": "exclusive", "mem": "memory"},
    **{"partition": "[[partitions]]", "qos": "qos", "time": "time"},
    **{"threads-per-core": "threads_per_core"},
}


# What a job says where a line of its site's setup fails.
SETUP_FAILED = (
    'echo "hpcbench: the setup of the site failed with status $? at: $BASH_COMMAND '
    '(|| true behind it, where that does not matter)" >&2; exit 3'
)


def guarded(setup: Sequence[str], failed: str) -> str:
    """Lines of shell that do ``failed``, in single quotes, where one of ``setup`` fails. Modules of
    many sites read variables that are not set."""
    begin = ["case $- in *u*) hpcbench_u=-u ;; *) hpcbench_u=+u ;; esac", "set +u"]
    end = ["trap - ERR", "set $hpcbench_u"]
    return "\n".join([*begin, f"trap '{failed}' ERR", *setup, *end]) + "\n"


def _free_option(option: str) -> str:
    match = OPTION.match(option)
    if match is None:
        raise ValueError(f"{option!r} is not like --name or --name=value, one argument a string")
    if match[1] in OURS:
        raise ValueError(f"--{match[1]} is what the harness sets itself")
    if match[1] in OF_SETTINGS:
        raise ValueError(f"--{match[1]} is what {OF_SETTINGS[match[1]]} says")
    if match[1] == "gres" and "gpu" in (match[2] or ""):
        raise ValueError(f"{option}: GPUs are what gpu_request and gpu_type say")
    # A shortened option is as good to Slurm.
    meant = [name for name in (*OURS, *OF_SETTINGS) if name.startswith(match[1])]
    if meant:
        raise ValueError(f"--{match[1]} is short for --{meant[0]}; write options in full")
    return option


def _free_of_ranks(option: str) -> str:
    if option.startswith("--export="):
        raise ValueError("--export: ranks get the whole environment of their job")
    return _free_option(option)


Option = Annotated[str, AfterValidator(_free_option)]
RankOption = Annotated[str, AfterValidator(_free_of_ranks)]


def _known_launcher(name: str) -> str:
    known = [launcher.name for launcher in LAUNCHERS if launcher.starts]
    if name not in known:
        raise ValueError(f"choose from {', '.join(known)}")
    return name


def _known_scheduler(name: str) -> str:
    known = [scheduler.name for scheduler in schedulers_with_queues()]
    if name not in known:
        raise ValueError(f"choose from {', '.join(known)}")
    return name


@dataclass(frozen=True)
class Machine:
    """What runs are planned for; ``cores_per_device`` None leaves it to each run."""

    name: str
    devices_per_node: int
    max_devices: int
    cores_per_device: int | None
    gpus: bool = False

    def nodes(self, devices: int) -> int:
        """How many nodes so many devices need."""
        return -(-devices // self.devices_per_node)


class SitePartition(BaseModel):
    """A partition and the device counts that belong there, with what it wants otherwise than the
    site. Without a name it is the cluster that chooses, by QoS or constraint."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name | None = None
    min_devices: Count = 1
    max_devices: Count
    account: Account | None = None
    qos: Name | None = None
    time: TimeLimit | None = None
    exclusive: bool | None = None
    # Instead of the site's.
    srun_options: list[RankOption] | None = None


class Site(BaseModel):
    """A cluster. No value of it reaches a shell, but ``setup``: all others are single arguments or
    variables."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name
    # What the scheduler calls the cluster, by which a job finds its site.
    cluster: Name | None = None
    scheduler: Annotated[str, AfterValidator(_known_scheduler)] = "slurm"
    launcher: Annotated[str, AfterValidator(_known_launcher)] = "srun"
    mpi: Name = "pmix"
    device: Literal["gpu", "cpu"] = "gpu"
    # Whether Slurm hands out GPUs that are none, to try things out: ranks train on CPU cores.
    fake_gpus: bool = False
    devices_per_node: Count
    cores_per_device: Count
    max_devices: Count
    gpu_type: Name | None = None
    gpu_request: GpuRequest = "per-node"
    partitions: list[SitePartition] = []
    # Where the job that draws the plots goes, which needs no GPU: with any of these it is asked for
    # none of the partition, QoS and constraint that training is.
    analysis_partition: Name | None = None
    analysis_account: Account | None = None
    analysis_qos: Name | None = None
    analysis_constraint: Constraint | None = None
    # Left out, none where there is any of these, else sbatch_options that are not about GPUs.
    analysis_options: list[Option] | None = None
    account: Account | None = None
    qos: Name | None = None
    constraint: Constraint | None = None
    # As sbatch's --mem has it; "0" is all of a node.
    memory: Annotated[str, Field(pattern=r"^\d+[KMGT]?$")] | None = None
    threads_per_core: Count | None = None
    # Further ones, each a single argument.
    sbatch_options: list[Option] = []
    srun_options: list[RankOption] = []
    # Lines of shell that each job runs first, such as "module load cuda".
    setup: list[str] = []
    # Whether jobs hold whole nodes; left out, those that use all devices of their nodes do.
    exclusive: bool | None = None
    time: TimeLimit = "01:00:00"
    signal_seconds: Count = 120
    max_array_size: Annotated[int, Field(ge=2)] = 1001
    throttle: Count | None = None
    container: Annotated[Path, AfterValidator(Path.expanduser)] | None = None
    container_command: Literal["apptainer", "singularity", "ch-run"] | None = None
    container_python: Annotated[str, Field(pattern=r"^/[\w./-]+$")] = IMAGE_PYTHON
    environment: dict[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], str] = {}
    # What makes the name of a host that of its fast interconnect, where ranks are to meet.
    rendezvous_suffix: Annotated[str, Field(pattern=r"^[A-Za-z0-9.-]{1,32}$")] | None = None

    @model_validator(mode="after")
    def _chosen_by_something(self) -> "Site":
        for partition in self.partitions:
            if not (partition.name or partition.qos or self.qos or self.constraint):
                raise ValueError(
                    "a partition without a name wants a qos or a constraint, by which the cluster "
                    "chooses one"
                )
        return self

    @property
    def setup_script(self) -> str:
        """``setup`` for a shell to read as a whole, which ends with status 3 where any line fails;
        empty where there is none."""
        return guarded(self.setup, SETUP_FAILED) if self.setup else ""

    @property
    def machine(self) -> Machine:
        cores = self.cores_per_device
        gpus = self.device == "gpu" and not self.fake_gpus
        return Machine(self.name, self.devices_per_node, self.max_devices, cores, gpus)

    @property
    def variables(self) -> dict[str, str]:
        """What runs find in their environment: the site's own, its image, and what it says."""
        says = self.model_dump(mode="json", exclude_defaults=True)
        image = {"HPCBENCH_IMAGE": str(self.container)} if self.container else {}
        suffix = {SUFFIX: self.rendezvous_suffix} if self.rendezvous_suffix else {}
        return self.environment | image | suffix | {SAID_IN: json.dumps(says)}

    def partition(self, devices: int) -> SitePartition | None:
        """The first partition that takes so many devices; ConfigError if none does."""
        if devices > self.max_devices:
            raise ConfigError(
                f"site {self.name} has at most {self.max_devices} devices for a job, not {devices}"
            )
        for partition in self.partitions:
            if partition.min_devices <= devices <= partition.max_devices:
                return partition
        if self.partitions:
            raise ConfigError(f"no partition of site {self.name} takes {devices} devices")
        return None

    def options_of_srun(self, devices: int) -> list[str]:
        """What srun is told beside what the harness tells it."""
        partition = self.partition(devices)
        own = partition.srun_options if partition else None
        return self.srun_options if own is None else own

    def holds_whole_nodes(self, devices: int) -> bool:
        """Whether nobody else's job may run beside one of so many devices."""
        partition = self.partition(devices)
        if partition and partition.exclusive is not None:
            return partition.exclusive
        whole = devices % self.devices_per_node == 0
        return whole if self.exclusive is None else self.exclusive

    def request(self, devices: int) -> Request:
        """What a job of so many devices asks for: its nodes, as many devices on each."""
        per_node = min(devices, self.devices_per_node)
        total = self.gpu_request == "total"
        where = self.partition(devices)
        return Request(
            nodes=self.machine.nodes(devices),
            tasks_per_node=per_node,
            cores_per_task=self.cores_per_device,
            time=(where and where.time) or self.time,
            gpus=0 if self.device == "cpu" else devices if total else per_node,
            gpu_type=self.gpu_type,
            gpu_request=self.gpu_request,
            whole_nodes=self.holds_whole_nodes(devices),
            partition=where.name if where else None,
            account=(where and where.account) or self.account,
            qos=(where and where.qos) or self.qos,
            constraint=self.constraint,
            memory=self.memory,
            threads_per_core=self.threads_per_core,
            options=tuple(self.sbatch_options),
        )

    def analysis_request(self) -> Request:
        """What the job of the analysis asks for."""
        request = replace(self.request(1), whole_nodes=False, gpus=0)
        own = (self.analysis_partition, self.analysis_qos, self.analysis_constraint)
        options = self.analysis_options
        if not any((*own, self.analysis_account)):
            free = [each for each in self.sbatch_options if "gpu" not in each.partition("=")[0]]
            # All of a node's memory is for training.
            memory = None if self.memory == "0" else self.memory
            of_site = tuple(free if options is None else options)
            return replace(request, memory=memory, options=of_site)
        partition, qos, constraint = own
        return replace(
            request,
            partition=partition,
            account=self.analysis_account or request.account,
            qos=qos,
            constraint=constraint,
            memory=None,
            threads_per_core=None,
            options=tuple(options or ()),
        )


def read_site(name: str) -> Site:
    """The site of a name in ``jobs/sites`` (one's own, or ours), or of a TOML file; raises
    ConfigError."""
    path = Path(name)
    if path.suffix != ".toml":
        known = {site.stem: site for site in job_files("sites")}
        if name not in known:
            raise unknown_name("site", name, list(known))
        path = known[name]
    return read_toml(Site, path, "site file")


def site_of_cluster(environment: Mapping[str, str], cluster: str) -> Site | None:
    """The site that the environment names, else the one of the scheduler's ``cluster``; None where
    there is none. Raises ConfigError where there are several."""
    if environment.get(NAMED_BY):
        return read_site(environment[NAMED_BY])
    found = [read_site(str(path)) for path in job_files("sites") if cluster]
    found = [site for site in found if site.cluster == cluster]
    if len(found) > 1:
        names = " and ".join(site.name for site in found)
        raise ConfigError(f"sites {names} are both of cluster {cluster}: name one by {NAMED_BY}")
    return found[0] if found else None


def site_of_job(
    job: Job,
    cores: int,
    like: Site | None = None,
    launcher: str | None = None,
    container: Path | None = None,
) -> Site:
    """What this job was given, as a site: its GPUs, or its tasks where it has none (as many as
    there are ``cores`` to run them on). All else is as the site ``like`` and its partition say, or
    by default.

    Raises ConfigError outside a job, EnvironmentLacks where the site's devices are GPUs and there
    is none.
    """
    got = job.allocation
    if got is None:
        raise ConfigError("not in a scheduler's job: submit this with sbatch")
    gpus, tasks = got.gpus_per_node, got.tasks_per_node or 1
    if like and like.device == "gpu" and not gpus:
        raise EnvironmentLacks(
            f"devices of site {like.name} are GPUs, and this job is told of none: ask for some, or "
            f"name a site of CPUs by {NAMED_BY}"
        )
    devices = gpus or min(tasks, cores)
    per_device = got.cpus_per_task if not gpus or gpus == tasks else 0
    of_job: dict[str, Any] = {
        "scheduler": job.scheduler,
        "device": "gpu" if gpus else "cpu",
        "devices_per_node": devices,
        "cores_per_device": per_device or max(1, got.cpus_per_node // devices),
        "max_devices": devices * got.nodes,
    }
    of_job |= {"launcher": launcher} if launcher else {}
    of_job |= {"container": container} if container else {}
    # Where jobs go is behind this one.
    other: dict[str, Any] = like.model_dump(exclude={"partitions"}) if like else {"name": "job"}
    for partition in like.partitions if like else ():
        if partition.name == job.partition and partition.srun_options is not None:
            other["srun_options"] = partition.srun_options
    return Site(**other | of_job)
