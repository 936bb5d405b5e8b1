"""All figures that there are points for, by file name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from hpcbench.analysis.extrapolation import Extrapolation
from hpcbench.analysis.figures.accuracy import accuracy_figure
from hpcbench.analysis.figures.collectives import collectives_figure
from hpcbench.analysis.figures.laws import laws_figure
from hpcbench.analysis.figures.overview import overview_figure
from hpcbench.analysis.figures.panels import Key
from hpcbench.analysis.figures.roofline import roofline_figure
from hpcbench.analysis.figures.scaling import scaling_figure
from hpcbench.analysis.figures.step_time import step_figure
from hpcbench.analysis.load import SERIES
from hpcbench.analysis.machine import under_roofs
from hpcbench.analysis.step_time import timed_apart
from hpcbench.analysis.units import counted
from hpcbench.collective.rows import SINGLE
from hpcbench.words import MICROSECONDS


@dataclass(frozen=True)
class Drawing:
    """A figure to be drawn, with what it shows in words for who cannot see it."""

    title: str
    description: str
    draw: Callable[[], Figure]


def all_figures(
    table: pd.DataFrame,
    runs: pd.DataFrame,
    curves: pd.DataFrame,
    epochs: pd.DataFrame,
    extrapolations: Mapping[Key, Extrapolation],
    collectives: pd.DataFrame,
) -> dict[str, Drawing]:
    """Every figure that there are points for, by file name; ``runs`` as ``with_speedups`` gives,
    ``curves`` as ``accuracy_curves`` of ``epochs``, ``collectives`` as ``collective_points``."""
    runs_of = {tuple(key): of_series for key, of_series in runs.groupby(SERIES, sort=False)}
    things = counted(table)
    drawings = {
        "overview": Drawing(
            "Overview",
            "Throughput and parallel efficiency against the number of devices, one line per "
            "strategy, with 95 % intervals, one dot per run, and the ideal",
            lambda: overview_figure(table, runs_of),
        ),
        "throughput": Drawing(
            "Throughput",
            f"{things.capitalize()} per second against the number of devices, with 95 % intervals "
            "and one dot per run; dashed: each strategy's smallest count scaled ideally",
            lambda: scaling_figure(table, runs_of, "samples_per_second", f"throughput, {things}/s"),
        ),
        "speedup": Drawing(
            "Speedup",
            "Speedup over the base against the number of devices, with 95 % intervals and one dot "
            "per run",
            lambda: scaling_figure(table, runs_of, "speedup", "speedup over the base"),
        ),
        "efficiency": Drawing(
            "Parallel efficiency",
            "Speedup over its ideal, in percent, against the number of devices, with 95 % "
            "intervals and one dot per run",
            lambda: scaling_figure(table, runs_of, "efficiency", "parallel efficiency, %", 100.0),
        ),
    }
    if len(timed_apart(table)):
        drawings["step_time"] = Drawing(
            "Where a step's time goes",
            "Milliseconds per step by strategy and devices: compute as at the base, extra "
            "compute, slower input, background threads, contention between devices, waiting for "
            "other ranks, gradient exchange; the whole step with its 95 % interval and one dot per "
            "run",
            lambda: step_figure(table, runs_of),
        )
    roofed = under_roofs(table)
    if len(roofed):
        drawings["roofline"] = Drawing(
            "Roofline",
            "Operations a second of a device against operations per byte that a step moves at "
            "least, one mark per line at its smallest count, below the roof that bandwidth of "
            "memory and products of matrices set",
            lambda: roofline_figure(roofed),
        )
    if any(one.choice.best for one in extrapolations.values()):
        drawings["laws"] = Drawing(
            "Scaling laws",
            "Throughput against devices with the best-fitting scaling law, dashed beyond the "
            "largest measured count, and the band of all laws that the runs do not contradict",
            lambda: laws_figure(table, runs_of, extrapolations),
        )
    if len(curves):
        drawings["accuracy_epochs"] = Drawing(
            "Accuracy against epochs",
            "Test accuracy (or error) after each epoch, one line per strategy and device count, "
            "one dot per run",
            lambda: accuracy_figure(curves, epochs, "epoch", "epochs"),
        )
        drawings["accuracy_seconds"] = Drawing(
            "Accuracy against time",
            "Test accuracy (or error) against seconds of training, one line per strategy and "
            "device count, one dot per run",
            lambda: accuracy_figure(curves, epochs, "elapsed_seconds", "training seconds"),
        )
    return drawings | collective_figures(collectives)


def collective_figures(points: pd.DataFrame) -> dict[str, Drawing]:
    """Of ``collective_points``; none where no single buffers were exchanged."""
    if points.empty or not (points["form"] == SINGLE).any():
        return {}
    over = "median of the rounds of a launch, or of launches; bar: 95 % interval over these"
    return {
        "collectives_bandwidth": Drawing(
            "Bus bandwidth of collective operations",
            "Bytes per second that each link carries at least, against the size of the buffer, one "
            "line per library",
            lambda: collectives_figure(
                points, "bus_bandwidth", "bus bandwidth, bytes/s", 1.0, over
            ),
        ),
        "collectives_time": Drawing(
            "Time of collective operations",
            "Microseconds of an operation by the slowest rank, against the size of the buffer, one "
            "line per library",
            lambda: collectives_figure(points, "seconds", f"time, {MICROSECONDS}", 1e6, over),
        ),
    }
