"""hpcbench watch: what runs measure while they do, in the terminal and as a page.

Follows all runs below RESULTS, on whatever nodes they are: how many have ended, the rate of those
under way, and each point's rate and parallel efficiency so far. Ends when all runs that were
submitted have ended, else with Ctrl-C.
"""

import argparse
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from hpcbench.analysis.reading import check_there
from hpcbench.cli import Parser, reports_errors
from hpcbench.errors import ConfigError, EnvironmentLacks
from hpcbench.records.folders import walk
from hpcbench.records.reader import read_results
from hpcbench.records.schema import STATUS_COMPLETE
from hpcbench.records.writer import ensure_writable
from hpcbench.sweeps.submission import FOLDER, read_submission
from hpcbench.terminal import console, warn

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from hpcbench.analysis.underway import RunsUnderWay
    from hpcbench.records.reader import Results

# A run whose file has been as it is for longer says so.
SILENT = 60.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = "Follow runs while they measure."
    parser.epilog = "exit status: 0 done, 2 bad arguments, 3 the page cannot be written"
    add = parser.add_argument
    add("results", nargs="?", type=Path, default=Path("results"))
    add("--seconds", type=float, default=10, help="between updates (default: %(default)s)")
    add("--page", type=Path, metavar="DIR", help="draw the report there, reloading itself")
    add("--once", action="store_true", help="look once and end")


@reports_errors
def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status as the command's help lists them."""
    parser = Parser(prog="hpcbench watch")
    add_arguments(parser)
    args = parser.parse(arguments)
    check_there(args.results)
    if not args.seconds > 0:
        raise ConfigError(f"--seconds {args.seconds:g} is not positive")
    if args.page:
        ensure_writable(args.page)
    try:
        _follow(args)
    except KeyboardInterrupt:
        print()
    return 0


def _follow(args: argparse.Namespace) -> None:
    from rich.live import Live

    from hpcbench.analysis.underway import look

    out = console()
    drawn = said = None
    # A file or a pipe gets what is new, below what was.
    in_place = Live(console=out, auto_refresh=False) if out.is_terminal else None
    with in_place or nullcontext():
        while True:
            progress, planned = look(args.results), planned_runs(args.results)
            left = planned - progress.ended.keys()
            over = bool(planned) and not left and not progress.under_way
            news = len(progress.ended), len(progress.under_way), len(left)
            if in_place:
                in_place.update(_shown(args.results, progress, left), refresh=True)
            elif news != said:
                out.print(_shown(args.results, progress, left))
            said = news
            if args.page and _complete(progress) and (len(progress.ended), over) != drawn:
                _draw(args, len(left), not over)
                drawn = len(progress.ended), over
            if over or args.once:
                return
            time.sleep(args.seconds)


def _complete(progress: "RunsUnderWay") -> bool:
    return STATUS_COMPLETE in progress.ended.values()


def planned_runs(results: Path) -> set[tuple[str, str]]:
    """The runs that submissions below ``results`` ask for, by sweep and run id."""
    found = set()
    for folder, files in walk(results):
        if folder.name != FOLDER:
            continue
        for name in files:
            if name.endswith(".json"):
                try:
                    submission = read_submission(folder / name)
                except ConfigError:
                    continue
                runs = (run for task in submission.tasks.values() for run in task)
                found |= {(submission.sweep, run.run_id) for run in runs}
    return found


def _shown(results: Path, progress: "RunsUnderWay", left: set[tuple[str, str]]) -> "Group":
    from rich.console import Group
    from rich.text import Text

    of_status = Counter(progress.ended.values())
    ended = [f"{number} {status}" for status, number in sorted(of_status.items())]
    to_come = len(left - {run.key for run in progress.under_way})
    counts = [
        *ended,
        f"{len(progress.under_way)} under way",
        *([f"{to_come} to come"] if to_come else []),
    ]
    head = f"{time.strftime('%H:%M:%S')} {', '.join(counts)}, below {results}"
    return Group(Text(head), *_tables(results, progress))


def _tables(results: Path, progress: "RunsUnderWay") -> "list[Table]":
    from rich.table import Table

    tables = []
    if progress.under_way:
        table = Table("under way", "devices", "repeat", "samples/s now", "")
        for run in progress.under_way:
            rate = "" if run.samples_per_second is None else f"{run.samples_per_second:,.0f}"
            silent = f"silent for {run.silent_seconds:.0f} s" if run.silent_seconds > SILENT else ""
            table.add_row(run.line, str(run.devices), str(run.repeat), rate, silent)
        tables.append(table)
    # What says that it is complete, and is not whole, is none.
    found = read_results(results) if _complete(progress) else None
    if found and found.runs:
        tables.append(_points(found))
    return tables


def _points(found: "Results") -> "Table":
    """Each point so far, of complete runs."""
    from rich.table import Table

    from hpcbench.analysis.answers import points_of
    from hpcbench.analysis.load import observe

    points, _ = points_of(found, observe(found))
    table = Table("so far", "devices", "runs", "samples/s", "efficiency")
    for point in points.sort_values(["line", "devices"]).to_dict("records"):
        table.add_row(
            str(point["line"]),
            str(point["devices"]),
            str(point["runs"]),
            f"{point['samples_per_second']:,.0f}",
            f"{point['efficiency']:.0%}",
        )
    return table


def _draw(args: argparse.Namespace, left: int, goes_on: bool) -> None:
    """In a process of its own, which may fail while runs are being written."""
    command = [sys.executable, "-m", "hpcbench.plot", str(args.results), f"--output={args.page}"]
    command += [f"--left={left}", *(["--reload"] if goes_on else [])]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr.strip() or "nothing").splitlines()[-1]
        if not goes_on:
            raise EnvironmentLacks(f"the page was not drawn: {said}")
        warn(f"no page yet: {said}")


if __name__ == "__main__":
    sys.exit(main())
