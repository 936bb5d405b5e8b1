"""python -m hpcbench.doctor: what this machine can do, before a job is queued."""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from hpcbench.checkup import (
    Asked,
    Check,
    Finding,
    State,
    cluster,
    devices,
    findings,
    software,
    storage,
)
from hpcbench.cli import Parser
from hpcbench.config import SHORT_BENCHMARK_MODEL
from hpcbench.datasets.sources import check_kind
from hpcbench.errors import ConfigError, EnvironmentLacks, HpcbenchError
from hpcbench.models import MODELS
from hpcbench.report import warn
from hpcbench.sweeps.sites import read_site

# Under three seconds together, and nothing that a login node's users would mind.
QUICK: tuple[Check, ...] = (
    software.python, software.tensorflow, software.horovod, software.mpi, software.nccl,
    devices.gpus, devices.cores, devices.load, devices.energy, storage.data, storage.results,
    cluster.host, cluster.slurm, cluster.image,
)  # fmt: skip
# What training looks at first; the rest it finds out by itself.
BEFORE_TRAINING: tuple[Check, ...] = (
    software.python, devices.gpus, devices.cores, storage.results,
)  # fmt: skip
THOROUGH: tuple[Check, ...] = (software.loading, storage.data_read, cluster.nodes)

COLOURS = {State.OK: "green", State.WARNING: "yellow", State.PROBLEM: "bold red"}


def on_login_node() -> bool:
    """Whether this is a machine of a Slurm cluster, outside any job."""
    return shutil.which("sinfo") is not None and "SLURM_JOB_ID" not in os.environ


def parse_arguments(arguments: Sequence[str] | None) -> tuple[argparse.Namespace, Asked]:
    """What the command line asks for; raises ConfigError."""
    parser = Parser(
        prog="python -m hpcbench.doctor", description=__doc__,
        epilog="exit status: 0 no problem, 2 bad arguments, 3 a problem",
    )  # fmt: skip
    parser.add_argument("--model", default=SHORT_BENCHMARK_MODEL, help="(default: %(default)s)")
    parser.add_argument("--dataset", default="auto", help="default: what the model is for")
    parser.add_argument("--devices", type=int, metavar="N", help="devices wanted on this node")
    parser.add_argument("--site", help="a file of jobs/sites, without its .toml")
    parser.add_argument("--data-dir", type=Path, metavar="DIR")
    parser.add_argument("--results", type=Path, metavar="DIR", default=Path("results"))
    parser.add_argument(
        "--full", action=argparse.BooleanOptionalAction, default=None,
        help="load the frameworks and read the data; default: except on a login node",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="for programs")
    given = parser.parse(arguments)
    check_kind(MODELS[given.model], given.dataset)
    if given.devices is not None and given.devices < 1:
        raise ConfigError(f"--devices {given.devices}: one at least")
    site = read_site(given.site) if given.site else None
    return given, Asked(
        given.model, given.dataset, given.devices, given.data_dir, given.results, site
    )


def before_training(asked: Asked, horovod: bool, alone: bool) -> None:
    """Warn of what makes numbers doubtful; EnvironmentLacks for what makes training impossible.

    A process that is ``alone`` has no others to find.
    """
    checks = (software.horovod, *BEFORE_TRAINING) if horovod else BEFORE_TRAINING
    for finding in findings(checks if alone else (*checks, cluster.host), asked):
        sentence = f"{finding.subject}: {finding.found}; {finding.remedy}"
        # Without Horovod much works, but not what was asked for.
        needed = finding.subject == software.HOROVOD
        if finding.state == State.PROBLEM or (needed and finding.state != State.OK):
            raise EnvironmentLacks(sentence)
        if finding.state == State.WARNING:
            warn(sentence)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0 without a problem (warnings or not), 2 for bad arguments, 3 with one."""
    try:
        given, asked = parse_arguments(arguments)
    except HpcbenchError as error:
        print(f"hpcbench: {error}", file=sys.stderr)
        return error.exit_status
    full = not on_login_node() if given.full is None else given.full
    checks = QUICK + THOROUGH if full else QUICK
    found = []
    for finding in findings(checks, asked):
        found.append(finding)
        if not given.json:
            _print(finding)
    if given.json:
        print(json.dumps([asdict(finding) for finding in found], indent=2))
    else:
        _conclude(found, full)
    wrong = any(finding.state == State.PROBLEM for finding in found)
    return EnvironmentLacks.exit_status if wrong else 0


def _print(finding: Finding) -> None:
    console = Console(highlight=False, soft_wrap=True)
    state = f"[{COLOURS[finding.state]}]{finding.state:7}[/]"
    console.print(f"{state}  {finding.subject:11} {escape(finding.found)}")
    if finding.remedy:
        console.print(f"{'':21} → {escape(finding.remedy)}")


def _conclude(found: Sequence[Finding], full: bool) -> None:
    count = {state: sum(f.state == state for f in found) for state in State}
    print(f"problems: {count[State.PROBLEM]}, warnings: {count[State.WARNING]}")
    if not full:
        print("this was the quick part, for a login node; --full loads the frameworks too")


if __name__ == "__main__":
    sys.exit(main())
