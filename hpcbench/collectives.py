"""hpcbench collectives: how fast ranks exchange bytes while nothing trains.

Starts under any launcher, as mpirun -np 4 hpcbench collectives. Rank 0 writes collectives.csv and
prints what the bandwidths are; hpcbench plot draws them.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from hpcbench.cli import Parser, add_flags, values_of
from hpcbench.cluster.launchers import detect
from hpcbench.collective import OPERATIONS
from hpcbench.collective.config import ALL, CollectivesConfig
from hpcbench.collective.libraries import LIBRARIES
from hpcbench.collective.session import check, run
from hpcbench.errors import HpcbenchError
from hpcbench.models import MODELS
from hpcbench.packages import named
from hpcbench.runs.ending import as_rank, refuse
from hpcbench.validation import parse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = "How fast ranks exchange bytes while nothing trains."
    parser.epilog = (
        "exit status: 0 done, 2 bad arguments, 3 the environment lacks something, 4 an exchange "
        "failed or gave a wrong result"
    )
    add_flags(
        parser,
        CollectivesConfig,
        through=f"{ALL}|" + "|".join(LIBRARIES.names()),
        operations=f"{ALL}|" + "|".join(OPERATIONS),
        models="|".join(MODELS.names()),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status as the command's help lists them."""
    try:
        parser = Parser(prog="hpcbench collectives")
        add_arguments(parser)
        config = parse(CollectivesConfig, values_of(parser.parse(arguments), CollectivesConfig))
        launch = detect(os.environ)
        kinds = check(config, launch)
    except HpcbenchError as error:
        return refuse(error)

    def work() -> None:
        with named():
            folder = run(config, launch, kinds)
        if folder:
            _tell(folder)

    return as_rank(launch, work)


def _tell(folder: Path) -> None:
    """Print what was measured."""
    from hpcbench.analysis.collectives import collective_points
    from hpcbench.analysis.report.collectives import in_lines
    from hpcbench.collective.rows import read_collectives

    for line in in_lines(collective_points(read_collectives(folder).rows)):
        print(line)
    print(folder)


if __name__ == "__main__":
    sys.exit(main())
