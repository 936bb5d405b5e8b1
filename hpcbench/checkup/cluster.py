"""A scheduler against the site's file, the host's name, and a job's nodes against each other."""

import math
import os
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from hpcbench.checkup import CheckContext, Finding, Severity
from hpcbench.cluster.schedulers import SCHEDULERS, ArrayJob, Scheduler, scheduler_of
from hpcbench.cluster.site import Site, SitePartition
from hpcbench.cluster.survey import Partition
from hpcbench.words import count

PRINT_NAME_AND_TIME = "import socket, time; print(socket.gethostname(), time.time())"
CLOCK_TOLERANCE = 1.0
# Set where a site's setup was read already: how that went.
SETUP_READ, SETUP_FINE = "HPCBENCH_SETUP_READ", "fine"


def host(_: CheckContext) -> Iterator[Finding]:
    """Whether this host finds itself by its own name, as Gloo and MPI want it."""
    name = socket.gethostname()
    try:
        address = socket.getaddrinfo(name, None)[0][4][0]
    except OSError:
        yield Finding(
            "host name",
            Severity.PROBLEM,
            f"{name} has no address: ranks would not find each other",
            f"add it to /etc/hosts, as in: 127.0.1.1 {name}",
        )
        return
    yield Finding("host name", Severity.OK, f"{name}, {address}")


def setup(context: CheckContext) -> Iterator[Finding]:
    """What the site's shell lines came to, which were read before all this."""
    came_to = context.environment.get(SETUP_READ)
    if came_to == SETUP_FINE:
        yield Finding("setup", Severity.OK, "all lines of the site's setup succeed")
    elif came_to:
        yield Finding(
            "setup",
            Severity.PROBLEM,
            f"the site's setup fails with {came_to}",
            "jobs would end there; correct the line, or write || true behind it",
        )


def image(context: CheckContext) -> Iterator[Finding]:
    """The container image that the site's file names."""
    container = context.site.container if context.site else None
    if container and container.exists():
        yield Finding("image", Severity.OK, str(container))
    elif container:
        yield Finding(
            "image",
            Severity.PROBLEM,
            f"{container} is not here",
            "containers/build makes one, and the site's container names it",
        )


def scheduler(context: CheckContext) -> Iterator[Finding]:
    """What the site's file asks of its scheduler against what that has."""
    site = context.site
    wanted = [SCHEDULERS[site.scheduler]] if site else list(SCHEDULERS)
    here = [known for known in wanted if known.is_here()]
    if not here:
        yield _no_scheduler(site)
        return
    for known in here:
        yield from _scheduler_findings(known, site)


def _no_scheduler(site: Site | None) -> Finding:
    if site is None:
        return Finding("scheduler", Severity.OK, "not a machine of a cluster")
    return Finding(
        "scheduler",
        Severity.PROBLEM,
        f"{site.scheduler}'s commands are not here, and site {site.name} needs them",
        f"run this on a login node, or module load {site.scheduler}",
    )


def _scheduler_findings(known: Scheduler, site: Site | None) -> Iterator[Finding]:
    there = known.partitions()
    if there is None:
        yield Finding(
            known.name.capitalize(),
            Severity.PROBLEM if site else Severity.WARNING,
            "no answer: its controller is down, or this configuration is another cluster's",
            "ask the cluster's support",
        )
        return
    names = ", ".join(partition.name for partition in there) or "none"
    yield Finding(known.name.capitalize(), Severity.OK, f"partitions {names}")
    if site:
        of_site = [
            *site_findings(site, there, known),
            *array_finding(site, known.max_array_size()),
            *limit_findings(site, known),
        ]
        yield from of_site
        # What is known to be wrong would only be said again, in the scheduler's words.
        if all(finding.state == Severity.OK for finding in of_site):
            yield from refusals(site, known)


