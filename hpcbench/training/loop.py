"""One run from first step to last: warm-up, timed intervals, an evaluation after each epoch."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import zip_longest
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hpcbench.datasets.sharding import contiguous_share, epoch_order, full_steps, remainder_step
from hpcbench.devices.background import BackgroundThreads
from hpcbench.devices.counters import GPUS
from hpcbench.devices.meter import READINGS, Meter
from hpcbench.errors import Diverged, Preempted
from hpcbench.frameworks import FRAMEWORKS
from hpcbench.frameworks.backend import Workload, evaluation_batch
from hpcbench.records.schema import (
    PHASE_TRAIN,
    AccuracyRow,
    EnergyRow,
    RankTimes,
    Row,
    ThroughputRow,
)
from hpcbench.training.beside import LENGTH, Beside, Rounds
from hpcbench.training.checkpoint import Progress, load, read_progress
from hpcbench.training.clock import Clock, Timing
from hpcbench.training.learning_rate import rates
from hpcbench.training.warmup import WarmUp, until_steady

PROFILED_STEPS = 20
NOTHING_BESIDE = Beside()
# An interval's own costs, its barrier and the drawing of an epoch's order, take some milliseconds:
# less than one per cent of this.
INTERVAL_SECONDS = 0.5
# Of a run that is measured for some seconds.
FEWEST_INTERVALS = 10

# Sample indices of whole steps, (steps, replicas, batch), and of each replica in the shorter one.
Shares = tuple[NDArray[np.int32], list[NDArray[np.int32]]]


def steps_of_interval(step_seconds: float, full_steps: int) -> int:
    """How many steps make an interval of about INTERVAL_SECONDS: an equal part of an epoch's
    ``full_steps``, or those of several epochs where one takes less time."""
    epochs = INTERVAL_SECONDS / (full_steps * step_seconds)
    if epochs < 1:
        return math.ceil(full_steps / min(round(1 / epochs), full_steps))
    return full_steps * round(epochs)


@dataclass(frozen=True)
class Part:
    """What an interval has of one epoch: whole ``steps`` from the epoch's ``first`` on, then, if
    ``with_rest``, the shorter one of what remains; ``step`` counts from training's beginning."""

    epoch: int
    first: int
    steps: int
    with_rest: bool
    step: int


