"""All figures that there are points for, by file name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from hpcbench.analysis.extrapolation import Extrapolation
from hpcbench.analysis.figures.accuracy import accuracy_figure
from hpcbench.analysis.figures.laws import laws_figure
from hpcbench.analysis.figures.overview import overview_figure
from hpcbench.analysis.figures.panels import Key
from hpcbench.analysis.figures.scaling import scaling_figure
from hpcbench.analysis.figures.step_time import step_figure
from hpcbench.analysis.step_time import timed_apart


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
    extrapolations: Mapping[Key, Extrapolation],
) -> dict[str, Drawing]:
    """Every figure that there are points for, by file name; ``runs`` as ``with_speedups`` gives."""
    drawings = {
        "overview": Drawing(
            "Overview",
            "Throughput and parallel efficiency against the number of devices, a line a strategy, "
            "with 95 % intervals, a dot a run, and the ideal",
            lambda: overview_figure(table, runs),
        ),
        "throughput": Drawing(
            "Throughput",
            "Samples a second against the number of devices, with 95 % intervals and a dot a run; "
            "dashed: each strategy's smallest count scaled ideally",
            lambda: scaling_figure(table, runs, "samples_per_second", "throughput, samples/s"),
        ),
        "speedup": Drawing(
            "Speedup",
            "Speedup over the base against the number of devices, with 95 % intervals and a dot a "
            "run",
            lambda: scaling_figure(table, runs, "speedup", "speedup over the base"),
        ),
        "efficiency": Drawing(
            "Parallel efficiency",
            "Speedup over its ideal, in percent, against the number of devices, with 95 % "
            "intervals and a dot a run",
            lambda: scaling_figure(table, runs, "efficiency", "parallel efficiency, %", 100.0),
        ),
    }
    if len(timed_apart(table)):
        drawings["step_time"] = Drawing(
            "Where a step's time goes",
            "Milliseconds of a step by strategy and devices: compute as on the base, extra "
            "compute time, waiting for the slowest rank, gradient exchange; the whole step with "
            "its 95 % interval and a dot a run",
            lambda: step_figure(table, runs),
        )
    if any(one.choice.best for one in extrapolations.values()):
        drawings["laws"] = Drawing(
            "Scaling laws",
            "Throughput against devices with the best-fitting scaling law, dashed beyond the "
            "largest measured count, and the band of all laws that the runs do not contradict",
            lambda: laws_figure(table, runs, extrapolations),
        )
    if len(curves):
        drawings["accuracy_epochs"] = Drawing(
            "Accuracy against epochs",
            "Test accuracy (or error) after each epoch, a line a strategy and device count",
            lambda: accuracy_figure(curves, "epoch", "epochs"),
        )
        drawings["accuracy_seconds"] = Drawing(
            "Accuracy against time",
            "Test accuracy (or error) against seconds of training, a line a strategy and count",
            lambda: accuracy_figure(curves, "elapsed_seconds", "training seconds"),
        )
    return drawings
