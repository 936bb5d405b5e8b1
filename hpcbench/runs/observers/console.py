"""What a person sees of a run: progress while it goes on, and a table when it is over."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from hpcbench.cluster.launchers import detect
from hpcbench.records.identity import NONE, Identity
from hpcbench.records.observer import Observer
from hpcbench.records.schema import (
    LEAST_COUNTED_SECONDS,
    AccuracyRow,
    EnergyRow,
    Row,
    ThroughputRow,
)
from hpcbench.terminal import console
from hpcbench.words import count, significant

RESAMPLES = 2000


def _on_terminal() -> bool:
    """Whether a person watches: mpirun gives its ranks a terminal even where it has none."""
    if not sys.stdout.isatty():
        return False
    if detect(os.environ).launcher == "none":
        return True
    try:
        return os.readlink(f"/proc/{os.getppid()}/fd/1").startswith(("/dev/pts/", "/dev/tty"))
    except OSError:
        return False


class TrainingProgress(Observer):
    """A bar of intervals on a terminal; a line an epoch, of ``epochs``, anywhere else."""

    def __init__(self, epochs: int) -> None:
        self._epochs = epochs
        self._bar: Progress | None = None

    def start(self, intervals: int, steps: int) -> None:
        if not _on_terminal():
            return
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        self._task = self._bar.add_task("training", total=intervals)
        self._bar.start()

    def interval(self, row: ThroughputRow) -> None:
        if self._bar:
            rate = f"{row.samples_per_second:,.0f} samples/s"
            self._bar.update(self._task, advance=1, description=rate)

    def epoch(self, row: AccuracyRow) -> None:
        line = (
            f"epoch {row.epoch}/{self._epochs}  loss {row.train_loss:.4f}  "
            f"test {row.metric.replace('_', ' ')} {row.test_metric:.4f}  {row.train_seconds:.2f} s"
        )
        if self._bar:
            self._bar.console.print(line)
        else:
            print(line, flush=True)

    def stop(self, samples: int) -> None:
        if self._bar:
            self._bar.stop()


def rate_interval(rows: Sequence[ThroughputRow]) -> tuple[float, float, float]:
    """Samples a second over all ``rows``, and how far it is spread within this one run: the central
    95 % of its values when the timed intervals are resampled.

    The rate is all samples over all seconds (never a mean of rates). The spread does not cover what
    differs from run to run, so it is no interval of the rate of such runs.
    """
    samples = np.array([row.samples for row in rows], float)
    seconds = np.array([row.seconds for row in rows], float)
    rate = samples.sum() / seconds.sum()
    if len(rows) < 2:
        return rate, rate, rate
    # The percentile bootstrap (Efron and Tibshirani 1993, section 13.3), a resample at a time so
    # that long runs fit; scipy's takes a second and more to import, for which every run would wait.
    generator = np.random.default_rng(0)
    rates = np.empty(RESAMPLES)
    for number in range(RESAMPLES):
        drawn = generator.integers(len(rows), size=len(rows))
        rates[number] = samples[drawn].sum() / seconds[drawn].sum()
    low, high = np.quantile(rates, (0.025, 0.975))
    return rate, float(low), float(high)


def summary(
    identity: Identity, every_row: Sequence[Row], startup_seconds: float, folder: Path
) -> None:
    """Print the table that ends a run, from its rows of all kinds."""
    rows = [row for row in every_row if isinstance(row, ThroughputRow)]
    accuracy = [row for row in every_row if isinstance(row, AccuracyRow)]
    rate, low, high = rate_interval(rows)
    step = sum(row.seconds for row in rows) / sum(row.steps for row in rows)
    within = (
        f"[{low:,.0f}, {high:,.0f}] within this run ({len(rows)} intervals); runs differ by more"
        if len(rows) > 1
        else "(one interval)"
    )
    exchange = "no exchange" if identity.exchange == NONE else f"{identity.exchange} exchange"
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in (
        ("model", f"{identity.model} on {identity.dataset}"),
        ("strategy", f"{identity.strategy}, {exchange}"),
        ("devices", f"{identity.devices} × {identity.device_kind}"),
        ("batch", f"{identity.batch_per_device} per device, {identity.global_batch} in all"),
        (
            "rate",
            f"{rate:,.0f} samples/s  {within}",
        ),
        ("step time", f"{step * 1e3:,.3f} ms"),
        *(
            (
                f"test {last.metric.replace('_', ' ')}",
                f"{last.test_metric:.4f} after {count(last.epoch, 'epoch')} and "
                f"{last.elapsed_seconds:,.1f} s of training",
            )
            for last in accuracy[-1:]
        ),
        *_energy([row for row in every_row if isinstance(row, EnergyRow)]),
        ("start-up", f"{startup_seconds:,.1f} s to the first measured step"),
        ("files", str(folder)),
    ):
        table.add_row(name, value)
    console(watched=_on_terminal()).print(table)


def _energy(rows: Sequence[EnergyRow]) -> list[tuple[str, str]]:
    """The table's line where energy was counted."""
    if not rows:
        return []
    joules, seconds = sum(row.joules for row in rows), sum(row.seconds for row in rows)
    if seconds < LEAST_COUNTED_SECONDS:
        return [("energy", f"{seconds:.2f} s are too short to tell")]
    watts = joules / seconds
    samples = sum(row.samples for row in rows)
    counted = count(rows[0].counters, rows[0].counted.removesuffix("s"))
    rate, power = significant(samples / joules, 4), significant(watts, 4)
    return [("energy", f"{rate} samples/J, {power} W of {counted}")]
