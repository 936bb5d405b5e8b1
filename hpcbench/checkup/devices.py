"""GPUs and CPU cores: those really there against those asked for."""

import os
from collections.abc import Iterator
from pathlib import Path

from hpcbench.checkup import CheckContext, Finding, Severity
from hpcbench.devices.cores import INSTRUCTION_LIMITS, available_cores, by_core, instruction_set
from hpcbench.devices.counters import counters_of, powercap
from hpcbench.devices.gpus import AMD, MIG, NVIDIA, Gpu, chosen, list_gpus, visible_gpus
from hpcbench.errors import EnvironmentLacks
from hpcbench.words import count

GIB = 1 << 30
# What a driver and an idle context hold; more is somebody's work.
IDLE_MEMORY = GIB // 2
CGROUPS = Path("/sys/fs/cgroup")


def gpus(context: CheckContext) -> Iterator[Finding]:
    """The GPUs that a run would take, and who else is on them."""
    there = visible_gpus(context.environment)
    if there == 0:
        yield _no_gpu(context)
        return
    if context.environment.get(NVIDIA, "").strip().startswith(MIG):
        said = f"a part of a GPU, {context.environment[NVIDIA]}: other users are not looked for"
        yield Finding("GPUs", Severity.OK, said)
        return
    try:
        yield from gpu_findings(chosen(list_gpus(), context.environment), context.devices)
    except EnvironmentLacks as error:
        yield Finding(
            "GPUs",
            Severity.PROBLEM,
            str(error),
            "nvidia-smi says more; the driver and its library must be of one version",
        )


def _no_gpu(context: CheckContext) -> Finding:
    if context.site and context.site.device == "gpu" and context.job.task:
        return Finding(
            "GPUs",
            Severity.PROBLEM,
            f"none in this job, and site {context.site.name} has GPUs",
            "ask for them: --gpus-per-node, in a partition that has some",
        )
    hiding = [name for name in (NVIDIA, *AMD) if name in context.environment]
    if hiding and visible_gpus({}):
        return Finding(
            "GPUs",
            Severity.WARNING,
            f"{hiding[0]}={context.environment[hiding[0]]!r} hides all of them",
            "unset it to train on GPUs",
        )
    return Finding("GPUs", Severity.OK, "none: devices are CPU cores")


def gpu_findings(found: list[Gpu], wanted: int | None) -> Iterator[Finding]:
    """Whether ``found`` are enough for ``wanted`` devices of this node, and free."""
    names = ", ".join(f"{gpu.index} {gpu.name}" for gpu in found) or "none that may be used"
    if wanted and wanted > len(found):
        yield Finding(
            "GPUs",
            Severity.PROBLEM,
            f"{wanted} are asked for, here are {len(found)}: {names}",
            f"ask for {len(found)}, or for more GPUs of Slurm",
        )
    else:
        yield Finding("GPUs", Severity.OK, names)
    for gpu in found[: wanted or len(found)]:
        if gpu.memory_used > IDLE_MEMORY:
            by = f" by process {', '.join(map(str, gpu.processes))}" if gpu.processes else ""
            yield Finding(
                "GPU memory",
                Severity.WARNING,
                f"{gpu.memory_used / GIB:.1f} of {gpu.memory / GIB:.0f} GiB of GPU {gpu.index} "
                f"are in use{by}",
                "wait until it is free, or choose others with CUDA_VISIBLE_DEVICES",
            )


def cores(context: CheckContext) -> Iterator[Finding]:
    """The cores that this process may run on, and what its cgroup grants."""
    mine = available_cores()
    of_machine = os.cpu_count() or len(mine)
    yield from core_findings(len(mine), len(by_core(mine)), of_machine, cpu_quota(), context)


