"""hpcbench plot: from runs to plots and a report.

Reads every run below RESULTS (default: results) and writes report.html, the figures as PNG and
SVG, and scaling.csv with the numbers behind them.
"""

import argparse
import gc
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hpcbench.cli import Parser, reports_errors
from hpcbench.errors import ConfigError, EnvironmentLacks
from hpcbench.words import count

if TYPE_CHECKING:
    import pandas as pd

    from hpcbench.analysis.answers import Answers
    from hpcbench.analysis.collectives import Collectives
    from hpcbench.analysis.figures.every import Drawing
    from hpcbench.analysis.report.contents import Report

FORMATS = ("html", "md", "json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = "From runs to plots and a report."
    parser.epilog = (
        "exit status: 0 done, 2 bad arguments, 3 nothing to plot, the output cannot be written, or "
        "--strict and something was left out"
    )
    add = parser.add_argument
    add("results", nargs="?", type=Path, default=Path("results"))
    add("--output", type=Path, default=Path("figures"), help="folder; default: figures")
    add(
        "--format",
        choices=FORMATS,
        default="html",
        help="of the report; html has the figures in it; default: html",
    )
    add(
        "--target",
        type=float,
        metavar="ACCURACY",
        help="accuracy to time, 0 to 1; default: what all points reach",
    )
    add(
        "--margin",
        type=float,
        metavar="PERCENT",
        help="loss of the final test metric that would not matter, in percent of the smallest "
        "count's; default: 1",
    )
    add("--price", type=float, metavar="X", help="of a device-hour, for the cost of a sample")
    add(
        "--extrapolate",
        type=float,
        metavar="TIMES",
        help="how far to draw a law at most, as a multiple of the largest measured count: 1 to 4; "
        "default: 4",
    )
    add(
        "--allow-mixed",
        action="append",
        default=[],
        metavar="COLUMN",
        help="join points that differ in this column; can be given several times",
    )
    add(
        "--left",
        type=int,
        default=0,
        metavar="RUNS",
        help="how many runs of the sweep are still missing, which the report says",
    )
    add("--reload", action="store_true", help="have the page reload itself: its sweep goes on")
    add("--strict", action="store_true", help="status 3 if a run failed or a file was left out")


@reports_errors
def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status as the command's help lists them."""
    parser = Parser(prog="hpcbench plot")
    add_arguments(parser)
    args = parser.parse(arguments)
    # What a report makes is needed to its end: looking for garbage takes a tenth of its time.
    gc.disable()
    try:
        return plot(args)
    finally:
        gc.enable()


def plot(args: argparse.Namespace) -> int:
    """Read, answer, draw; raises HpcbenchError."""
    from hpcbench.analysis.reading import begin_to_read

    # It takes about as long as what is imported here meanwhile.
    read = begin_to_read(args.results)
    from hpcbench.analysis.answers import answer
    from hpcbench.analysis.collectives import Collectives
    from hpcbench.analysis.extrapolation import FARTHEST
    from hpcbench.analysis.figures import every  # noqa: F401  (drawn with afterwards)
    from hpcbench.analysis.loss import MARGIN

    farthest = FARTHEST if args.extrapolate is None else args.extrapolate
    if not 1 <= farthest <= FARTHEST:
        raise ConfigError(
            f"--extrapolate {farthest:g}: 1 to {FARTHEST:g} times the largest count, since bands "
            f"farther out were never tested"
        )
    margin = MARGIN if args.margin is None else args.margin / 100
    if not 0 < margin < 1:
        raise ConfigError(
            f"--margin {args.margin:g}: above 0 and below 100 percent, since no number of runs "
            f"shows that nothing at all is lost"
        )
    collectives = Collectives.below(args.results)
    for reason in collectives.skipped:
        print(f"warning: left out {reason}", file=sys.stderr)
    try:
        results = read()
    except EnvironmentLacks:
        if collectives.points.empty:
            raise
        for path in write_collectives(collectives, args):
            print(path)
        return EnvironmentLacks.exit_status if args.strict and collectives.skipped else 0
    answers = answer(
        results, args.allow_mixed, args.target, farthest, margin, collectives, args.left
    )
    for path in write(answers, args):
        print(path)
    skipped = len(results.skipped) + len(collectives.skipped)
    if skipped:
        print(
            f"{count(skipped, 'warning')}: what was left out is not in the figures", file=sys.stderr
        )
    return EnvironmentLacks.exit_status if args.strict and skipped else 0


def write(answers: "Answers", args: argparse.Namespace) -> list[Path]:
    """Print cautions and summary, and write all files; their paths, the report first."""
    from hpcbench.analysis.figures.every import all_figures
    from hpcbench.analysis.report.contents import build
    from hpcbench.analysis.report.laws import sentences

    drawings = all_figures(
        answers.points,
        answers.runs,
        answers.curves,
        answers.observed.epochs,
        answers.extrapolations,
        answers.collectives.points,
    )
    drawn = _begin_to_draw(drawings, args.output)
    for sentence in [*answers.cautions, *answers.observed.apart]:
        print(f"warning: {sentence}", file=sys.stderr)
    report = replace(build(answers, args.price), reload=args.reload)
    written = _save(report, drawings, drawn, {"scaling.csv": answers.every_point}, args)
    runs, points = len(answers.results.runs), len(answers.points)
    print(f"{count(runs, 'run')}, {count(points, 'point')}")
    for sentence in [*report.summary, *sentences(answers.laws)]:
        print(sentence)
    return written


def write_collectives(measured: "Collectives", args: argparse.Namespace) -> list[Path]:
    """As :func:`write`, of a folder without runs of training."""
    from hpcbench.analysis.figures.every import collective_figures
    from hpcbench.analysis.report.contents import build_of_collectives

    drawings = collective_figures(measured.points)
    drawn = _begin_to_draw(drawings, args.output)
    report = build_of_collectives(measured, args.results.name or str(args.results))
    written = _save(report, drawings, drawn, {"collectives.csv": measured.points}, args)
    for sentence in report.summary:
        print(sentence)
    return written


def _begin_to_draw(
    drawings: "Mapping[str, Drawing]", output: Path
) -> "Callable[[], Sequence[Path]]":
    """Draw into ``output``, other processes doing so; returns what gives the paths."""
    from hpcbench.analysis.figures import style
    from hpcbench.analysis.figures.files import begin_to_save

    style.use()
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentLacks(f"{output} cannot be written: {error}") from error
    return begin_to_save({name: drawing.draw for name, drawing in drawings.items()}, output)


def _save(
    report: "Report",
    drawings: "Mapping[str, Drawing]",
    drawn: "Callable[[], Sequence[Path]]",
    tables: "Mapping[str, pd.DataFrame]",
    args: argparse.Namespace,
) -> list[Path]:
    """Write the report, ``tables`` by file name, and the figures; their paths."""
    from hpcbench.analysis.report.formats import AS, inline

    written = [args.output / f"report.{args.format}", *(args.output / name for name in tables)]
    try:
        for name, table in tables.items():
            table.to_csv(args.output / name, index=False)
        for (name, drawing), path in zip(drawings.items(), drawn(), strict=True):
            svg = inline(path.read_text(), name, drawing.title, drawing.description)
            report.figures.append(svg)
            written += [path.with_suffix(".png"), path]
        written[0].write_text(AS[args.format](report))
    except OSError as error:
        raise EnvironmentLacks(f"{args.output} cannot be written: {error}") from error
    return written


if __name__ == "__main__":
    sys.exit(main())
