"""hpcbench scale: how a training program of one's own scales, unedited."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hpcbench import sweep
from hpcbench.cli import Parser, reports_errors
from hpcbench.errors import ConfigError
from hpcbench.programs.config import PLACEHOLDERS, Program, program_name
from hpcbench.records.writer import ensure_writable, write_atomically
from hpcbench.sweeps.plan import SweepFile
from hpcbench.validation import parse, setting

FILE = "sweep.toml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = "How a training program of your own scales: put its command behind --."
    parser.epilog = (
        "in the command, these are filled in: "
        + ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
        + ". Exit status: 0 done, 2 bad arguments, 3 something lacks, 4 a run failed"
    )
    parser.add_argument("--devices", default="1", help="counts, as 1,2,4 (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=6, help="(default: %(default)s)")
    parser.add_argument("--scaling", choices=["weak", "strong"], default="weak")
    parser.add_argument("--batch", type=int, help="of a device; under strong scaling, of all")
    parser.add_argument("--name", help="of the sweep; default: the program's")
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--site", help="queue it there, instead of running it here")
    parser.add_argument(
        "--start",
        choices=["once", "per-node", "per-device"],
        default="once",
        help="how often the command is started: once, where it starts its own ranks (torchrun on "
        "one node, mpirun), a node (torchrun on several), or a device, by the site's launcher",
    )
    parser.add_argument(
        "--resume-with",
        metavar="ARGUMENTS",
        help="what is added to the command where it was stopped before, as at a time limit: "
        "'--resume {output}/last.pt'",
    )
    parser.add_argument("--shell", action="store_true", help="let a shell read the command")
    parser.add_argument(
        "--metric", metavar="REGEX", help="read rates from what it prints, instead of the probe"
    )
    parser.add_argument("--take", choices=["each", "mean", "last"], default="each")
    parser.add_argument("--metric-of", choices=["all", "device"], default="all")
    parser.add_argument("--unit", default="samples/s", help="of these rates (default: %(default)s)")
    parser.add_argument(
        "--environment", action="append", default=[], metavar="NAME=VALUE", help="several times"
    )
    parser.add_argument(
        "--interval-seconds",
        type=float,
        default=0.5,
        help="of a measured interval, at least (default: %(default)s)",
    )
    parser.add_argument(
        "--stall-seconds", type=float, default=600, help="without a step, until it is ended"
    )
    parser.add_argument("--dry-run", action="store_true", help="print what would be run or queued")


def sweep_file(args: argparse.Namespace, command: Sequence[str]) -> SweepFile:
    """The sweep that the command line describes; raises ConfigError."""
    if not command:
        raise ConfigError("no command: put it behind --, as hpcbench scale --devices 1,2 -- ./mine")
    try:
        devices = [int(part) for part in args.devices.split(",")]
    except ValueError:
        raise ConfigError(f"--devices {args.devices}: counts, as 1,2,4") from None
    variables = dict(part.split("=", 1) for part in args.environment if "=" in part)
    if len(variables) < len(args.environment):
        raise ConfigError("--environment wants NAME=VALUE")
    one = [" ".join(command)] if args.shell else list(command)
    of_program = {name: getattr(args, name) for name in Program.model_fields if hasattr(args, name)}
    of_program["resume_with"] = shlex.split(args.resume_with or "")
    of_program |= {"command": one, "environment": variables, "name": program_name(one)}
    program = parse(Program, of_program)
    values = {
        "name": args.name or program.name,
        "devices": devices,
        "repeats": args.repeats,
        "scaling": [args.scaling],
        "program": program,
    }
    return parse(SweepFile, values)


def as_toml(file: SweepFile) -> str:
    """The sweep as a file that ``hpcbench sweep`` reads."""
    values = file.model_dump(mode="json", exclude_defaults=True)
    program = values.pop("program")
    environment = program.pop("environment", {})
    lines = [
        "# As hpcbench scale was asked; hpcbench sweep status, resume and plan take this file.",
        *_lines(values),
        "\n[program]",
        *_lines(program),
    ]
    if environment:
        lines += ["\n[program.environment]", *_lines(environment)]
    return "\n".join(lines) + "\n"


def _lines(values: dict[str, Any]) -> list[str]:
    return [setting(name, value) for name, value in values.items() if value is not None]


@reports_errors
def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status of ``hpcbench sweep run`` or ``submit`` of what was asked."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    place = given.index("--") if "--" in given else len(given)
    parser = Parser(prog="hpcbench scale")
    add_arguments(parser)
    args = parser.parse(given[:place])
    file = sweep_file(args, given[place + 1 :])
    path = args.results / file.name / FILE
    text = as_toml(file).encode()
    if path.exists() and path.read_bytes() != text:
        raise ConfigError(
            f"{path} is of another command or other settings: choose another --name, or remove it"
        )
    ensure_writable(path.parent)
    write_atomically(path, text)
    line = [str(path), f"--results={args.results}"]
    if args.site:
        dry = ["--dry-run"] if args.dry_run else []
        return sweep.main(["submit", *line, f"--site={args.site}", *dry])
    if args.dry_run:
        return sweep.main(["plan", *line])
    status = sweep.main(["run", *line])
    if status in (0, 4):
        print(f"next: hpcbench plot {args.results / file.name}")
    return status


if __name__ == "__main__":
    sys.exit(main())