def cpu_math(context: CheckContext) -> Iterator[Finding]:
    """The processor's instruction set as oneDNN uses it."""
    used, widest = instruction_set(context.environment), instruction_set({})
    if used == widest:
        yield Finding("CPU math", Severity.OK, used)
    else:
        limit = next(name for name in INSTRUCTION_LIMITS if name in context.environment)
        yield Finding(
            "CPU math",
            Severity.WARNING,
            f"{limit}={context.environment[limit]} keeps oneDNN to {used}, and the processor has "
            f"{widest}",
            "unset it to measure what the processor can do",
        )


def load(_: CheckContext) -> Iterator[Finding]:
    """Who else computes here."""
    mine, load = len(available_cores()), os.getloadavg()[0]
    # Other jobs' load on cores that are not ours does not slow this one.
    if load > 0.5 * mine and mine == os.cpu_count():
        yield Finding(
            "CPU load",
            Severity.WARNING,
            f"load average {load:.1f} on {mine} cores",
            "measure when the machine is idle",
        )


def energy(context: CheckContext) -> Iterator[Finding]:
    """What counts the energy of a run here; nothing needs it."""
    on_gpus = visible_gpus(context.environment) > 0
    source, counters = counters_of(0, context.devices or 1, on_gpus, context.environment)
    zones = powercap(context.environment)
    if counters:
        yield Finding("energy", Severity.OK, f"counted by {source}")
    elif not on_gpus and any(zones.glob("intel-rapl:*")):
        yield Finding(
            "energy",
            Severity.WARNING,
            f"not counted: {zones} may not be read",
            "only root may, unless the site allows it: chmod a+r the energy_uj files",
        )
    else:
        yield Finding("energy", Severity.OK, "not counted: the machine offers no counter")


def core_findings(
    mine: int, whole: int, of_machine: int, quota: float | None, context: CheckContext
) -> Iterator[Finding]:
    """What ``mine`` of a machine's hardware threads, of so many ``whole`` cores, and of which a
    cgroup grants ``quota``, are good for."""
    found = f"{mine} of {of_machine}"
    if mine > whole:
        found += f" hardware threads, of {count(whole, 'core')}"
    wanted = 0 if visible_gpus(context.environment) else context.devices or 0
    threads = context.environment.get("OMP_NUM_THREADS", "")
    if quota is not None and quota < mine - 0.01:
        yield Finding(
            "CPU cores",
            Severity.WARNING,
            f"{found}, of which the cgroup grants the time of {quota:g}: more threads than that "
            f"are stopped again and again",
            f"bind to fewer: taskset -c 0-{max(int(quota), 1) - 1}, or ask for more CPU time",
        )
    elif wanted > whole:
        yield Finding(
            "CPU cores",
            Severity.WARNING,
            f"{found}, for {wanted} devices that are CPU cores",
            "ask for as many cores as devices: --cpus-per-task, or mpirun --bind-to none",
        )
    else:
        yield Finding("CPU cores", Severity.OK, found)
    if threads.isdecimal() and int(threads) > mine:
        yield Finding(
            "threads",
            Severity.WARNING,
            f"OMP_NUM_THREADS={threads} on {mine} cores",
            "unset it; each rank then takes as many threads as it has cores",
        )


def cpu_quota(root: Path = CGROUPS, memberships: str | None = None) -> float | None:
    """How many cores' time this process' cgroups grant it, the least of them; None: all.

    Reads cpu.max of cgroups version 2 and cpu.cfs_quota_us of version 1, as the kernel's
    Documentation/admin-guide/cgroup-v2.rst and scheduler/sched-bwc.rst define them.
    """
    if memberships is None:
        try:
            memberships = Path("/proc/self/cgroup").read_text(encoding="utf-8")
        except OSError:
            return None
    grants = []
    for line in memberships.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = root / controllers if controllers else root
        group = top / path.strip("/")
        # Inside a container the path may be the host's; the top is its own group then.
        for folder in {group, *group.parents, top}:
            if folder == top or top in folder.parents:
                grants.append(_granted(folder))
    return min((grant for grant in grants if grant), default=None)


def _granted(folder: Path) -> float | None:
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
        return int(quota) / int(period) if quota not in ("max", "-1") else None
    except (OSError, ValueError):
        return None
