"""hpcbench doctor: what this machine can do, before a job is queued."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

from rich.console import Console
from rich.markup import escape

from hpcbench.checkup import (
    Check,
    CheckContext,
    Finding,
    Severity,
    cluster,
    devices,
    findings,
    software,
    storage,
    surroundings,
)
from hpcbench.checkup.cluster import SETUP_FINE, SETUP_READ
from hpcbench.cli import Parser, at_least_one, reports_errors
from hpcbench.cluster.schedulers import SCHEDULERS, current_job
from hpcbench.cluster.site import NAMED_BY, guarded, read_site
from hpcbench.config import SHORT_BENCHMARK_MODEL
from hpcbench.datasets.sources import check_kind
from hpcbench.errors import EnvironmentLacks
from hpcbench.models import MODELS

# Under three seconds together, and nothing that a login node's users would mind.
QUICK: tuple[Check, ...] = (
    software.python,
    software.tensorflow,
    software.horovod,
    software.mpi,
    software.nccl,
    devices.gpus,
    devices.cores,
    devices.cpu_math,
    devices.load,
    devices.energy,
    storage.data,
    storage.results,
    surroundings.locks,
    surroundings.home,
    surroundings.locale,
    surroundings.proxy,
    surroundings.names,
    cluster.host,
    cluster.setup,
    cluster.scheduler,
    cluster.image,
)
THOROUGH: tuple[Check, ...] = (software.loading, storage.data_read, cluster.nodes)

COLOURS = {Severity.OK: "green", Severity.WARNING: "yellow", Severity.PROBLEM: "bold red"}


def on_login_node() -> bool:
    """Whether this is a machine of a cluster, outside any job."""
    return any(known.is_here() for known in SCHEDULERS) and not current_job(os.environ).task


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = "What this machine can do, before a job is queued."
    parser.epilog = "exit status: 0 no problem, 2 bad arguments, 3 a problem"
    parser.add_argument("--model", default=SHORT_BENCHMARK_MODEL, help="(default: %(default)s)")
    parser.add_argument("--dataset", default="auto", help="default: what the model is for")
    parser.add_argument(
        "--devices", type=at_least_one, metavar="N", help="devices wanted on this node"
    )
    parser.add_argument(
        "--site",
        default=os.environ.get(NAMED_BY),
        help="a file of jobs/sites, without its .toml, whose setup is read first, as jobs read it; "
        f"default: {NAMED_BY}",
    )
    parser.add_argument("--data-dir", type=Path, metavar="DIR")
    parser.add_argument("--results", type=Path, metavar="DIR", default=Path("results"))
    parser.add_argument(
        "--full",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="load the frameworks and read the data; default: except on a login node",
    )
    parser.add_argument("--json", action="store_true", help="for programs")


def _context(args: argparse.Namespace) -> CheckContext:
    """What the command line asks for; raises ConfigError."""
    check_kind(MODELS[args.model], args.dataset)
    site = read_site(args.site) if args.site else None
    return CheckContext(args.model, args.dataset, args.devices, args.data_dir, args.results, site)


@reports_errors
def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0 without a problem (warnings or not), 2 for bad arguments, 3 with one."""
    parser = Parser(prog="hpcbench doctor")
    add_arguments(parser)
    args = parser.parse(arguments)
    context = _context(args)
    if context.site and context.site.setup and SETUP_READ not in os.environ:
        _read_setup(context.site.setup, sys.argv[1:] if arguments is None else arguments)
    full = not on_login_node() if args.full is None else args.full
    checks = QUICK + THOROUGH if full else QUICK
    found = []
    for finding in findings(checks, context):
        found.append(finding)
        if not args.json:
            _print(finding)
    if args.json:
        print(json.dumps([asdict(finding) for finding in found], indent=2))
    else:
        _conclude(found, full)
    wrong = any(finding.state == Severity.PROBLEM for finding in found)
    return EnvironmentLacks.exit_status if wrong else 0


def _read_setup(setup: Sequence[str], arguments: Sequence[str]) -> NoReturn:
    """Become the doctor again, in a shell that has read a site's ``setup`` as jobs read it; the
    first that fails of it is what the doctor then finds."""
    failed = f': "${{{SETUP_READ}:=status $? at: $BASH_COMMAND}}"'
    told = f'export {SETUP_READ}="${{{SETUP_READ}:-{SETUP_FINE}}}"\nexec "$@"'
    script = guarded(setup, failed) + told
    again = [sys.executable, "-m", "hpcbench.doctor", *arguments]
    os.execvpe("bash", ["bash", "-c", script, "bash", *again], os.environ)


def _print(finding: Finding) -> None:
    console = Console(highlight=False, soft_wrap=True)
    state = f"[{COLOURS[finding.state]}]{finding.state:7}[/]"
    console.print(f"{state}  {finding.subject:11} {escape(finding.found)}")
    if finding.remedy:
        console.print(f"{'':21} → {escape(finding.remedy)}")


def _conclude(found: Sequence[Finding], full: bool) -> None:
    count = {state: sum(f.state == state for f in found) for state in Severity}
    print(f"problems: {count[Severity.PROBLEM]}, warnings: {count[Severity.WARNING]}")
    if not full:
        print("this was the quick part, for a login node; --full loads the frameworks too")


if __name__ == "__main__":
    sys.exit(main())
