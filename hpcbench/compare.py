"""hpcbench compare OLD NEW [--threshold 5]: what became faster or slower, and surely so.

OLD and NEW are results folders, of one sweep each or, with --old and --new, of several. Each point
that both have is compared. The exit status says whether any became slower by more than the
threshold, so that a cluster's tests can gate on it.
"""

import argparse
import json
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from hpcbench.cli import Parser, reports_errors
from hpcbench.errors import ConfigError, EnvironmentLacks, HpcbenchError
from hpcbench.terminal import console

if TYPE_CHECKING:
    import pandas as pd

    from hpcbench.analysis.comparison import Comparison


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = "What became faster or slower, and surely so."
    parser.usage = "%(prog)s [options] OLD NEW\n       %(prog)s [options] --old A B C --new D E F"
    parser.epilog = (
        "exit status: 0 no point is slower by more than the threshold, 1 a point is, or all "
        "together are, 2 bad arguments, 3 it cannot be told: too few runs, no runs, no point in "
        "common, or a point of OLD that NEW lacks (unless --allow-missing), 4 a fault of this "
        "program"
    )
    parser.add_argument(
        "folders", type=Path, nargs="*", metavar="OLD NEW", help="results of one sweep each"
    )
    for side in ("old", "new"):
        parser.add_argument(
            f"--{side}",
            type=Path,
            nargs="+",
            default=[],
            metavar="DIR",
            help=f"results of several sweeps, a folder each, that {side.upper()} consists of",
        )
    parser.add_argument(
        "--threshold",
        type=float,
        default=5.0,
        metavar="PERCENT",
        help="slowdown that matters; default: 5",
    )
    parser.add_argument(
        "--across",
        action="append",
        default=[],
        metavar="COLUMN",
        help="compare points although OLD and NEW differ in this column, for example device_kind "
        "or xla",
    )
    parser.add_argument(
        "--allow-missing", action="store_true", help="points that only OLD has are no failure"
    )
    parser.add_argument("--json", action="store_true", help="for programs")


@reports_errors
def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status as the command's help lists them."""
    parser = Parser(prog="hpcbench compare")
    add_arguments(parser)
    try:
        return compare(parser.parse(arguments))
    except HpcbenchError:
        raise
    except Exception:
        # Python's own status for this is 1, which here means a slowdown.
        traceback.print_exc()
        return 4


def compare(args: argparse.Namespace) -> int:
    """Print the comparison; 1 if something is too slow, 0 if nothing is. Raises HpcbenchError."""
    if not 0 <= args.threshold < 100:
        raise ConfigError(f"--threshold {args.threshold}: a slowdown in percent, 0 to 100")
    folders = sides(args)
    from hpcbench.analysis.comparison import compared
    from hpcbench.analysis.load import check_settings
    from hpcbench.analysis.report.comparison import not_told
    from hpcbench.analysis.sides import across_unknown, check_distinct, read_side

    check_settings("--across", args.across)
    old, new = (
        read_side(of_side, name, args.across)
        for of_side, name in zip(folders, ("OLD", "NEW"), strict=True)
    )
    check_distinct(old, new)
    old, new, ignored = across_unknown(old, new)
    comparison = compared(old, new, args.threshold / 100)
    remarks = [*differences(comparison, old, new), *ignored]
    (print_json if args.json else print_words)(comparison, remarks)
    if comparison.slower:
        return 1
    if comparison.missing and not args.allow_missing:
        raise EnvironmentLacks("NEW lacks points of OLD; --allow-missing if that is by intent")
    if len(comparison.untold):
        raise EnvironmentLacks(not_told(comparison))
    return 0


def sides(args: argparse.Namespace) -> tuple[list[Path], list[Path]]:
    """The folders of OLD and of NEW; raises ConfigError where one has none."""
    if args.old or args.new:
        if args.folders or not (args.old and args.new):
            raise ConfigError("give OLD and NEW, or folders after both --old and --new")
        return args.old, args.new
    if len(args.folders) != 2:
        raise ConfigError(
            f"OLD and NEW are two folders, and {len(args.folders)} were given; several of each go "
            f"after --old and --new"
        )
    return args.folders[:1], args.folders[1:]


def differences(
    comparison: "Comparison", old: "pd.DataFrame", new: "pd.DataFrame"
) -> Iterator[str]:
    """In what else the sides differ: software, and points that only one has."""
    versions = [" | ".join(sorted(runs["software"].unique())) for runs in (old, new)]
    if versions[0] != versions[1]:
        yield f"software: {versions[0]} in OLD, {versions[1]} in NEW"
    for name, alone in (("OLD", comparison.missing), ("NEW", comparison.added)):
        if alone:
            yield f"only in {name}: {'; '.join(alone)}"


def print_words(comparison: "Comparison", remarks: Sequence[str]) -> None:
    """A table of points, one of what they use of the machine, and what else is to be said."""
    from hpcbench.analysis.report.comparison import HEADER, cells, sentences, usage_cells

    header, used = usage_cells(comparison)
    _print_table(HEADER, cells(comparison), names=2)
    if used:
        print()
        _print_table(header, used, names=1)
        print()
    for sentence in [*remarks, *sentences(comparison)]:
        print(sentence)


def _print_table(header: Sequence[str], rows: Sequence[Sequence[str]], names: int) -> None:
    """``names`` of the columns are words, the others numbers."""
    table = Table(box=None, pad_edge=False)
    for place, title in enumerate(header):
        table.add_column(title, justify="left" if place < names else "right")
    for row in rows:
        table.add_row(*row)
    console().print(table)


def print_json(comparison: "Comparison", remarks: Sequence[str]) -> None:
    """The same at full precision; what is missing or infinite is null."""
    from hpcbench.analysis.report.comparison import sentences
    from hpcbench.analysis.report.formats import plain

    whole: dict[str, Any] = asdict(comparison) | {
        "slower": comparison.slower,
        "points": comparison.points.to_dict("records"),
        "usage": comparison.usage.to_dict("records"),
        "sentences": [*remarks, *sentences(comparison)],
    }
    if comparison.common and not comparison.common.agree:
        whole["common"] |= dict.fromkeys(("change", "low", "high", "detectable"))
    print(json.dumps(plain(whole), indent=2, allow_nan=False))


if __name__ == "__main__":
    sys.exit(main())
