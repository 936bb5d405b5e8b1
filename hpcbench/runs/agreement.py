"""What the processes of a run have to agree on before it starts."""

import os
import platform
from pathlib import Path

from hpcbench.config import RunConfig
from hpcbench.records.writer import claim_folder
from hpcbench.runs.resolve import ResolvedRun
from hpcbench.strategies import Communicator


def settle_repeat(resolved: ResolvedRun, communicator: Communicator) -> tuple[RunConfig, Path]:
    """Which repeat this is, and its folder; rank 0 decides for all."""
    config, output = resolved.config, resolved.output
    sweep = output.results / output.sweep

    def of(repeat: int) -> RunConfig:
        return config.model_copy(update={"repeat": repeat})

    repeat = config.repeat
    if repeat is None:
        repeat = 0
        if communicator.rank == 0:
            repeat = claim_folder(lambda free: sweep / of(free).run_id, output.resume)
    settled = of(int(communicator.all_gather([repeat])[0, 0]))
    return settled, sweep / settled.run_id


def exchange_hosts(communicator: Communicator) -> tuple[list[str], dict[int, int]]:
    """All ranks' host names, and the process ids of the other ranks on this host."""
    length = 64
    name = platform.node()[:length]
    codes = [float(ord(c)) for c in name.ljust(length)]
    rows = communicator.all_gather([os.getpid(), *codes])
    hosts = ["".join(chr(int(code)) for code in row[1:]).rstrip() for row in rows]
    pids = {
        rank: int(rows[rank, 0])
        for rank, host in enumerate(hosts)
        if host == name and rank != communicator.rank
    }
    return hosts, pids
