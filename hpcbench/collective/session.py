"""A measurement of collective operations from its first look at the launch to its last row."""

import json
import os
import secrets
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import psutil

from hpcbench.cluster.launchers import Launch
from hpcbench.cluster.schedulers import current_job
from hpcbench.collective.config import CollectivesConfig
from hpcbench.collective.libraries import LIBRARIES, Library
from hpcbench.collective.measure import Launched, cases, measure
from hpcbench.collective.rows import ABOUT_FILE, COLLECTIVES_FILE, COLUMNS
from hpcbench.devices.cores import Cores, bind_cores, cpu_share
from hpcbench.errors import ConfigError, EnvironmentLacks
from hpcbench.frameworks import FRAMEWORKS, Framework
from hpcbench.records.provenance import collect
from hpcbench.records.writer import RowFile, claim_folder, ensure_writable, write_atomically
from hpcbench.runs.agreement import (
    exchange_hosts,
    gpu_of_rank,
    refuse_unlike_devices,
    rendezvous,
)
from hpcbench.runs.faults import translate
from hpcbench.strategies import STRATEGIES, Strategy
from hpcbench.terminal import warn

# What tells the sizes of a model's gradients.
SIZES_BY = FRAMEWORKS["tensorflow"]
# Of the largest buffer: what is given, what comes of it, what should, and a library's own.
BUFFERS = 4


def check(config: CollectivesConfig, launch: Launch) -> list[type[Library]]:
    """The libraries to measure; what can be refused before they load raises HpcbenchError."""
    if launch.size == 1:
        raise ConfigError(
            "collective operations are between ranks, and this is one: start several with "
            "mpirun -np, horovodrun -np, torchrun --nproc-per-node or srun --ntasks"
        )
    kinds = _wanted(config)
    for model in config.wanted_models:
        SIZES_BY.check_installed()
        SIZES_BY.check_model(model)
    _check_memory(config, launch)
    if launch.rank == 0:
        ensure_writable(config.results)
    return kinds


def run(config: CollectivesConfig, launch: Launch, kinds: Sequence[type[Library]]) -> Path | None:
    """Measure through ``kinds``, and write the rows as they come; their folder, on rank 0. Raises
    HpcbenchError."""
    frameworks = [FRAMEWORKS[name] for name in {kind.framework for kind in kinds if kind.framework}]
    if config.wanted_models and SIZES_BY not in frameworks:
        frameworks.append(SIZES_BY)
    try:
        return _run(config, launch, kinds, frameworks)
    except Exception as error:
        raised = translate(error, *frameworks, remedy="choose a smaller --largest")
        if raised is error:
            raise
        raise raised from error


def _run(
    config: CollectivesConfig,
    launch: Launch,
    kinds: Sequence[type[Library]],
    frameworks: Sequence[Framework],
) -> Path | None:
    cores = bind_cores(launch, None, 1, process_per_device=True)
    for framework in frameworks:
        framework.prepare(cores.threads, 1, launch.local_rank)
    libraries = _connected(kinds, launch, config.wanted_libraries is not None)
    first = libraries[0].ranks
    gpu = gpu_of_rank(launch.local_rank)
    hosts, _ = exchange_hosts(first, gpu, launch)
    gradients = {name: SIZES_BY.gradient_sizes(name) for name in config.wanted_models}
    every = cases(libraries, config.wanted_operations, config.sizes, gradients)
    if not every:
        names = ", ".join(library.name for library in libraries)
        raise ConfigError(f"{names}: no operation of {config.operations} is there")
    folder, number = config.results, 0
    if first.rank == 0:
        number = claim_folder(lambda n: config.results / _name(launch, n), resume=False)
        folder = config.results / _name(launch, number)
    kinds_of_devices = {library.name: _device_kind(library, cores) for library in libraries}
    for kind in kinds_of_devices.values():
        refuse_unlike_devices(first, hosts, kind, "")
    # A folder's name may come again elsewhere.
    about = Launched(f"{folder.name}-{secrets.token_hex(4)}", len(set(hosts)), kinds_of_devices)
    rows = measure(every, config.rounds, config.seconds, about)
    if first.rank:
        for _ in rows:
            pass
        return None
    facts = {
        "config": config.model_dump(mode="json"),
        "launch": asdict(launch),
        "hosts": hosts,
        "provenance": collect(current_job(os.environ).facts, None),
    }
    write_atomically(folder / ABOUT_FILE, json.dumps(facts, indent=2).encode() + b"\n")
    file = RowFile(folder / COLLECTIVES_FILE, COLUMNS)
    try:
        start = time.monotonic()
        for done, row in enumerate(rows, 1):
            file.append(asdict(row))
            if done % len(every) == 0:
                passed = time.monotonic() - start
                left = passed * (config.rounds * len(every) / done - 1)
                print(f"round {row.round + 1} of {config.rounds}: {left:.0f} s left", flush=True)
    finally:
        file.close()
    return folder


def _name(launch: Launch, number: int) -> str:
    return f"{launch.size}-ranks-{number}"


def _wanted(config: CollectivesConfig) -> list[type[Library]]:
    """The libraries asked for, or all that are installed and can be measured together;
    EnvironmentLacks where one is not installed, ConfigError where one has to be by itself."""
    if config.wanted_libraries is None:
        found = [kind for kind in LIBRARIES if not kind.lacks() and not kind.by_itself]
        if not found:
            needed = sorted({module for kind in LIBRARIES for module in kind.modules})
            raise EnvironmentLacks(f"none of {', '.join(needed)} is installed; install one")
        return found
    kinds = [LIBRARIES[name] for name in config.wanted_libraries]
    for kind in kinds:
        if kind.by_itself and len(kinds) > 1:
            raise ConfigError(f"{kind.name} is measured by itself: --through {kind.name}")
        if kind.lacks():
            raise EnvironmentLacks(f"{kind.name} needs {kind.lacks()}, which is not installed")
    return kinds


def _check_memory(config: CollectivesConfig, launch: Launch) -> None:
    needed = BUFFERS * config.largest * launch.local_size
    free = psutil.virtual_memory().available
    if needed > free:
        fitting = free // (BUFFERS * launch.local_size)
        raise EnvironmentLacks(
            f"buffers of {config.largest} bytes on {launch.local_size} ranks of this host need "
            f"{needed >> 20} MiB, and {free >> 20} MiB are free; choose --largest below {fitting}"
        )


def _connected(kinds: Sequence[type[Library]], launch: Launch, asked: bool) -> list[Library]:
    """Those whose ranks find each other; where nobody ``asked`` for one, rank 0 says why not."""
    found: list[Library] = []
    for kind in kinds:
        try:
            found.append(kind(_strategy(kind, launch)))
        except (ConfigError, EnvironmentLacks) as error:
            if asked:
                raise
            if launch.rank == 0:
                warn(f"left out {kind.name}: {error}")
    if not found:
        raise EnvironmentLacks(f"no library connects the ranks that {launch.launcher} started")
    return found


def _strategy(kind: type[Library], launch: Launch) -> Strategy:
    strategy = STRATEGIES[kind.strategy]
    with rendezvous(launch, strategy):
        return strategy(launch, launch.size, exchange="")


def _device_kind(library: Library, cores: Cores) -> str:
    gpu = FRAMEWORKS[library.framework].gpu_name() if library.framework else None
    return gpu or cpu_share(cores)
