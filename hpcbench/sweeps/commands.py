"""The command line of a run: the trainer with its whole configuration, its launcher, its image."""

import json
import shlex
import sys
from dataclasses import asdict
from pathlib import Path

from hpcbench.cluster.container import inside
from hpcbench.cluster.launchers import LAUNCHERS, Placement
from hpcbench.cluster.site import NO_MPI, Site
from hpcbench.config import OutputConfig, RunConfig
from hpcbench.datasets import DATASETS
from hpcbench.datasets.sources import folders
from hpcbench.errors import EnvironmentLacks
from hpcbench.process import program
from hpcbench.programs.config import ProgramConfig
from hpcbench.strategies import STRATEGIES
from hpcbench.sweeps.plan import PlannedRun

# What starts several processes on one machine, in this order of preference; torchrun connects no
# MPI, which other frameworks' ranks may want.
LOCAL_LAUNCHERS = ("mpirun", "horovodrun", "torchrun")


def program_command(
    config: ProgramConfig, output: OutputConfig, launcher: str, placement: Placement
) -> list[str]:
    """What starts a program of one's own, watches it and writes its rows."""
    return [
        *(sys.executable, "-m", "hpcbench.runs.program", f"--results={output.results}"),
        *(f"--sweep={output.sweep}", f"--launcher={launcher}"),
        f"--placement={json.dumps(asdict(placement))}",
        config.model_dump_json(exclude_defaults=True),
    ]


def train_command(config: RunConfig, output: OutputConfig, python: str) -> list[str]:
    """``hpcbench.train`` with the whole configuration of a run."""
    command = [python, "-m", "hpcbench.train"]
    # A command line that names no model is that of the short benchmark, which has fewer epochs.
    settings = {"model": config.model}
    settings |= config.model_dump(exclude_none=True, exclude_defaults=True)
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
    config = run.config
    if isinstance(config, ProgramConfig):
        here = next((name for name in LOCAL_LAUNCHERS if program(name)), LOCAL_LAUNCHERS[0])
        return program_command(config, output, here, Placement(run.devices, run.devices))
    train = train_command(config, output, sys.executable)
    if not STRATEGIES[config.strategy].needs_launcher:
        return train
    usable = LOCAL_LAUNCHERS if config.framework == "torch" else LOCAL_LAUNCHERS[:2]
    for name in usable:
        if program(name):
            return LAUNCHERS[name].command(train, Placement(run.devices, run.devices))
    raise EnvironmentLacks(f"none of {', '.join(usable)} is here to start several processes")


def folders_of_a_run(output: OutputConfig) -> list[Path]:
    """What a run writes to, and what it may read data from and is here."""
    data = [folder for spec in DATASETS for folder in folders(spec, output.data_dir)]
    return [output.results, *filter(Path.is_dir, data)]


def job_command(run: PlannedRun, output: OutputConfig, site: Site) -> list[str]:
    """The command line of a run inside a job; ConfigError where the launcher cannot do it.

    A strategy of one process is started directly, on the job's first node.
    """
    placement = Placement(
        ranks=run.devices,
        per_node=min(run.devices, site.devices_per_node),
        nodes=site.machine.nodes(run.devices),
        cores_per_rank=site.cores_per_device,
        gpus=site.device == "gpu",
        gpu_request=site.gpu_request,
        mpi=site.mpi if site.mpi != NO_MPI else "",
        options=site.options_of_srun(run.devices) if site.launcher == "srun" else (),
        in_job=True,
    )
    config = run.config
    if isinstance(config, ProgramConfig):
        return program_command(config, output, site.launcher, placement)
    python = site.container_python if site.container else sys.executable
    train = train_command(config, output, python)
    if site.container:
        train = inside(site, train, folders_of_a_run(output))
    if not STRATEGIES[config.strategy].needs_launcher:
        return train
    return LAUNCHERS[site.launcher].command(train, placement)


def plotting(folder: Path) -> str:
    """What the analysis of a sweep's ``folder`` runs, for who has to type it."""
    return shlex.join(["hpcbench", "plot", str(folder), "--output", f"{folder}/figures"])
