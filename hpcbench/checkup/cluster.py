"""Slurm against the site's file, the host's name, and the nodes of a job against each other."""

import os
import re
import shutil
import socket
import sys
import time
from collections.abc import Iterator, Sequence

from hpcbench.checkup import Asked, Finding, State, said
from hpcbench.sweeps.sites import Partition, Site

# A login node must not hang on a controller that is down.
SLURM_TIMEOUT = 2.0
TELL_NAME_AND_TIME = "import socket, time; print(socket.gethostname(), time.time())"
CLOCK_TOLERANCE = 1.0
UNLIMITED = float("inf")


def host(_: Asked) -> Iterator[Finding]:
    """Whether this host finds itself by its own name, as Gloo and MPI want it."""
    name = socket.gethostname()
    try:
        address = socket.getaddrinfo(name, None)[0][4][0]
    except OSError:
        yield Finding(
            "host name", State.PROBLEM, f"{name} has no address: ranks would not find each other",
            f"add it to /etc/hosts, as in: 127.0.1.1 {name}",
        )  # fmt: skip
        return
    yield Finding("host name", State.OK, f"{name}, {address}")


def image(asked: Asked) -> Iterator[Finding]:
    """The container image that the site's file names."""
    container = asked.site.container if asked.site else None
    if container and container.exists():
        yield Finding("image", State.OK, str(container))
    elif container:
        yield Finding(
            "image", State.PROBLEM, f"{container} is not here",
            "containers/build makes one, and the site's container names it",
        )  # fmt: skip


def slurm(asked: Asked) -> Iterator[Finding]:
    """What the site's file asks of Slurm against what Slurm has."""
    if shutil.which("sinfo") is None:
        if asked.site:
            yield Finding(
                "Slurm", State.PROBLEM, f"sinfo is not here, and site {asked.site.name} is asked "
                f"for", "run this on a login node, or module load slurm",
            )  # fmt: skip
        else:
            yield Finding("Slurm", State.OK, "not a machine of a cluster")
        return
    answer = said("sinfo", "--noheader", "--format=%P|%a|%l|%c|%G|%D", timeout=SLURM_TIMEOUT)
    if answer is None:
        yield Finding(
            "Slurm", State.PROBLEM if asked.site else State.WARNING,
            "sinfo does not answer: the controller is down, or SLURM_CONF names another",
            "ask the cluster's support, or see sinfo",
        )  # fmt: skip
        return
    yield Finding("Slurm", State.OK, f"partitions {', '.join(_partitions(answer)) or 'none'}")
    if asked.site:
        yield from site_findings(asked.site, answer)
        yield from array_finding(
            asked.site, said("scontrol", "show", "config", timeout=SLURM_TIMEOUT) or ""
        )


def _partitions(answer: str) -> dict[str, list[list[str]]]:
    """The lines of sinfo by partition; a partition has one for each kind of node."""
    found: dict[str, list[list[str]]] = {}
    for line in answer.splitlines():
        name, *rest = line.strip().split("|")
        found.setdefault(name.rstrip("*"), []).append(rest)
    return found


def site_findings(site: Site, answer: str) -> Iterator[Finding]:
    """Each partition of ``site``: there, up, long enough, with cores and GPUs enough a node.

    ``answer`` is what sinfo prints with the format %P|%a|%l|%c|%G|%D.
    """
    there = _partitions(answer)
    default = next((line.split("*|")[0] for line in answer.splitlines() if "*|" in line), None)
    wanted: Sequence[Partition] = site.partitions
    if not wanted and default:
        wanted = [Partition(name=default, max_devices=site.max_devices)]
    if not wanted:
        yield _site_problem(
            site, "names no partition, and Slurm has no default one",
            f"add [[partitions]], one of {', '.join(there)}",
        )  # fmt: skip
    for partition in wanted:
        if partition.name not in there:
            yield _site_problem(
                site, f"partition {partition.name} does not exist",
                f"choose from {', '.join(there)}",
            )  # fmt: skip
            continue
        flaws = list(_flaws(site, partition, there[partition.name]))
        for flaw, remedy in flaws:
            yield _site_problem(site, f"partition {partition.name} {flaw}", remedy)
        if not flaws:
            yield Finding("site", State.OK, f"{site.name}: partition {partition.name} fits")


def _site_problem(site: Site, found: str, remedy: str) -> Finding:
    return Finding("site", State.PROBLEM, f"{site.name}: {found}", remedy)


