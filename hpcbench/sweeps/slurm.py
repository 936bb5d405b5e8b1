"""Speaks to Slurm: sbatch and squeue lines, each argument its own, nothing read by a shell."""

import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from hpcbench.errors import EnvironmentLacks
from hpcbench.launch import slurm_task
from hpcbench.sweeps.plan import PlannedRun
from hpcbench.sweeps.sites import Site

SCRIPT = Path("jobs/scale_sweep.sh")
ANALYSIS = Path("jobs/analyse.sh")


@dataclass(frozen=True)
class Array:
    """Runs of one device count that become one array, a task each."""

    devices: int
    part: int
    runs: list[PlannedRun]


def arrays(runs: Sequence[PlannedRun], site: Site) -> Iterator[Array]:
    """One array a device count, split where it has more tasks than the site's arrays may have.

    ``MaxArraySize`` caps the index, so the largest index is one less.
    """
    by_devices = groupby(sorted(runs, key=lambda run: run.devices), key=lambda run: run.devices)
    for devices, group in by_devices:
        of_count = list(group)
        for part, first in enumerate(range(0, len(of_count), site.max_array_size)):
            yield Array(devices, part, of_count[first : first + site.max_array_size])


def array_line(array: Array, site: Site, sweep: str, logs: Path, record: Path) -> list[str]:
    """The sbatch command of one array: exactly the nodes and devices that its runs need."""
    per_node = min(array.devices, site.devices_per_node)
    nodes = site.machine.nodes(array.devices)
    throttle = f"%{site.throttle}" if site.throttle else ""
    line = [
        "sbatch", "--parsable", f"--job-name=hpcbench-{sweep}-{array.devices}",
        f"--array=0-{len(array.runs) - 1}{throttle}", f"--nodes={nodes}",
        f"--ntasks-per-node={per_node}", f"--cpus-per-task={site.cores_per_device}",
        f"--time={site.time}", f"--signal=B:USR1@{site.signal_seconds}",
        f"--output={logs}/slurm-%A_%a.out",
    ]  # fmt: skip
    if site.device == "gpu":
        kind = f"{site.gpu_type}:" if site.gpu_type else ""
        line += [
            f"--gpus={kind}{array.devices}" if site.gpu_request == "total"
            else f"--gpus-per-node={kind}{per_node}"
        ]  # fmt: skip
    return [*line, *_where(site, site.partition(array.devices)), str(SCRIPT), f"--record={record}"]


def analysis_line(jobs: Sequence[str], site: Site | None, folder: Path) -> list[str]:
    """The sbatch command of the analysis: when all ``jobs`` are over, whatever failed."""
    where = (
        _where(site, site.analysis_partition or site.partition(1)) if site
        else _where_this_job_is()
    )  # fmt: skip
    return [
        "sbatch", "--parsable", f"--dependency=afterany:{':'.join(jobs)}",
        f"--output={folder}/logs/analysis-%j.out",
        *where, str(ANALYSIS), str(folder),
    ]  # fmt: skip


def _where(site: Site, partition: str | None) -> list[str]:
    return ([f"--partition={partition}"] if partition else []) + (
        [f"--account={site.account}"] if site.account else []
    )


def _where_this_job_is() -> list[str]:
    names = {"--partition": "SLURM_JOB_PARTITION", "--account": "SLURM_JOB_ACCOUNT"}
    values = {option: os.environ.get(name, "") for option, name in names.items()}
    return [f"{option}={value}" for option, value in values.items() if value]


def submit(line: Sequence[str]) -> str:
    """Run an sbatch command; the job's number. Raises EnvironmentLacks with Slurm's own words."""
    # A job's own variables would be taken as wishes for the new one.
    outside = {
        k: v for k, v in os.environ.items() if not k.startswith("SLURM_") or k == "SLURM_CONF"
    }
    output = _call(line, outside)
    return output.strip().split(";")[0]


def queue() -> dict[str, str]:
    """State by task, ``<array job>_<index>`` (or ``<job>``), of this user's jobs in the queue."""
    output = _call(["squeue", "--me", "--noheader", "--array", "--format=%F|%K|%T|%r"])
    states = {}
    for line in output.splitlines():
        job, index, state, reason = line.strip().split("|", 3)
        name = f"{job}_{index}" if index.isdecimal() else job
        waiting = state == "PENDING" and reason not in ("None", "Priority", "Resources")
        states[name] = f"{state} ({reason})" if waiting else state
    return states


def signal_steps(name: str) -> None:
    """Signal all processes that Slurm started for this job, on whatever node."""
    subprocess.run(
        ["scancel", f"--signal={name}", slurm_task(os.environ)],
        check=False,
        stderr=subprocess.DEVNULL,
    )


def give_back_nodes(nodes: int) -> None:
    """Shrink this job to its first ``nodes`` nodes, and tell its own commands so."""
    with tempfile.TemporaryDirectory() as folder:
        # Slurm may leave a script with the new environment in the working directory; it does not
        # for every task of an array, so it is not relied on.
        _call(
            ["scontrol", "update", f"JobId={slurm_task(os.environ)}", f"NumNodes={nodes}"],
            cwd=folder,
        )
    shown = _call(["scontrol", "show", "--oneliner", "job", slurm_task(os.environ)])
    kept = next(word for word in shown.split() if word.startswith("NodeList=")).split("=")[1]
    tasks = os.environ.get("SLURM_NTASKS_PER_NODE") or "1"
    cpus = os.environ["SLURM_CPUS_ON_NODE"]
    for name in ("SLURM_NTASKS", "SLURM_NPROCS"):
        os.environ.pop(name, None)
    os.environ |= {
        "SLURM_JOB_NODELIST": kept,
        "SLURM_NODELIST": kept,
        "SLURM_JOB_NUM_NODES": str(nodes),
        "SLURM_NNODES": str(nodes),
        "SLURM_JOB_CPUS_PER_NODE": f"{cpus}(x{nodes})",
        "SLURM_TASKS_PER_NODE": f"{tasks}(x{nodes})",
    }


def _call(
    line: Sequence[str], environment: dict[str, str] | None = None, cwd: str | None = None
) -> str:
    try:
        done = subprocess.run(
            line, capture_output=True, text=True, env=environment, cwd=cwd, timeout=60,
            check=False,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise EnvironmentLacks(
            f"{line[0]} is not here; run this on a login node of a Slurm cluster, or start one "
            f"with jobs/local-cluster/up"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise EnvironmentLacks(f"{line[0]} has not answered for a minute") from error
    if done.returncode:
        said = (done.stderr.strip() or "nothing").splitlines()[-1]
        raise EnvironmentLacks(f"{line[0]} failed: {said}")
    return done.stdout
