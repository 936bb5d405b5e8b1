"""A site: what a cluster wants to be asked for devices, and how it starts ranks."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from hpcbench.config import NAME_PATTERN, OutputConfig
from hpcbench.datasets import DATASETS
from hpcbench.datasets.sources import folders
from hpcbench.errors import ConfigError, EnvironmentLacks, unknown_name
from hpcbench.launch import available_cores, program
from hpcbench.strategies import STRATEGIES
from hpcbench.sweeps.containers import inside
from hpcbench.sweeps.plan import Machine, PlannedRun, read_toml

SITES = Path("jobs/sites")
# Where containers/install.sh has it.
IMAGE_PYTHON = "/opt/hpcbench/.venv/bin/python"

Name = Annotated[str, Field(pattern=NAME_PATTERN)]
Count = Annotated[int, Field(ge=1)]


class Partition(BaseModel):
    """A Slurm partition and the device counts that belong there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name
    max_devices: Count


class Site(BaseModel):
    """A cluster. No value of it ever reaches a shell: all are single arguments or variables."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name
    launcher: Literal["srun", "mpirun", "horovodrun"] = "srun"
    mpi: Name = "pmix"
    device: Literal["gpu", "cpu"] = "gpu"
    devices_per_node: Count
    cores_per_device: Count
    max_devices: Count
    gpu_type: Name | None = None
    gpu_request: Literal["per-node", "total"] = "per-node"
    partitions: list[Partition] = []
    analysis_partition: Name | None = None
    account: Name | None = None
    time: Annotated[str, Field(pattern=r"^(\d+-)?\d+(:\d+){0,2}$")] = "01:00:00"
    signal_seconds: Count = 120
    max_array_size: Annotated[int, Field(ge=2)] = 1001
    throttle: Count | None = None
    container: Annotated[Path, AfterValidator(Path.expanduser)] | None = None
    container_command: Literal["apptainer", "singularity", "ch-run"] | None = None
    container_python: Annotated[str, Field(pattern=r"^/[\w./-]+$")] = IMAGE_PYTHON
    environment: dict[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], str] = {}

    @property
    def machine(self) -> Machine:
        return Machine(self.name, self.devices_per_node, self.max_devices, self.cores_per_device)

    def partition(self, devices: int) -> str | None:
        """The first partition that takes so many devices; ConfigError if none does."""
        if devices > self.max_devices:
            raise ConfigError(
                f"site {self.name} has at most {self.max_devices} devices for a job, not {devices}"
            )
        for partition in self.partitions:
            if devices <= partition.max_devices:
                return partition.name
        if self.partitions:
            raise ConfigError(f"no partition of site {self.name} takes {devices} devices")
        return None


def read_site(name: str) -> Site:
    """The site of a name in ``jobs/sites``, or of a TOML file; raises ConfigError."""
    path = Path(name)
    if path.suffix != ".toml":
        known = sorted(site.stem for site in SITES.glob("*.toml"))
        if name not in known:
            raise unknown_name("site", name, known)
        path = SITES / f"{name}.toml"
    site: Site = read_toml(Site, path, "site file")
    return site


def train_command(run: PlannedRun, output: OutputConfig, python: str) -> list[str]:
    """``hpcbench.train`` with the whole configuration of a run."""
    command = [python, "-m", "hpcbench.train"]
    settings = run.config.model_dump(exclude_none=True, exclude_defaults=True)
    settings |= output.model_dump(exclude_none=True, exclude_defaults=True)
    for name, value in settings.items():
        flag = name.replace("_", "-")
        command += (
            [f"--{'' if value else 'no-'}{flag}"]
            if isinstance(value, bool)
            else [f"--{flag}={value}"]
        )
    return command


def local_command(run: PlannedRun, output: OutputConfig) -> list[str]:
    """The command line of a run on this machine; EnvironmentLacks if nothing starts its ranks."""
    train = train_command(run, output, sys.executable)
    if not STRATEGIES[run.config.strategy].needs_launcher:
        return train
    if mpirun := program("mpirun"):
        return [
            mpirun, "-np", str(run.devices), "--bind-to", "none", "--oversubscribe", *train,
        ]  # fmt: skip
    if horovodrun := program("horovodrun"):
        return [horovodrun, "--gloo", "-np", str(run.devices), *train]
    raise EnvironmentLacks("neither mpirun nor horovodrun is here to start several processes")


def folders_of_a_run(output: OutputConfig) -> list[Path]:
    """What a run writes to, and what it may read data from and is here."""
    data = [folder for spec in DATASETS for folder in folders(spec, output.data_dir)]
    return [output.results, *filter(Path.is_dir, data)]


def job_command(run: PlannedRun, output: OutputConfig, site: Site) -> list[str]:
    """The command line of a run inside a Slurm job; ConfigError where the launcher cannot do it.

    A strategy of one process is started directly, on the job's first node.
    """
    train = train_command(run, output, site.container_python if site.container else sys.executable)
    if site.container:
        train = inside(site, train, folders_of_a_run(output))
    if not STRATEGIES[run.config.strategy].needs_launcher:
        return train
    per_node = min(run.devices, site.devices_per_node)
    nodes = site.machine.nodes(run.devices)
    if site.launcher == "srun":
        gpus = [f"--gpus-per-node={per_node}"] if site.device == "gpu" else []
        return [
            "srun", f"--mpi={site.mpi}", f"--nodes={nodes}", f"--ntasks={run.devices}",
            f"--ntasks-per-node={per_node}", f"--cpus-per-task={site.cores_per_device}", *gpus,
            "--kill-on-bad-exit=1", *train,
        ]  # fmt: skip
    if site.launcher == "mpirun":
        return [
            program("mpirun") or "mpirun", "-np", str(run.devices), "--map-by",
            f"ppr:{per_node}:node", "--bind-to", "none", "--oversubscribe", *train,
        ]  # fmt: skip
    if nodes > 1:
        raise ConfigError(
            f"horovodrun starts ranks on other nodes by ssh, so {run.devices} devices on {nodes} "
            f"nodes want launcher srun or mpirun in site {site.name}"
        )
    return [program("horovodrun") or "horovodrun", "-np", str(run.devices), *train]


def site_of_job(
    environment: Mapping[str, str], launcher: str, container: Path | None = None
) -> Site:
    """What this job was given, as a site: its GPUs, or its tasks where it has none (as many as
    there are cores to run them on).

    Raises ConfigError outside a job.
    """
    try:
        nodes = int(environment["SLURM_JOB_NUM_NODES"])
        cpus = int(environment["SLURM_CPUS_ON_NODE"])
    except (KeyError, ValueError) as error:
        raise ConfigError("not in a Slurm job: submit this with sbatch") from error
    gpus = int(environment.get("SLURM_GPUS_ON_NODE") or 0)
    tasks = int(environment.get("SLURM_NTASKS_PER_NODE") or 1)
    devices = gpus or min(tasks, len(available_cores()))
    cores = int(environment.get("SLURM_CPUS_PER_TASK") or 0) if not gpus or gpus == tasks else 0
    return Site(
        name="job", launcher=launcher, device="gpu" if gpus else "cpu", devices_per_node=devices,
        cores_per_device=cores or max(1, cpus // devices), max_devices=devices * nodes,
        container=container,
    )  # fmt: skip
