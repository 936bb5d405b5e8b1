"""What is timed between intervals of training, on state that is put back: its steps with something
left out, and its exchange without steps. What a part costs is the difference that leaving it out
makes.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from hpcbench.frameworks.backend import Backend, Exchange
from hpcbench.records.schema import (
    PHASE_ALONE,
    PHASE_EXCHANGE,
    PHASE_LATENCY,
    PHASE_NO_EXCHANGE,
    PHASE_ONE_ELEMENT,
    RankTimes,
)
from hpcbench.training.clock import Clock

PHASES = (PHASE_NO_EXCHANGE, PHASE_ONE_ELEMENT, PHASE_LATENCY, PHASE_EXCHANGE, PHASE_ALONE)
# How long such an interval is, of an interval of training, and of how many of these a round takes
# the time, about.
LENGTH, COST = 1 / 3, 5 / 3
# Of the time of training, what rounds may take; but so many there are in any run.
SHARE, FEWEST = 0.3, 3


@dataclass(frozen=True)
class Beside:
    """How many ``rounds`` of all phases are wanted, at most; and whether this process is the
    ``first_of_host``, which computes alone while the others sleep."""

    rounds: int = 0
    first_of_host: bool = True

    def after(self, intervals: int) -> Counter[int]:
        """How many rounds come after which of so many training intervals, spread evenly."""
        affordable = max(FEWEST, int(intervals * SHARE / COST))
        rounds = min(self.rounds, affordable)
        return Counter((2 * number + 1) * intervals // (2 * rounds) for number in range(rounds))


class Rounds:
    """Times the phases of a run over several devices."""

    def __init__(
        self, backend: Backend, clock: Clock, processes: int, first_of_host: bool, seed: int
    ) -> None:
        self._backend, self._clock = backend, clock
        self._processes, self._first_of_host = processes, first_of_host
        self._seed = seed

    def warm_up(self, order: NDArray[np.int32], rates: NDArray[np.float64]) -> None:
        """Compile and connect; changes the state."""
        for phase in (PHASE_NO_EXCHANGE, PHASE_ONE_ELEMENT, PHASE_LATENCY, PHASE_EXCHANGE):
            self._work(phase, order, rates)()

    def round(
        self,
        number: int,
        interval: int,
        order: NDArray[np.int32],
        rates: NDArray[np.float64],
        step_seconds: float,
    ) -> Iterator[RankTimes]:
        """All phases in random order, after training ``interval``; the ``number``-th round there.

        ``order`` are sample indices of an epoch's whole steps, and ``rates`` learning rates of as
        many steps as a phase takes, each of about so many seconds.
        """
        steps = len(rates)
        # The same on all ranks.
        chance = np.random.default_rng([self._seed, interval, number])
        with self._backend.put_back():
            for phase in chance.permutation(PHASES).tolist():
                # Other data each time, as training has.
                first = int(chance.integers(len(order)))
                rows = np.take(order, range(first, first + steps), axis=0, mode="wrap")
                if phase != PHASE_ALONE:
                    timing, _ = self._clock.time(self._work(phase, rows, rates))
                    yield RankTimes(phase, interval, steps, timing.of_ranks)
                elif self._processes > 1:
                    yield self._alone(interval, rows, rates, steps * step_seconds)

    def _work(
        self, phase: str, rows: NDArray[np.int32], rates: NDArray[np.float64]
    ) -> Callable[[], list[float]]:
        backend, count = self._backend, len(rates)
        of_phase: dict[str, Callable[[], object]] = {
            PHASE_NO_EXCHANGE: partial(backend.steps, rows, rates, exchange=Exchange.NONE),
            PHASE_ONE_ELEMENT: partial(backend.steps, rows, rates, exchange=Exchange.ONE_ELEMENT),
            PHASE_LATENCY: partial(backend.exchanges, count, Exchange.ONE_ELEMENT),
            PHASE_EXCHANGE: partial(backend.exchanges, count, Exchange.GRADIENTS),
        }
        work = of_phase[phase]

        def timed() -> list[float]:
            work()
            return []

        return timed

    def _alone(
        self, interval: int, rows: NDArray[np.int32], rates: NDArray[np.float64], seconds: float
    ) -> RankTimes:
        """The first rank of each host computes; the others sleep for ``seconds``, about as long."""

        def work() -> list[float]:
            if self._first_of_host:
                self._backend.steps(rows, rates, exchange=Exchange.NONE)
            else:
                time.sleep(seconds)
            return [float(self._first_of_host)]

        timing, computed = self._clock.time(work)
        times = zip(timing.of_ranks, computed[:, 0], strict=True)
        of_ranks = tuple(seconds if took_part else math.nan for seconds, took_part in times)
        return RankTimes(PHASE_ALONE, interval, len(rates), of_ranks)