def site_findings(site: Site, there: Sequence[Partition], known: Scheduler) -> Iterator[Finding]:
    """Each partition that ``site`` names: there, up, long enough, with cores and GPUs enough a
    node."""
    by_name = {partition.name: partition for partition in there}
    default = next((partition.name for partition in there if partition.default), None)
    wanted = [(partition.name, partition) for partition in site.partitions if partition.name]
    if not site.partitions and default:
        wanted = [(default, SitePartition(name=default, max_devices=site.max_devices))]
    elif not site.partitions:
        yield _site_problem(
            site,
            "names no partition, and there is no default one",
            f"add [[partitions]], one of {', '.join(by_name)}",
        )
    for name, partition in wanted:
        if name not in by_name:
            yield _site_problem(
                site,
                f"partition {name} does not exist",
                f"choose from {', '.join(by_name)}",
            )
            continue
        flaws = list(_flaws(site, partition, by_name[name], known))
        for flaw, remedy in flaws:
            yield _site_problem(site, f"partition {name} {flaw}", remedy)
        if not flaws:
            yield Finding("site", Severity.OK, f"{site.name}: partition {name} fits")


def _site_problem(site: Site, found: str, remedy: str) -> Finding:
    return Finding("site", Severity.PROBLEM, f"{site.name}: {found}", remedy)