class Training:
    """A workload, ready to train; ``stop_requested`` is asked after an interval.

    ``meter`` counts this process's part of the energy; ``beside`` says what several devices time
    between intervals.
    """

    def __init__(
        self,
        workload: Workload,
        stop_requested: Callable[[], bool] = lambda: False,
        meter: Meter | None = None,
        beside: Beside = NOTHING_BESIDE,
    ) -> None:
        self._workload = workload
        self._config, self._schedule = workload.config, workload.schedule
        self._strategy = workload.strategy
        self._tested = len(workload.data.test_targets)
        self._stop_requested = stop_requested
        self._meter = meter or Meter("", [])
        self._background = beside.background if beside.rounds else BackgroundThreads()
        self._clock = Clock(self._strategy.all_gather, self._background)
        start = time.perf_counter()
        self.warmed_up = WarmUp(0, math.nan, steady=False)
        # Of its whole steps; what remains of an epoch goes with those before it.
        self.interval_steps = self._schedule.full_steps
        self.backend = FRAMEWORKS[workload.config.framework].backend(workload)
        self._building_seconds = time.perf_counter() - start
        # Of the epoch that was worked on last.
        self._shares: tuple[int, Shares] | None = None
        self._beside = beside
        self._rounds: Rounds | None = None
        self._evaluation_batch = evaluation_batch(workload.spec.largest_shape)
        if beside.rounds:
            world = self._strategy.world_size, self._strategy.processes
            first = beside.first_of_host
            self._rounds = Rounds(self.backend, self._clock, *world, first, workload.seed)

    def resume(self, checkpoint: Path | None) -> Progress:
        """Go on from rank 0's checkpoint, of which all ranks get the state; None on the others, and
        where there is none. DataError where it is corrupt or another run's."""
        progress = Progress()
        if checkpoint:
            progress = read_progress(checkpoint)
            load(checkpoint, self.backend)
        numbers = progress.numbers()
        # All ranks send as many numbers, whether they read it or not.
        most = len(Progress().numbers()) + 1 + self.backend.metric_sums
        told = self._strategy.all_gather(numbers + [0.0] * (most - len(numbers)))
        self.backend.broadcast_state()
        return Progress.of(told[0].tolist())

    def intervals_after(self, progress: Progress) -> int:
        """How many timed intervals are left, once warmed up."""
        full_steps = self._schedule.full_steps
        behind = len(range(0, self._steps_of_epoch(progress), self.interval_steps))
        per_epoch = len(range(0, full_steps, self.interval_steps))
        of_epochs = (self._schedule.epochs - progress.epochs) * per_epoch - behind
        if self._config.seconds is None:
            return of_epochs
        missing = self._config.seconds - progress.elapsed_seconds
        of_seconds = math.ceil(missing / (self.interval_steps * self.warmed_up.step_seconds))
        return max(of_epochs, of_seconds, FEWEST_INTERVALS - progress.throughput_rows)

    def _measured_enough(self, progress: Progress) -> bool:
        """Whether the seconds that were asked for, if any, are behind; the same on all ranks."""
        return self._config.seconds is None or (
            progress.elapsed_seconds >= self._config.seconds
            and progress.throughput_rows >= FEWEST_INTERVALS
        )

    def warm_up(self) -> float:
        """Compile and exchange with every function and take steps until they are steady, then undo
        what that changed; settles how many steps an interval has.

        Returns the seconds that building, tracing and this took.
        """
        start = time.perf_counter()
        with self.backend.put_back():
            self._settle()
        self._strategy.all_gather([0.0])
        return self._building_seconds + time.perf_counter() - start

    def _settle(self) -> None:
        order, rest = self._epoch_shares(0)

        def seconds_of(steps: int) -> float:
            rows, rates_of_rows = np.resize(order, (steps, *order.shape[1:])), self._rates(0, steps)
            return self._clock.time(lambda: self._untold(rows, rates_of_rows))[0].slowest

        self.warmed_up = until_steady(seconds_of, self._config.warmup_steps)
        fitting = steps_of_interval(self.warmed_up.step_seconds, self._schedule.full_steps)
        self.interval_steps = self._config.interval_steps or fitting
        if rest:
            self.backend.partial_step(rest, self._rates(0, 1), self._schedule.remainder)
        if self._rounds:
            self._rounds.warm_up(order[:1], self._rates(0, 1))
        self.backend.average_batch_norm_state()
        if self._schedule.epochs:
            self._evaluate(self._evaluation_batch)
        self._background.find()

    def _untold(self, rows: NDArray[np.int32], rates_of_rows: NDArray[np.float64]) -> list[float]:
        """Steps of which only their time matters."""
        self.backend.steps(rows, rates_of_rows)
        return []

    def _steps_of_epoch(self, progress: Progress) -> int:
        """How many steps of the epoch under way are behind."""
        return progress.steps - progress.epochs * self._schedule.steps_per_epoch

    def run(self, progress: Progress) -> Iterator[tuple[Row, Progress]]:
        """Train what ``progress`` leaves; yields each row as it is measured.

        Raises Diverged if a loss is not finite, on all ranks alike, and Preempted after the
        interval in which any rank was asked to stop.
        """
        intervals = self.intervals_after(Progress())
        rounds = self._beside.after(intervals, self._strategy.world_size)
        epochs = self._schedule.epochs
        while progress.epochs < epochs or not self._measured_enough(progress):
            evaluated = progress.epochs < epochs
            for rows, behind, stop in self._intervals(progress, evaluated):
                progress = behind
                for row in rows:
                    yield row, progress
                for times in self._beside_training(rounds, progress) if not stop else ():
                    yield times, progress
                if stop:
                    # What rank 0 saves must hold for all.
                    self.backend.average_batch_norm_state()
                    raise Preempted(f"stopped by a signal after {progress.steps} steps")
                if not evaluated and self._measured_enough(progress):
                    self.backend.average_batch_norm_state()
                    return
            evaluation = self._end_of_epoch(progress)
            progress = Progress(
                epochs=progress.epochs + 1,
                steps=progress.steps,
                elapsed_seconds=progress.elapsed_seconds,
                throughput_rows=progress.throughput_rows,
                accuracy_rows=progress.accuracy_rows + 1,
            )
            yield evaluation, progress
            if evaluation.reaches(self._config.target):
                epochs = progress.epochs

    def _end_of_epoch(self, progress: Progress) -> AccuracyRow:
        """Evaluate after an epoch's last interval; raises Diverged."""
        timing, of_ranks = self._clock.time(self._averaged_and_evaluated)
        sums, test_sums = np.array(progress.sums), of_ranks[0]
        if not math.isfinite(test_sums[0]):
            # Rectifiers can keep the training loss finite when weights no longer are.
            raise Diverged(
                f"the test loss is {test_sums[0]} after epoch {progress.epochs + 1}; lower "
                f"--learning-rate or lengthen --warmup-epochs"
            )
        samples = self._schedule.samples
        return AccuracyRow(
            epoch=progress.epochs + 1,
            learning_rate=float(self._rates(progress.steps - 1, 1)[0]),
            train_loss=sums[0] / samples,
            train_metric=self.backend.metric_value(sums[1:], samples),
            test_loss=test_sums[0] / self._tested,
            test_metric=self.backend.metric_value(test_sums[1:], self._tested),
            metric=self.backend.metric,
            train_seconds=progress.epoch_seconds,
            elapsed_seconds=progress.elapsed_seconds,
            evaluation_seconds=timing.slowest,
        )

    def unmeasured_steps(self) -> None:
        """A few steps more, for a profile; the weights go on, so they are to be kept before."""
        order, _ = self._epoch_shares(0)
        self.backend.steps(order[:PROFILED_STEPS], self._rates(0, len(order[:PROFILED_STEPS])))

    def _beside_training(
        self, rounds: Mapping[int, int], progress: Progress
    ) -> Iterator[RankTimes]:
        """The rounds after the interval behind."""
        interval = progress.throughput_rows - 1
        if not self._rounds or not rounds.get(interval):
            return
        order, _ = self._epoch_shares(progress.epochs)
        rates_of_rows = self._rates(progress.steps, math.ceil(self.interval_steps * LENGTH))
        seconds = self.warmed_up.step_seconds
        for number in range(rounds[interval]):
            yield from self._rounds.round(number, interval, order, rates_of_rows, seconds)

    def _parts(self, progress: Progress, evaluated: bool) -> list[Part]:
        """The next interval: within the epoch under way if that will be ``evaluated``, else on
        through as many as it takes; none where the epoch is behind."""
        schedule, parts = self._schedule, list[Part]()
        step, missing = progress.steps, self.interval_steps
        epoch = progress.epochs if evaluated else step // schedule.steps_per_epoch
        first = step - epoch * schedule.steps_per_epoch
        while missing > 0 and first < schedule.full_steps:
            steps = min(missing, schedule.full_steps - first)
            last = first + steps == schedule.full_steps
            with_rest = last and schedule.remainder > 0
            parts.append(Part(epoch, first, steps, with_rest, step))
            missing, step = missing - steps, step + steps + with_rest
            epoch, first = (epoch, first + steps) if evaluated or not last else (epoch + 1, 0)
        return parts

    def _intervals(
        self, progress: Progress, evaluated: bool
    ) -> Iterator[tuple[list[Row], Progress, bool]]:
        """What is left of the epoch under way if that will be ``evaluated``, else intervals without
        end: the rows of each, and whether a rank was asked to stop."""
        schedule = self._schedule
        while parts := self._parts(progress, evaluated):
            timing, results = self._clock.time(partial(self._work, parts))
            whole, rests = sum(part.steps for part in parts), sum(part.with_rest for part in parts)
            samples = whole * schedule.global_batch + rests * schedule.remainder
            steps = whole + rests
            totals = results.sum(axis=0).tolist()
            (*sums, stop), readings = totals[:-READINGS], totals[-READINGS:]
            if not math.isfinite(sums[0]):
                raise Diverged(
                    f"the training loss is {sums[0]} after {progress.steps + steps} steps; "
                    f"lower --learning-rate or lengthen --warmup-epochs"
                )
            number = progress.throughput_rows
            row = _row(PHASE_TRAIN, number, steps, samples, timing)
            of_ranks = RankTimes(
                PHASE_TRAIN, number, steps, timing.of_ranks, timing.background_of_ranks
            )
            behind = progress.steps + steps
            progress = replace(
                progress,
                epochs=progress.epochs if evaluated else behind // schedule.steps_per_epoch,
                epoch_seconds=progress.epoch_seconds + row.seconds,
                sums=tuple(a + b for a, b in zip_longest(progress.sums, sums, fillvalue=0.0)),
                steps=behind,
                elapsed_seconds=progress.elapsed_seconds + row.seconds,
                throughput_rows=progress.throughput_rows + 1,
            )
            counted = self._meter.source
            energy = EnergyRow.of(row, counted, readings, of_gpus=counted == GPUS)
            yield [row, *([energy] if energy else []), of_ranks], progress, bool(stop)

    def _work(self, parts: list[Part]) -> list[float]:
        """One interval: its sums, whether to stop after it, and what was drawn."""
        self._meter.begin()
        sums = np.zeros(1 + self.backend.metric_sums)
        for part in parts:
            order, rest = self._shares_of(part.epoch)
            rows = order[part.first : part.first + part.steps]
            sums = sums + self.backend.steps(rows, self._rates(part.step, part.steps), part.step)
            if part.with_rest:
                last = part.step + part.steps
                rates_of_last = self._rates(last, 1)
                sums = sums + self.backend.partial_step(
                    rest, rates_of_last, self._schedule.remainder, last
                )
        return [*sums, float(self._stop_requested()), *self._meter.readings()]

    def _shares_of(self, epoch: int) -> Shares:
        """As :meth:`_epoch_shares`, drawn when they are first needed: that is part of training, so
        it is on the clock."""
        if not self._shares or self._shares[0] != epoch:
            self._shares = epoch, self._epoch_shares(epoch)
        return self._shares[1]

    def _epoch_shares(self, epoch: int) -> Shares:
        """This process's sample indices of whole steps and of the remainder step."""
        schedule, strategy = self._schedule, self._strategy
        order = epoch_order(schedule.samples, self._workload.seed, epoch)
        devices = (strategy.first_device, strategy.replicas)
        part = (schedule.global_batch, schedule.world_size, *devices)
        return full_steps(order, *part), remainder_step(order, *part)

    def _rates(self, first_step: int, steps: int) -> NDArray[np.float64]:
        """The learning rates of ``steps`` steps from ``first_step``."""
        schedule = self._schedule
        return rates(
            schedule.learning_rate,
            schedule.scaled_learning_rate,
            self._config.warmup_epochs * schedule.steps_per_epoch,
            first_step,
            steps,
            schedule.lr_decay,
            schedule.steps_per_epoch,
        )

    def _averaged_and_evaluated(self) -> list[float]:
        """What an evaluation takes; its sums, the same on all ranks."""
        self.backend.average_batch_norm_state()
        return list(self._evaluate())

    def _evaluate(self, most: int | None = None) -> NDArray[np.float64]:
        """The sums over all test samples, or over so many a process, each once over all."""
        strategy = self._strategy
        start, stop = contiguous_share(self._tested, strategy.processes, strategy.rank)
        if most is not None:
            stop = min(stop, start + most)
        sums = self.backend.evaluate(start, stop)
        return np.asarray(strategy.all_gather(sums.tolist()).sum(axis=0))


def _row(phase: str, interval: int, steps: int, samples: int, timing: Timing) -> ThroughputRow:
    return ThroughputRow(
        phase=phase,
        interval=interval,
        steps=steps,
        samples=samples,
        seconds=timing.slowest,
        fastest_rank_seconds=timing.fastest,
        mean_rank_seconds=timing.mean,
        samples_per_second=samples / timing.slowest,
    )
