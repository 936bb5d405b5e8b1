"""hpcbench: the one command, of which each part is a module of its own.

``hpcbench train`` is ``python -m hpcbench.train``, and so on.
"""

import argparse
import importlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from hpcbench import __version__
from hpcbench.cli import Parser, reports_errors
from hpcbench.errors import ConfigError, unknown_name
from hpcbench.packages import named

# By name: the module, and what it is for. Only the one that is called is imported.
COMMANDS = {
    "train": ("hpcbench.train", "train one model and measure it"),
    "sweep": ("hpcbench.sweep", "plan a sweep of runs, run it here or queue it, follow it"),
    "watch": ("hpcbench.watch", "follow runs while they measure"),
    "scale": ("hpcbench.scale", "measure how your own training program scales"),
    "site": ("hpcbench.site", "write the file that describes this cluster"),
    "collectives": ("hpcbench.collectives", "benchmark collective operations on their own"),
    "calibrate": ("hpcbench.calibrate", "measure what a device reaches at most"),
    "doctor": ("hpcbench.doctor", "say what this machine can do, and what to fix"),
    "plot": ("hpcbench.plot", "draw plots and a report from runs"),
    "compare": ("hpcbench.compare", "say what became faster or slower between two sweeps"),
    "import": ("hpcbench.import_logs", "import logs of other benchmarks"),
    "plot-training": ("hpcbench.plot_training", "draw what one run learned"),
}


def make_parser(complete: bool = False) -> Parser:
    """The command's own flags and its parts' names; with ``complete`` the parts' flags too."""
    parser = Parser(
        prog="hpcbench",
        description="How does training scale on this machine, and where is the time lost?",
    )
    parser.add_argument("--version", action="version", version=f"hpcbench {__version__}")
    parser.add_argument(
        "--print-completion",
        metavar="SHELL",
        help="print a completion script for bash, zsh, tcsh or fish",
    )
    parts = parser.add_subparsers(metavar="COMMAND", dest="command")
    for name, (module, summary) in COMMANDS.items():
        part = parts.add_parser(name, help=summary, add_help=complete)
        if complete:
            importlib.import_module(module).add_arguments(part)
    return parser


@reports_errors
def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status of the part that is called; 2 for bad arguments."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and given[0] in COMMANDS:
        status: int = importlib.import_module(COMMANDS[given[0]][0]).main(given[1:])
        return status
    if given and not given[0].startswith("-"):
        for command in COMMANDS:
            if given[0] in _parts_of(command):
                raise ConfigError(f"{given[0]} is a part of another: hpcbench {command} {given[0]}")
        raise unknown_name("command", given[0], list(COMMANDS))
    parser = make_parser()
    args = parser.parse(given)
    if args.print_completion:
        print(_completion(args.print_completion))
    else:
        parser.print_help()
    return 0


def _parts_of(command: str) -> list[str]:
    """The names of a command's own parts, if it has any."""
    parser = Parser()
    importlib.import_module(COMMANDS[command][0]).add_arguments(parser)
    return [
        name
        for action in parser._actions
        if isinstance(action, argparse._SubParsersAction)
        for name in action.choices
    ]


def _completion(shell: str) -> str:
    """The script by which ``shell`` completes names and flags; raises HpcbenchError."""
    with named():
        import shtab
    if shell not in shtab.SUPPORTED_SHELLS:
        raise unknown_name("shell", shell, list(shtab.SUPPORTED_SHELLS))
    parser = make_parser(complete=True)
    for action in _actions(parser):
        if action.type is Path or action.metavar == "DIR":
            action.complete = shtab.FILE  # type: ignore[attr-defined]
        elif isinstance(action.metavar, str) and "|" in action.metavar:
            # Nothing is parsed by it, so that other values than these are taken all the same.
            action.choices = action.metavar.split("|")
    return str(shtab.complete(parser, shell))


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """All arguments of a parser and of its parts."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for part in action.choices.values():
                yield from _actions(part)


if __name__ == "__main__":
    sys.exit(main())
