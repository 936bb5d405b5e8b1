"""python -m hpcbench.runs.program: a run of somebody's own program."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from hpcbench.cli import Parser, reports_errors
from hpcbench.cluster.launchers import Placement
from hpcbench.errors import ConfigError
from hpcbench.programs.config import ProgramConfig
from hpcbench.records.reader import is_complete
from hpcbench.runs.program.session import ProgramRun
from hpcbench.validation import parse


@reports_errors
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program of a configuration, which is JSON, as one run of a sweep."""
    parser = Parser(prog="python -m hpcbench.runs.program", description=__doc__)
    parser.add_argument("config")
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--sweep", required=True)
    parser.add_argument("--launcher", default="mpirun")
    parser.add_argument("--placement", default="")
    args = parser.parse(arguments)
    return _run(args)


def _run(args: argparse.Namespace) -> int:
    try:
        values = json.loads(args.config)
        where = json.loads(args.placement) if args.placement else {}
    except ValueError as error:
        raise ConfigError(f"no configuration: {error}") from error
    config = parse(ProgramConfig, values)
    place = Placement(**where) if where else Placement(config.devices, config.devices)
    folder = args.results / args.sweep / config.run_id
    if is_complete(folder):
        print(f"complete already: {folder}")
        return 0
    return ProgramRun(config, folder, args.launcher, place).run()


if __name__ == "__main__":
    sys.exit(main())
