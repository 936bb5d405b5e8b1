"""What is written of a run of a program: its identity, rows and run.json."""

import os
import platform
from collections.abc import Mapping, Sequence
from datetime import datetime
from statistics import mean
from typing import Any

from hpcbench.cluster.schedulers import Job, scheduler_of
from hpcbench.devices.cores import Cores, available_cores, by_core, core_share, cpu_share
from hpcbench.devices.gpus import chosen, list_gpus, visible_gpus
from hpcbench.process import output_of
from hpcbench.programs.config import ProgramConfig
from hpcbench.programs.intervals import Interval, Measured
from hpcbench.programs.probe_lines import Process
from hpcbench.programs.verdict import MOSTLY, Row, warned
from hpcbench.records.identity import UNKNOWN, Identity
from hpcbench.records.provenance import collect
from hpcbench.records.schema import (
    PHASE_BACKWARD,
    PHASE_DATA,
    PHASE_EXPOSED,
    PHASE_FORWARD,
    PHASE_OWN,
    PHASE_TRAIN,
    RankTimes,
    ThroughputRow,
)
from hpcbench.words import count, significant

# By which ranks were compared.
COMPARED = ("gradients", "weights")


def identity_of_run(
    config: ProgramConfig, sweep: str, nodes: int, processes: Sequence[Process]
) -> Identity:
    """The first columns of the run's rows; ``nodes`` where the processes do not tell."""
    facts = [process.facts for process in processes]
    dtypes = sorted({kind for one in facts for kind in one.get("dtypes", ())})
    return Identity.of_program(
        config,
        sweep,
        nodes=len({one.get("host") for one in facts}) or nodes,
        device_kind=_device_kind(config, facts),
        precision="+".join(dtypes) or UNKNOWN,
        batch=max((_of_device(process) for process in processes), default=0),
    )


def _of_device(process: Process) -> int:
    """The batch of most steps, if there is one."""
    mostly = (process.facts.get("batch_share") or 0.0) >= MOSTLY
    return int(process.facts.get("batch") or 0) // process.replicas if mostly else 0


def _device_kind(config: ProgramConfig, facts: Sequence[Mapping[str, Any]]) -> str:
    """As the processes tell it; else what this host has."""
    told = next((one["device"] for one in facts if one.get("device")), None)
    if told:
        return str(told)
    if visible_gpus(os.environ) and not facts:
        return chosen(list_gpus(), os.environ)[0].name
    here = by_core(available_cores())
    threads = core_share(here, 0, 1, config.cores_per_device)
    return cpu_share(Cores(len(threads), len(by_core(threads))))


def document(
    config: ProgramConfig,
    job: Job,
    started: datetime,
    command: Sequence[str],
    processes: Sequence[Process],
    counted: Measured,
) -> dict[str, Any]:
    """What run.json says beside the identity."""
    facts = [process.facts for process in processes]
    packages = {name: v for one in facts for name, v in one.get("packages", {}).items()}
    folder = next((one["folder"] for one in facts if one.get("folder")), os.getcwd())
    commit = output_of("git", "-C", folder, "rev-parse", "HEAD", timeout=5)
    allocation = {"granted": job.granted, "whole_nodes": scheduler_of(job).has_whole_nodes(job)}
    waits, seen = _waiting_for_data(counted)
    kept = sum(one.slowest for one in seen)
    steps = sum(one.steps for one in seen)
    return {
        "config": config.model_dump(mode="json"),
        "hosts": [str(one.get("host")) for one in facts] or [platform.node()],
        "parameters": next((one["parameters"] for one in facts if one.get("parameters")), None),
        "processes": [_told(one) for one in facts],
        "warmup_intervals": counted.warmup,
        "left_out": [one.broken for one in counted.broken],
        "waiting_for_data_share": mean(waits) / kept if waits else None,
        # Of each rank, a step.
        "waiting_for_data_seconds": [each / steps for each in waits],
        "startup_seconds": (
            min(process.marks[0].at for process in processes) - started.timestamp()
            if processes
            else None
        ),
        "remarks": warned(config, processes, counted),
        "provenance": collect(job.facts, None)
        | {
            "packages": packages,
            "started": started.isoformat(timespec="seconds"),
            "command": list(command),
            "program_commit": commit.strip() if commit else None,
            "allocation": allocation,
        },
    }


def _told(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Of a process's facts those that say something to a reader."""
    return {name: value for name, value in facts.items() if name not in COMPARED}


def _waiting_for_data(counted: Measured) -> tuple[list[float], list[Interval]]:
    """Seconds of each process in those counted intervals that tell of them, and these; empty where
    no fetching was seen, which takes some time always."""
    seen = [one for one in counted.intervals if one.waited]
    waits = [sum(each) for each in zip(*(one.waited for one in seen), strict=True)]
    return (waits, seen) if any(waits) else ([], [])


def times_of_ranks(config: ProgramConfig, counted: Measured) -> list[RankTimes]:
    """Of each counted interval training, and its parts as far as they were seen: the forward pass
    if each rank's was in all intervals, of the others whichever intervals tell of them."""
    found = list[RankTimes]()
    intervals = list(enumerate(counted.intervals))
    fetched = any(any(one.waited) for _, one in intervals)
    forward = all(min(one.forward) > 0 for _, one in intervals if one.forward)
    for number, one in intervals:
        parts = {PHASE_TRAIN: one.seconds}
        if fetched and one.waited:
            parts[PHASE_DATA] = one.waited
        if forward and one.forward:
            parts[PHASE_FORWARD] = one.forward
        # A single device has nobody to exchange with.
        exposed = (0.0,) if config.devices == 1 else one.exposed
        if exposed:
            exchange = 0.0 if config.devices == 1 else one.exchange
            parts[PHASE_EXPOSED] = (exchange,) * len(exposed)
            parts[PHASE_OWN] = _less(one.seconds, exposed)
            if min(one.backward, default=0) > 0:
                parts[PHASE_BACKWARD] = _less(one.backward, exposed)
        found += [RankTimes(phase, number, one.steps, times) for phase, times in parts.items()]
    return found


def _less(whole: Sequence[float], parts: Sequence[float]) -> tuple[float, ...]:
    # What iterations that were looked at had may be more than the others have.
    return tuple(max(0.0, all_of_it - part) for all_of_it, part in zip(whole, parts, strict=True))


def summary(config: ProgramConfig, identity: Identity, rows: Sequence[Row]) -> str:
    """The rate of a run in a line."""
    samples, seconds = sum(row.samples for row in rows), sum(row.seconds for row in rows)
    # What a printed rate stands for is no step that was timed.
    step = (
        "as it printed"
        if config.metric
        else f"{significant(1e3 * mean(row.seconds / row.steps for row in rows))} ms a step"
    )
    return (
        f"hpcbench: {identity.model} on {config.devices} x {identity.device_kind}: "
        f"{significant(samples / seconds, 4)} {config.unit} over {count(len(rows), 'interval')}, "
        f"{step}"
    )


def throughput_row(number: int, row: Row) -> ThroughputRow:
    """The ``number``-th interval as it is written."""
    return ThroughputRow(
        PHASE_TRAIN,
        number,
        row.steps,
        row.samples,
        row.seconds,
        row.fastest,
        row.mean,
        row.samples / row.seconds,
    )