def _flaws(
    site: Site, wanted: SitePartition, there: Partition, known: Scheduler
) -> Iterator[tuple[str, str]]:
    """What does not fit, and what would."""
    if there.state != "up":
        yield f"is {there.state}", "ask the cluster's support, or choose another partition"
    asked = wanted.time or site.time
    if known.minutes(asked) > there.minutes:
        yield (
            f"ends jobs after {there.limit}, and the site asks for {asked}",
            f'time = "{there.limit}"',
        )
    per_node = min(site.devices_per_node, wanted.max_devices)
    cpus = there.cpus(site.threads_per_core)
    if cpus < per_node * site.cores_per_device:
        yield (
            f"has nodes of {cpus} CPUs, and {per_node} devices of {site.cores_per_device} "
            f"cores are {per_node * site.cores_per_device}",
            f"cores_per_device = {max(cpus // per_node, 1)}",
        )
    if site.device == "gpu":
        gpus = there.gpus_of(site.gpu_type)
        if gpus < per_node:
            kind = f" of type {site.gpu_type}" if site.gpu_type else ""
            yield (
                f"has nodes of {gpus} GPUs{kind}, and the site says {per_node}",
                f"devices_per_node = {gpus}" if gpus else 'another partition, or device = "cpu"',
            )
        if site.gpu_request == "total":
            return
    needed = -(-wanted.max_devices // site.devices_per_node)
    if needed > there.nodes:
        yield (
            f"has {there.nodes} nodes, and {wanted.max_devices} devices need {needed}",
            f"max_devices = {there.nodes * site.devices_per_node}",
        )
    elif needed > there.max_nodes:
        yield (
            f"gives a job {there.max_nodes} nodes, and {wanted.max_devices} devices need {needed}",
            f"max_devices = {int(there.max_nodes) * site.devices_per_node}",
        )


def array_finding(site: Site, limit: int | None) -> Iterator[Finding]:
    """Whether the site's arrays are not larger than the scheduler's ``limit``."""
    if limit is not None and limit < site.max_array_size:
        yield _site_problem(
            site,
            f"max_array_size is {site.max_array_size}, and {limit} is the most that is taken",
            f"max_array_size = {limit}",
        )


def limit_findings(site: Site, known: Scheduler) -> Iterator[Finding]:
    """Limits of this user that a scheduler's trial of a job does not know: it takes a job that
    would wait for ever."""
    seen = set()
    for partition in site.partitions or [SitePartition(max_devices=site.max_devices)]:
        devices = min(partition.max_devices, site.max_devices)
        request = site.request(devices)
        limits = known.user_limits(request.account, request.qos, request.partition)
        nodes, cpus = request.nodes, devices * request.cores_per_task
        # None of what a job of CPUs asks for.
        gpus = devices if site.device == "gpu" else 0
        for what, wanted, most in (
            ("node", nodes, limits.nodes),
            ("CPU", cpus, limits.cpus),
            ("GPU", gpus, limits.gpus),
        ):
            if wanted > most:
                yield _site_problem(
                    site,
                    f"this user's jobs in QoS {limits.qos} have {count(int(most), what)}, and "
                    f"{devices} devices need {wanted}",
                    f"max_devices = {int(devices * most // wanted)}",
                )
        if known.minutes(request.time) > limits.minutes:
            yield _site_problem(
                site,
                f"this user's jobs in QoS {limits.qos} have {limits.minutes:g} minutes, and the "
                f"site asks for {request.time}",
                f'time = "{int(limits.minutes) // 60:02}:{int(limits.minutes) % 60:02}:00"',
            )
        if limits.queued < math.inf and limits not in seen:
            yield Finding(
                "site",
                Severity.OK,
                f"{site.name}: of this user {limits.queued:g} jobs may be queued in QoS "
                f"{limits.qos}: hpcbench sweep submit --max-queued {limits.queued:g}",
            )
        seen.add(limits)


def refusals(site: Site, known: Scheduler) -> Iterator[Finding]:
    """Whether the scheduler would queue the smallest and the largest job of each partition."""
    ends = [end for p in site.partitions for end in (p.min_devices, p.max_devices)]
    counts = sorted({min(end, site.max_devices) for end in ends or (1, site.max_devices)})
    jobs = {
        f"a job of {count(devices, 'device')}": known.array_command(
            ArrayJob(
                name="hpcbench-test",
                tasks=1,
                request=site.request(devices),
                record=Path("none"),
                logs=Path(),
                signal_seconds=site.signal_seconds,
            )
        )
        for devices in counts
    }
    jobs["the analysis"] = known.analysis_command([], Path(), site.analysis_request())
    wrong = 0
    for job, command in jobs.items():
        refusal = known.refusal(command)
        if refusal:
            wrong += 1
            yield _site_problem(
                site,
                f"{job} would not be queued: {refusal}",
                "change what it names in the site's file",
            )
    if not wrong:
        listed = ", ".join(map(str, counts))
        yield Finding(
            "site",
            Severity.OK,
            f"{site.name}: jobs of {listed} devices and the analysis would be queued",
        )


def nodes(context: CheckContext) -> Iterator[Finding]:
    """In a job of several nodes: their names and clocks, each asked for."""
    job = context.job
    several = job.allocation.nodes if job.allocation else 1
    if several < 2:
        return
    before = time.time()
    command = (sys.executable, "-c", PRINT_NAME_AND_TIME)
    answer = scheduler_of(job).output_of_each_node(command, several)
    yield node_finding(answer, several, before, time.time())


def node_finding(answer: str | None, several: int, before: float, after: float) -> Finding:
    """What ``several`` nodes printed of their names and clocks between two moments of ours."""
    printed = [line.split() for line in (answer or "").splitlines()]
    if len(printed) < several:
        return Finding(
            "nodes",
            Severity.PROBLEM,
            f"{len(printed)} of {several} nodes ran a program of one line",
            f"see that {sys.executable} is on a file system that all nodes see",
        )
    names = sorted(name for name, _ in printed)
    if len(set(names)) < several:
        return Finding(
            "nodes",
            Severity.PROBLEM,
            f"two nodes have the same name: {', '.join(names)}",
            "give each its own host name",
        )
    skews = {
        name: max(before - float(moment), 0) - max(float(moment) - after, 0)
        for name, moment in printed
    }
    wrong = [name for name, skew in skews.items() if abs(skew) > CLOCK_TOLERANCE]
    if wrong:
        return Finding(
            "nodes",
            Severity.WARNING,
            f"the clock of {wrong[0]} is {abs(skews[wrong[0]]):.0f} s off from "
            f"{os.uname().nodename}'s",
            "have the clocks synchronized (chrony, ntp)",
        )
    return Finding("nodes", Severity.OK, ", ".join(names))
