"""One run from first step to last: warm-up, timed intervals, an evaluation after each epoch."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

from hpcbench.config import RunConfig, Schedule
from hpcbench.datasets import Arrays, DatasetSpec
from hpcbench.datasets.sharding import contiguous_share, epoch_order, full_steps, remainder_step
from hpcbench.engine.checkpoint import Progress
from hpcbench.engine.clock import Clock, Timing
from hpcbench.engine.learning_rate import rates
from hpcbench.engine.meter import TOLD, Meter
from hpcbench.errors import Diverged, Preempted
from hpcbench.frameworks import FRAMEWORKS
from hpcbench.records.schema import (
    PHASE_NO_EXCHANGE,
    PHASE_TRAIN,
    AccuracyRow,
    Row,
    ThroughputRow,
)
from hpcbench.strategies import Strategy

PROFILED_STEPS = 20


Shares = tuple[NDArray[np.int32], list[NDArray[np.int32]]]


class EpochShares:
    """This process' sample indices of an epoch, drawn when they are first asked for."""

    def __init__(self, draw: Callable[[], Shares]) -> None:
        self._draw = draw
        self._shares: Shares | None = None

    def get(self) -> Shares:
        if self._shares is None:
            self._shares = self._draw()
        return self._shares


class Training:
    """A model under a strategy, ready to train; ``stop_requested`` is asked after an interval.

    ``meter`` counts this process' part of the energy.
    """

    def __init__(
        self,
        config: RunConfig,
        plan: Schedule,
        seed: int,
        spec: DatasetSpec,
        data: Arrays,
        strategy: Strategy,
        stop_requested: Callable[[], bool],
        meter: Meter | None = None,
    ) -> None:
        self.config, self.plan, self.seed = config, plan, seed
        self.strategy = strategy
        self._tested = len(data.test_targets)
        self._stop_requested = stop_requested
        self._meter = meter or Meter("", [])
        self._clock = Clock(strategy.gather)
        building = time.perf_counter()
        self.backend = FRAMEWORKS[config.framework].backend(
            config, plan, seed, spec, data, strategy
        )
        self._building_seconds = time.perf_counter() - building

    @property
    def progress_numbers(self) -> int:
        """How many numbers a progress in the midst of an epoch has."""
        return len(Progress().numbers()) + 1 + self.backend.metric_sums

    def warm_up(self) -> float:
        """Compile and exchange once with every function, then undo what it changed.

        Returns the seconds that building, tracing and this took.
        """
        start = time.perf_counter()
        before = self.backend.state()
        order, rest = self._epoch_shares(0)
        rows = np.resize(order, (self.config.warmup_steps, *order.shape[1:]))
        self.backend.steps(rows, self._rates(0, len(rows)))
        if rest:
            self.backend.remainder(rest, self._rates(0, 1), self.plan.remainder)
        self.backend.average_batch_norm_state()
        self._evaluate()
        self.backend.restore(before)
        self.strategy.gather([0.0])
        return self._building_seconds + time.perf_counter() - start

    def run(self, progress: Progress) -> Iterator[tuple[Row, Progress]]:
        """Train what ``progress`` leaves; yields each row as it is measured.

        Raises Diverged if a loss is not finite, on all ranks alike, and Preempted after the
        interval in which any rank was asked to stop.
        """
        while progress.epochs < self.plan.epochs:
            for rows, behind, stop in self._intervals(progress):
                progress = behind
                for row in rows:
                    yield row, progress
                if stop:
                    # What rank 0 saves must hold for all.
                    self.backend.average_batch_norm_state()
                    raise Preempted(f"stopped by a signal after {progress.steps} steps")
            self.backend.average_batch_norm_state()
            sums, test_sums = np.array(progress.sums), self._evaluate()
            if not math.isfinite(test_sums[0]):
                # Rectifiers can keep the training loss finite when weights no longer are.
                raise Diverged(
                    f"the test loss is {test_sums[0]} after epoch {progress.epochs + 1}; lower "
                    f"--learning-rate or lengthen --warmup-epochs"
                )
            evaluation = AccuracyRow(
                epoch=progress.epochs + 1,
                learning_rate=float(self._rates(progress.steps - 1, 1)[0]),
                train_loss=sums[0] / self.plan.samples,
                train_metric=self.backend.metric_value(sums[1:], self.plan.samples),
                test_loss=test_sums[0] / self._tested,
                test_metric=self.backend.metric_value(test_sums[1:], self._tested),
                metric=self.backend.metric,
                train_seconds=progress.epoch_seconds,
                elapsed_seconds=progress.elapsed_seconds,
            )
            progress = Progress(
                epochs=progress.epochs + 1,
                steps=progress.steps,
                elapsed_seconds=progress.elapsed_seconds,
                throughput_rows=progress.throughput_rows,
                accuracy_rows=progress.accuracy_rows + 1,
            )
            yield evaluation, progress
            if evaluation.reaches(self.config.target):
                return

    def unmeasured_steps(self) -> None:
        """A few steps more, for a profile; the weights go on, so they are to be kept before."""
        order, _ = self._epoch_shares(0)
        self.backend.steps(order[:PROFILED_STEPS], self._rates(0, len(order[:PROFILED_STEPS])))

    def without_exchange(self, count: int) -> Iterator[ThroughputRow]:
        """Time ``count`` intervals of steps in which no gradients are exchanged.

        The replicas' weights differ from each other afterwards, so it comes last.
        """
        steps = self.plan.interval_steps
        order, _ = self._epoch_shares(0)
        rows, rates_of_rows = np.resize(order, (steps, *order.shape[1:])), self._rates(0, steps)

        def work() -> list[float]:
            self.backend.steps_without_exchange(rows, rates_of_rows)
            return []

        work()
        for interval in range(count):
            timing, _ = self._clock.time(work)
            samples = steps * self.plan.global_batch
            yield _row(PHASE_NO_EXCHANGE, interval, steps, samples, timing)

    def _intervals(self, progress: Progress) -> Iterator[tuple[list[Row], Progress, bool]]:
        """What is left of the epoch under way: the rows of an interval, and whether a rank was
        asked to stop."""
        plan = self.plan
        starts = range(0, plan.full_steps, plan.interval_steps)
        epoch = progress.epochs
        epoch_shares = EpochShares(lambda: self._epoch_shares(epoch))
        for first in starts[progress.intervals :]:
            steps = min(plan.interval_steps, plan.full_steps - first)
            with_rest = first == starts[-1] and plan.remainder > 0
            work = partial(self._work, epoch_shares, first, steps, with_rest, progress.steps)
            timing, results = self._clock.time(work)
            samples = steps * plan.global_batch + plan.remainder * with_rest
            steps += with_rest
            totals = results.sum(axis=0).tolist()
            (*sums, stop), told = totals[:-TOLD], totals[-TOLD:]
            if not math.isfinite(sums[0]):
                raise Diverged(
                    f"the training loss is {sums[0]} after {progress.steps + steps} steps; "
                    f"lower --learning-rate or lengthen --warmup-epochs"
                )
            row = _row(PHASE_TRAIN, progress.throughput_rows, steps, samples, timing)
            progress = replace(
                progress,
                intervals=progress.intervals + 1,
                epoch_seconds=progress.epoch_seconds + row.seconds,
                sums=tuple(a + b for a, b in zip_longest(progress.sums, sums, fillvalue=0.0)),
                steps=progress.steps + steps,
                elapsed_seconds=progress.elapsed_seconds + row.seconds,
                throughput_rows=progress.throughput_rows + 1,
            )
            energy = self._meter.row(told, row)
            yield [row, energy] if energy else [row], progress, bool(stop)

    def _work(
        self, epoch_shares: "EpochShares", first: int, steps: int, with_rest: bool, step: int
    ) -> list[float]:
        """One interval: its sums, whether to stop after it, and what was drawn."""
        self._meter.begin()
        # Drawing the epoch's order is part of training, so it is on the first interval's clock.
        order, rest = epoch_shares.get()
        sums = self.backend.steps(order[first : first + steps], self._rates(step, steps), step)
        if with_rest:
            last = step + steps
            sums = sums + self.backend.remainder(
                rest, self._rates(last, 1), self.plan.remainder, last
            )
        return [*sums, float(self._stop_requested()), *self._meter.told()]

    def _epoch_shares(self, epoch: int) -> Shares:
        """This process' sample indices of whole steps and of the remainder step."""
        plan, strategy = self.plan, self.strategy
        order = epoch_order(plan.samples, self.seed, epoch)
        place = (plan.global_batch, plan.world_size, strategy.first_device, strategy.replicas)
        return full_steps(order, *place), remainder_step(order, *place)

    def _rates(self, first_step: int, steps: int) -> NDArray[np.float64]:
        warmup = self.config.warmup_epochs * self.plan.steps_per_epoch
        plan = self.plan
        return rates(
            plan.learning_rate, plan.scaled_learning_rate, warmup, first_step, steps,
            plan.lr_decay, plan.steps_per_epoch,
        )  # fmt: skip

    def _evaluate(self) -> NDArray[np.float64]:
        """The sums over all test samples, each once over all processes."""
        strategy = self.strategy
        share = contiguous_share(self._tested, strategy.processes, strategy.rank)
        return np.asarray(strategy.gather(self.backend.evaluate(*share).tolist()).sum(axis=0))


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