def _flaws(site: Site, partition: Partition, lines: list[list[str]]) -> Iterator[tuple[str, str]]:
    state, limit = lines[0][0], lines[0][1]
    if state != "up":
        yield f"is {state}", "ask the cluster's support, or choose another partition"
    if minutes(site.time) > minutes(limit):
        yield f"ends jobs after {limit}, and the site asks for {site.time}", f'time = "{limit}"'
    per_node = min(site.devices_per_node, partition.max_devices)
    cpus = max(int(line[2].rstrip("+")) for line in lines)
    if cpus < per_node * site.cores_per_device:
        yield (
            f"has nodes of {cpus} CPUs, and {per_node} devices of {site.cores_per_device} cores "
            f"are {per_node * site.cores_per_device}",
            f"cores_per_device = {max(cpus // per_node, 1)}",
        )
    if site.device == "gpu":
        gpus = max(gpus_of(line[3], site.gpu_type) for line in lines)
        if gpus < per_node:
            kind = f" of type {site.gpu_type}" if site.gpu_type else ""
            yield (
                f"has nodes of {gpus} GPUs{kind}, and the site says {per_node}",
                f"devices_per_node = {gpus}" if gpus else 'another partition, or device = "cpu"',
            )
    if site.device == "gpu" and site.gpu_request == "total":
        return
    nodes = sum(int(line[4]) for line in lines)
    needed = -(-partition.max_devices // site.devices_per_node)
    if needed > nodes:
        yield (
            f"has {nodes} nodes, and {partition.max_devices} devices need {needed}",
            f"max_devices = {nodes * site.devices_per_node}",
        )


def array_finding(site: Site, config: str) -> Iterator[Finding]:
    """Whether the site's arrays are not larger than Slurm's; ``config`` as scontrol prints it."""
    match = re.search(r"^MaxArraySize\s*=\s*(\d+)", config, re.MULTILINE)
    if match and int(match[1]) < site.max_array_size:
        yield _site_problem(
            site, f"max_array_size is {site.max_array_size}, and Slurm takes {match[1]}",
            f"max_array_size = {match[1]}",
        )  # fmt: skip


def minutes(limit: str) -> float:
    """A time limit of Slurm's, as ``90``, ``1:30:00`` or ``1-12:00``, in minutes."""
    if not limit[:1].isdecimal():
        return UNLIMITED
    days, _, rest = limit.rpartition("-")
    parts = [float(part) for part in rest.split(":")]
    if days:
        hours, mins, seconds = (*parts, 0.0, 0.0)[:3]
    elif len(parts) == 3:
        hours, mins, seconds = parts
    else:
        hours, mins, seconds = 0.0, *(*parts, 0.0)[:2]
    return float(days or 0) * 1440 + hours * 60 + mins + seconds / 60


def gpus_of(gres: str, kind: str | None = None) -> int:
    """How many GPUs (of ``kind``) a node has by its generic resources, as ``gpu:v100:8(S:0-1)``."""
    found = re.findall(r"\bgpu(?::([^:,()]+))??:(\d+)", gres)
    return sum(int(count) for name, count in found if kind in (None, name))


def nodes(asked: Asked) -> Iterator[Finding]:
    """In a job of several nodes: their names and clocks, each asked by srun."""
    count = int(asked.environment.get("SLURM_JOB_NUM_NODES", "1"))
    if count < 2 or shutil.which("srun") is None:
        return
    before = time.time()
    answer = said(
        "srun", "--overlap", f"--nodes={count}", f"--ntasks={count}", "--ntasks-per-node=1",
        "--cpus-per-task=1", sys.executable, "-c", TELL_NAME_AND_TIME, timeout=60,
    )  # fmt: skip
    yield node_finding(answer, count, before, time.time())


def node_finding(answer: str | None, count: int, before: float, after: float) -> Finding:
    """What ``count`` nodes said of their names and clocks between two moments of ours."""
    told = [line.split() for line in (answer or "").splitlines()]
    if len(told) < count:
        return Finding(
            "nodes", State.PROBLEM, f"{len(told)} of {count} nodes ran a program of one line",
            f"see that {sys.executable} is on a file system that all nodes see",
        )  # fmt: skip
    names = sorted(name for name, _ in told)
    if len(set(names)) < count:
        return Finding(
            "nodes", State.PROBLEM, f"two nodes have the same name: {', '.join(names)}",
            "give each its own host name",
        )  # fmt: skip
    wrong = {
        name: skew for name, moment in told
        if abs(skew := max(before - float(moment), 0) - max(float(moment) - after, 0))
        > CLOCK_TOLERANCE
    }  # fmt: skip
    if wrong:
        first, skew = next(iter(wrong.items()))
        return Finding(
            "nodes", State.WARNING, f"the clock of {first} is {abs(skew):.0f} s off from "
            f"{os.uname().nodename}'s", "have the clocks synchronized (chrony, ntp)",
        )  # fmt: skip
    return Finding("nodes", State.OK, ", ".join(names))
