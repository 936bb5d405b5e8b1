"""Slurm's commands, each argument its own, nothing read by a shell."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from hpcbench.cluster.schedulers import ArrayJob, Job, Request
from hpcbench.cluster.schedulers.slurm.environment import outside, where_this_job_is
from hpcbench.errors import EnvironmentLacks
from hpcbench.process import output_of
from hpcbench.resources import job_file

SCRIPT, ANALYSIS = "scale_sweep.sh", "analyse.sh"
# Which interpreter the scripts take, instead of .venv/bin/python.
INTERPRETER = "HPCBENCH_PYTHON"
TIMEOUT = 60
_GRES = "--gres="
# Why a job waits that nothing but a change of it, or of the cluster, will start (squeue's "Job
# reason codes").
LASTING = re.compile(
    r"(Assoc|QOS)(Max|Min)\w*Per(Job|Node)|(Assoc|QOS)MaxWallDuration|Partition(Node|Time)Limit|"
    r"BadConstraints|DependencyNeverSatisfied|Invalid(Account|QOS)|JobHeld(Admin|User)"
)


def array_command(array: ArrayJob) -> list[str]:
    """The sbatch command of one array: the nodes that its runs need, as many devices on each."""
    request = array.request
    throttle = f"%{array.throttle}" if array.throttle else ""
    return [
        *("sbatch", "--parsable", f"--job-name={array.name}"),
        *(f"--array=0-{array.tasks - 1}{throttle}", f"--nodes={request.nodes}"),
        *(f"--ntasks-per-node={request.tasks_per_node}",),
        *(f"--cpus-per-task={request.cores_per_task}", f"--time={request.time}"),
        *(f"--signal=B:USR1@{array.signal_seconds}", f"--output={array.logs}/slurm-%A_%a.out"),
        *_gpus(request),
        *(["--exclusive"] if request.whole_nodes else []),
        *_where(request),
        *_of_site(request, _gpu_gres(request)),
        *([f"--dependency=afterany:{':'.join(array.after)}"] if array.after else []),
        str(job_file(SCRIPT)),
        *([f"--setup={array.setup}"] if array.setup else []),
        f"--record={array.record}",
    ]


def _gpus(request: Request) -> list[str]:
    if not request.gpus:
        return []
    kind = f"{request.gpu_type}:" if request.gpu_type else ""
    return {
        "per-node": [f"--gpus-per-node={kind}{request.gpus}"],
        # A task is a device.
        "per-task": [f"--gpus-per-task={kind}1"],
        "gres": [],
        "total": [f"--gpus={kind}{request.gpus}"],
    }[request.gpu_request]


def _gpu_gres(request: Request) -> str:
    kind = f"{request.gpu_type}:" if request.gpu_type else ""
    of_gpus = request.gpus and request.gpu_request == "gres"
    return f"gpu:{kind}{request.gpus}" if of_gpus else ""


def _where(request: Request) -> list[str]:
    wanted = {
        "--partition": request.partition,
        "--account": request.account,
        "--qos": request.qos,
        "--constraint": request.constraint,
    }
    return [f"{option}={value}" for option, value in wanted.items() if value]


def _of_site(request: Request, gres: str = "") -> list[str]:
    """With the generic resources that the job asks for beside those of the site's options: of two
    options Slurm takes the last."""
    wanted = {"--mem": request.memory, "--threads-per-core": request.threads_per_core}
    further = [each.removeprefix(_GRES) for each in request.options if each.startswith(_GRES)]
    all_gres = ",".join(filter(None, [gres, *further]))
    return [
        *([f"{_GRES}{all_gres}"] if all_gres else []),
        *(f"{option}={value}" for option, value in wanted.items() if value is not None),
        *(each for each in request.options if not each.startswith(_GRES)),
    ]


def analysis_command(
    jobs: Sequence[str], folder: Path, request: Request | None, setup: Path | None
) -> list[str]:
    """The sbatch command of the analysis."""
    here = where_this_job_is(os.environ).items()
    of_site = [*_where(request), *_of_site(request)] if request else []
    where = of_site if request else [f"{option}={value}" for option, value in here]
    return [
        *("sbatch", "--parsable"),
        *([f"--dependency=afterany:{':'.join(jobs)}"] if jobs else []),
        f"--output={folder}/logs/analysis-%j.out",
        *(*where, str(job_file(ANALYSIS))),
        *([f"--setup={setup}"] if setup else []),
        str(folder),
    ]


def submit(command: Sequence[str]) -> str:
    """Run an sbatch command; the job's number. Raises EnvironmentLacks with Slurm's own words."""
    here = {INTERPRETER: sys.executable} | outside(os.environ)
    return call(command, here).strip().split(";")[0]


def refusal(command: Sequence[str]) -> str | None:
    """Why sbatch would not take the job of its ``command``, in its words; None where it would."""
    try:
        call([command[0], "--test-only", *command[1:]], outside(os.environ))
    except EnvironmentLacks as error:
        return str(error)
    return None


def queue() -> dict[str, str]:
    """State by task, with the reason where it waits for a special one."""
    output = call(["squeue", "--me", "--noheader", "--array", "--format=%F|%K|%T|%r"])
    states = {}
    for line in output.splitlines():
        number, index, state, reason = line.strip().split("|", 3)
        name = f"{number}_{index}" if index.isdecimal() else number
        waiting = state == "PENDING" and reason not in ("None", "Priority", "Resources")
        for_ever = ", which lasts until something is changed" if LASTING.match(reason) else ""
        states[name] = f"{state} ({reason}{for_ever})" if waiting else state
    return states


def signal_ranks(job: Job, name: str) -> None:
    """Signal all processes that Slurm started for this job, on whatever node."""
    subprocess.run(
        ["scancel", f"--signal={name}", job.task], check=False, stderr=subprocess.DEVNULL
    )


def has_whole_nodes(job: Job) -> bool | None:
    """Whether the job was granted its nodes alone; None where scontrol does not say."""
    shown = output_of("scontrol", "show", "--oneliner", "job", job.task) if job.task else None
    granted = re.search(r"\bOverSubscribe=(\S+)", shown or "")
    return granted[1] == "NO" if granted else None


def output_of_each_node(program: Sequence[str], nodes: int) -> str | None:
    """What ``program`` prints on each of this job's nodes, beside whatever else runs there."""
    if shutil.which("srun") is None:
        return None
    return output_of(
        *("srun", "--overlap", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1"),
        *("--cpus-per-task=1", *program),
        timeout=TIMEOUT,
    )


def call(command: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    """What one of Slurm's commands prints; EnvironmentLacks with its own words if it fails."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            env=environment,
            timeout=TIMEOUT,
            check=False,
        )
    except FileNotFoundError as error:
        raise EnvironmentLacks(
            f"{command[0]} is not here; run this on a login node of a Slurm cluster, or start one "
            f"with jobs/local-cluster/up"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise EnvironmentLacks(f"{command[0]} has not answered for a minute") from error
    if done.returncode:
        reason = (done.stderr.strip() or "nothing").splitlines()[-1]
        raise EnvironmentLacks(f"{command[0]} failed: {reason}")
    return done.stdout
