"""python analysis/plot_scaling.py [RESULTS] [options]: from runs to plots and a report.

Reads every run below RESULTS (default: results) and writes report.html, the figures as PNG and
SVG, and scaling.csv with the numbers behind them.
"""

import argparse
import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import style

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from hpcbench.errors import ConfigError, EnvironmentLacks, HpcbenchError
from observations import read_folder

if TYPE_CHECKING:
    from answers import Answers

FORMATS = ("html", "md", "json")
MOST_TIMES = 10_000


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="exit status: 0 done, 2 bad arguments, 3 nothing to plot, the output cannot be "
        "written, or --strict and something was left out",
    )
    add = parser.add_argument
    add("results", nargs="?", type=Path, default=Path("results"))
    add("--output", type=Path, default=Path("figures"), help="folder; default: figures")
    add("--format", choices=FORMATS, default="html",
        help="of the report; html has the figures in it; default: html")  # fmt: skip
    add("--target", type=float, metavar="ACCURACY",
        help="accuracy to time, 0 to 1; default: what all points reach")  # fmt: skip
    add("--price", type=float, metavar="X", help="of a device-hour, for the cost of a sample")
    add("--extrapolate", type=float, metavar="TIMES",
        help="how far to draw a law, in largest measured counts; default: 4")  # fmt: skip
    add("--allow-mixed", action="append", default=[], metavar="COLUMN",
        help="join points that differ in this column; can be given several times")  # fmt: skip
    add("--strict", action="store_true", help="status 3 if a run failed or a file was left out")
    return parser.parse_args()


def main() -> int:
    """Exit status as the module's help lists them."""
    given = arguments()
    try:
        results = read_folder(given.results)
        style.use()
        from answers import answer

        if given.extrapolate is not None and not 1 <= given.extrapolate <= MOST_TIMES:
            raise ConfigError(
                f"--extrapolate {given.extrapolate}: 1 to {MOST_TIMES}, in largest counts"
            )
        answers = answer(results, given.allow_mixed, given.target)
        for sentence in answers.doubts:
            print(f"warning: {sentence}", file=sys.stderr)
        for path in write(answers, given):
            print(path)
    except HpcbenchError as error:
        print(f"plot_scaling: {error}", file=sys.stderr)
        return error.exit_status
    if results.skipped:
        print(f"{len(results.skipped)} warnings: what they name is not in the figures",
              file=sys.stderr)  # fmt: skip
    return 3 if given.strict and results.skipped else 0


def write(answers: "Answers", given: argparse.Namespace) -> list[Path]:
    """Print the summary and write all files; their paths, the report first."""
    import report as reporting
    from figures import all_figures
    from laws import FARTHEST

    report = reporting.build(answers, given.price)
    drawings = all_figures(
        answers.points, answers.curves, answers.fits, given.extrapolate or FARTHEST
    )
    written = [given.output / f"report.{given.format}", given.output / "scaling.csv"]
    try:
        given.output.mkdir(parents=True, exist_ok=True)
        answers.every_point.to_csv(written[1], index=False)
        paths = [given.output / f"{name}.svg" for name in drawings]
        in_parallel(
            [partial(style.save, drawing.draw, path)
             for drawing, path in zip(drawings.values(), paths, strict=True)]
        )  # fmt: skip
        for (name, drawing), path in zip(drawings.items(), paths, strict=True):
            report.figures.append(
                reporting.inline(path.read_text(), name, drawing.title, drawing.description)
            )
            written += [path.with_suffix(".png"), path]
        written[0].write_text(reporting.FORMATS[given.format](report, answers))
    except OSError as error:
        raise EnvironmentLacks(f"{given.output} cannot be written: {error}") from error
    print(f"{len(answers.results.runs)} runs, {len(answers.points)} points")
    for sentence in [*report.summary, *reporting.predictions(answers.laws)]:
        print(sentence)
    return written


def in_parallel(tasks: Sequence[Callable[[], None]]) -> None:
    """Do ``tasks`` in forked processes, since drawing takes most of the time.

    Raises what the first that fails raises.
    """
    context = multiprocessing.get_context("fork")
    _forked[:] = tasks
    with ProcessPoolExecutor(min(len(tasks), os.cpu_count() or 1), context) as pool:
        list(pool.map(_do, range(len(tasks))))


# A fork finds the tasks here, since they cannot be pickled.
_forked: list[Callable[[], None]] = []


def _do(index: int) -> None:
    _forked[index]()


if __name__ == "__main__":
    sys.exit(main())
