"""hpcbench site: a file that describes a cluster, written from what its scheduler says."""

import argparse
import os
import platform
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from hpcbench.cli import Parser, reports_errors
from hpcbench.cluster.draft import Draft, SeveralFit, draft
from hpcbench.cluster.schedulers import current_job, schedulers_with_queues
from hpcbench.cluster.site import read_site, site_of_cluster
from hpcbench.cluster.survey import Survey
from hpcbench.errors import ConfigError, EnvironmentLacks
from hpcbench.resources import OWN
from hpcbench.validation import NAME_PATTERN


def init(args: argparse.Namespace) -> int:
    """Write jobs/sites/NAME.toml from what the scheduler of this cluster says."""
    if not re.match(NAME_PATTERN, args.name):
        raise ConfigError(f"{args.name!r} is no name: letters, digits, dots, dashes, underscores")
    path: Path = args.folder / "sites" / f"{args.name}.toml"
    if path.exists() and not args.force:
        raise ConfigError(f"{path} already exists; --force overwrites it")
    survey = _survey()
    found = _drafted(survey, args)
    today, scheduler = time.strftime("%Y-%m-%d"), survey.scheduler.capitalize()
    head = (
        f"Written by hpcbench site init on {platform.node()}, {today}, from what {scheduler}",
        f"{survey.version} says. Look it over; what it does not say is a question.",
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(found.toml(head), encoding="utf-8")
    except OSError as error:
        raise EnvironmentLacks(f"{path} cannot be written: {error.strerror}") from error
    # What was written is what will be read.
    read_site(str(path))
    print(f"{path}:\n\n{path.read_text(encoding='utf-8')}")
    print(f"look it over, then: hpcbench doctor --site {args.name}")
    return 0


def show_setup(args: argparse.Namespace) -> int:
    """Print the shell that jobs read first: of a site, else of the one of this job's cluster."""
    name, cluster = args.name, current_job(os.environ).cluster
    site = read_site(name) if name else site_of_cluster(os.environ, cluster)
    print(site.setup_script if site else "", end="")
    return 0


def _survey() -> Survey:
    for scheduler in schedulers_with_queues():
        found = scheduler.survey() if scheduler.is_here() else None
        if found:
            return found
    raise EnvironmentLacks("no scheduler answers here; run this on a login node of the cluster")


def _drafted(survey: Survey, args: argparse.Namespace) -> Draft:
    """A draft; what only the user can know is asked at a terminal. Raises ConfigError elsewhere."""
    partitions, gpu_type = list(args.partition or ()), args.gpu_type
    while True:
        try:
            return draft(survey, args.name, partitions, gpu_type)
        except SeveralFit as several:
            if not (sys.stdin.isatty() and sys.stdout.isatty()):
                raise
            answer = _asked(several)
            if several.option == "partition":
                partitions = [answer]
            else:
                gpu_type = answer


def _asked(several: SeveralFit) -> str:
    names = list(several.choices)
    for number, sentence in enumerate(several.choices.values(), 1):
        print(f"  {number}  {sentence}")
    while True:
        answer = input(f"{several.option} (1 to {len(names)}): ").strip()
        if answer.isdecimal() and 1 <= int(answer) <= len(names):
            return names[int(answer) - 1]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = "Files that describe clusters, for hpcbench sweep --site."
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("init", help="write one from what the scheduler here says")
    command.set_defaults(action=init)
    command.add_argument("name", help="of the site, and of its file below jobs/sites")
    command.add_argument("--folder", type=Path, default=OWN, help="default: jobs")
    command.add_argument(
        "--partition", action="append", help="which to use; several times for several"
    )
    command.add_argument("--gpu-type", help="which GPUs, where there are several types")
    command.add_argument("--force", action="store_true", help="write over a file that is there")

    command = commands.add_parser(
        "setup", help='print the shell that its jobs read first, as: eval "$(...)"'
    )
    command.set_defaults(action=show_setup)
    command.add_argument("name", nargs="?", help="default: the site of this job's cluster")


@reports_errors
def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0, 2 for bad arguments, 3 where no scheduler answers."""
    parser = Parser(prog="hpcbench site")
    add_arguments(parser)
    try:
        args = parser.parse(arguments)
        status: int = args.action(args)
        return status
    except (KeyboardInterrupt, EOFError):
        print("hpcbench: interrupted; nothing was written", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
