"""Collective operations in tables and lines."""

from collections.abc import Iterator

import pandas as pd

from hpcbench.analysis.collectives import Collectives
from hpcbench.analysis.load import Row
from hpcbench.analysis.report.cells import Cell, Table, between, number, text
from hpcbench.collective.rows import SINGLE
from hpcbench.words import MICROSECONDS, count

# What tells lines apart, beside the operation.
LINE_HEADER = ("library", "ranks", "nodes", "device")
UNITS = (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))


def in_bytes(size: int) -> str:
    """A size in the largest unit that divides it: 4 MiB; 10 B."""
    return next((f"{size // unit} {name}" for name, unit in UNITS if size % unit == 0), f"{size} B")


def collectives_tables(measured: Collectives) -> list[Table]:
    """None where nothing was measured."""
    points, fits = measured.points, measured.fits
    if points.empty:
        return []
    single, models = (points[points["form"] == SINGLE], points[points["form"] != SINGLE])
    tables = []
    if len(fits):
        tables.append(_fits(fits))
    if len(models):
        tables.append(_models(models))
    if len(single):
        tables.append(_sizes(single))
    return tables


def _of_line(row: Row) -> list[Cell]:
    nodes = row["nodes"] or "–"
    return [
        text(row["library"]),
        Cell(str(row["ranks"]), row["ranks"]),
        Cell(str(nodes), row["nodes"]),
        text(row["device_kind"] or "–"),
    ]


def _time(row: Row) -> Cell:
    return between(row, "seconds", lambda seconds: number(1e6 * seconds))


def _bandwidth(row: Row, name: str = "bus_bandwidth") -> Cell:
    return between(row, name, lambda rate: number(rate / 1e9))


def _sizes(single: pd.DataFrame) -> Table:
    return Table(
        "collectives",
        "Collective operations",
        "Microseconds of an operation by the slowest rank, and gigabytes a second by nccl-tests' "
        "definitions: the buffer over the time, and what that makes each link carry at least. "
        "Medians with 95 % bootstrap intervals over launches; over the rounds of a launch where "
        "there is only one, which say nothing of the next; none from fewer than six.",
        [
            "operation",
            *LINE_HEADER,
            "buffer",
            f"time, {MICROSECONDS}",
            "algorithm, GB/s",
            "bus, GB/s",
            "n",
        ],
        [
            [
                text(row["operation"]),
                *_of_line(row),
                Cell(in_bytes(row["bytes"]), row["bytes"]),
                _time(row),
                Cell(number(row["algorithm_bandwidth"] / 1e9), row["algorithm_bandwidth"]),
                _bandwidth(row),
                _count(row),
            ]
            for row in single.to_dict("records")
        ],
    )


def _count(row: Row) -> Cell:
    several = row["launches"] > 1
    words = f"{row['launches']} launches" if several else count(row["rounds"], "round")
    return Cell(words, row["launches"])


def _models(models: pd.DataFrame) -> Table:
    return Table(
        "gradients",
        "All-reduce of models' gradients",
        "Microseconds to sum all gradients of a model, as they are for one step: packed into one "
        "buffer (flat), handed over together (grouped) or each by itself.",
        [
            "model",
            *LINE_HEADER,
            "form",
            "tensors",
            "bytes",
            f"time, {MICROSECONDS}",
            "bus, GB/s",
            "n",
        ],
        [
            [
                text(row["model"]),
                *_of_line(row),
                text(row["form"]),
                Cell(str(row["tensors"]), row["tensors"]),
                Cell(in_bytes(row["bytes"]), row["bytes"]),
                _time(row),
                _bandwidth(row),
                _count(row),
            ]
            for row in models.to_dict("records")
        ],
    )


def _fits(fits: pd.DataFrame) -> Table:
    return Table(
        "alpha-beta",
        "Latency and bandwidth of collective operations",
        "Time = latency + bytes / bandwidth, fitted to all sizes with the same relative weight; "
        "the intervals hold how badly a line fits, which the misfit says too. Ring and tree: what "
        "one message would cost and one link carry, if the operation went around a ring or up and "
        "down a binomial tree; one number of ranks does not tell which it is.",
        [
            *("operation", *LINE_HEADER, f"latency, {MICROSECONDS}", "bandwidth, GB/s", "misfit"),
            *(
                f"ring: {MICROSECONDS} a message",
                "GB/s a link",
                f"tree: {MICROSECONDS} a message",
                "GB/s a link",
            ),
        ],
        [
            [
                text(row["operation"]),
                *_of_line(row),
                between(row, "latency", lambda seconds: number(1e6 * seconds)),
                between(row, "bandwidth", lambda rate: number(rate / 1e9)),
                Cell(f"{100 * row['misfit']:.0f} %", row["misfit"]),
                *(
                    Cell(number(factor * row.get(name, float("nan"))), row.get(name))
                    for name, factor in (
                        ("ring_latency", 1e6),
                        ("ring_bandwidth", 1e-9),
                        ("tree_latency", 1e6),
                        ("tree_bandwidth", 1e-9),
                    )
                ),
            ]
            for row in fits.to_dict("records")
        ],
    )


def in_lines(points: pd.DataFrame) -> Iterator[str]:
    """A line for each operation of a library, by its smallest and its fastest buffer, and one for
    each way to sum a model's gradients."""
    single, models = (points[points["form"] == SINGLE], points[points["form"] != SINGLE])
    for (library, operation, ranks), sizes in single.groupby(["library", "operation", "ranks"]):
        least = sizes.sort_values("bytes").to_dict("records")[0]
        best = sizes.sort_values("bus_bandwidth").to_dict("records")[-1]
        yield (
            f"{library} {operation} on {ranks} ranks: {in_bytes(least['bytes'])} in "
            f"{_time(least).text} {MICROSECONDS}; at most {_bandwidth(best).text} GB/s of bus "
            f"bandwidth, at {in_bytes(best['bytes'])}"
        )
    for row in models.to_dict("records"):
        yield (
            f"{row['library']} {row['form']}: {row['model']}'s {row['tensors']} gradients, "
            f"{in_bytes(row['bytes'])}, in {_time(row).text} {MICROSECONDS}"
        )
