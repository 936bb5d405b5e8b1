"""What is timed between intervals of training, on state that is put back: its steps with something
left out, and its exchange without steps. What a part costs is the difference that leaving it out
makes.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from hpcbench.devices.background import BackgroundThreads
from hpcbench.frameworks.backend import Backend, Exchange
from hpcbench.records.schema import (
    PHASE_ALONE,
    PHASE_EXCHANGE,
    PHASE_LATENCY,
    PHASE_NO_EXCHANGE,
    PHASE_ONE_BATCH,
    PHASE_ONE_ELEMENT,
    RankTimes,
)
from hpcbench.training.clock import Clock

# Of one device, and what several have beside.
OF_ONE = (PHASE_NO_EXCHANGE, PHASE_ONE_BATCH)
OF_SEVERAL = (PHASE_ONE_ELEMENT, PHASE_LATENCY, PHASE_EXCHANGE, PHASE_ALONE)
# How long such an interval is, of an interval of training.
LENGTH = 1 / 3
# Of the time of training, what rounds may take; but so many there are in any run.
SHARE, FEWEST = 0.3, 3


@dataclass(frozen=True)
class Beside:
    """How many ``rounds`` of all phases are wanted, at most; whether this process is the
    ``first_of_host``, which computes alone while the others sleep; and who watches its
    ``background`` threads."""

    rounds: int = 0
    first_of_host: bool = True
    background: BackgroundThreads = field(default_factory=BackgroundThreads)

    def after(self, intervals: int, devices: int) -> Counter[int]:
        """How many rounds come after which of so many training intervals, spread evenly."""
        cost = LENGTH * len(phases_of(devices))
        affordable = max(FEWEST, int(intervals * SHARE / cost))
        rounds = min(self.rounds, affordable)
        return Counter((2 * number + 1) * intervals // (2 * rounds) for number in range(rounds))


def phases_of(devices: int) -> tuple[str, ...]:
    """What a run on so many ``devices`` times beside training."""
    return OF_ONE if devices == 1 else (*OF_ONE, *OF_SEVERAL)


class Rounds:
    """Times the phases of a run on ``devices`` of so many ``processes``."""

    def __init__(
        self,
        backend: Backend,
        clock: Clock,
        devices: int,
        processes: int,
        first_of_host: bool,
        seed: int,
    ) -> None:
        self._backend, self._clock = backend, clock
        self._phases = phases_of(devices)
        # One device has nobody to exchange with, so that its steps are those of training.
        self._without = Exchange.NONE if devices > 1 else Exchange.GRADIENTS
        self._processes, self._first_of_host = processes, first_of_host
        self._seed = seed

    def warm_up(self, order: NDArray[np.int32], rates: NDArray[np.float64]) -> None:
        """Compile and connect; changes the state."""
        for phase in self._phases:
            if phase != PHASE_ALONE:
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
            for phase in chance.permutation(self._phases).tolist():
                # Other data each time, as training has.
                first = int(chance.integers(len(order)))
                rows = np.take(order, range(first, first + steps), axis=0, mode="wrap")
                if phase != PHASE_ALONE:
                    timing, _ = self._clock.time(self._work(phase, rows, rates))
                    yield RankTimes(
                        phase, interval, steps, timing.of_ranks, timing.background_of_ranks
                    )
                elif self._processes > 1:
                    yield self._alone(interval, rows, rates, steps * step_seconds)

    def _work(
        self, phase: str, rows: NDArray[np.int32], rates: NDArray[np.float64]
    ) -> Callable[[], list[float]]:
        """What a ``phase`` times; what it needs is read before."""
        backend, count = self._backend, len(rates)
        work: Callable[[], object]
        if phase in (PHASE_LATENCY, PHASE_EXCHANGE):
            whole = phase == PHASE_EXCHANGE
            given = Exchange.GRADIENTS if whole else Exchange.ONE_ELEMENT
            work = partial(backend.exchanges, count, given)
        else:
            exchange = Exchange.ONE_ELEMENT if phase == PHASE_ONE_ELEMENT else self._without
            held = backend.hold(rows[0]) if phase == PHASE_ONE_BATCH else None
            work = partial(backend.steps, rows, rates, exchange=exchange, held=held)

        def timed() -> list[float]:
            work()
            return []

        return timed

    def _alone(
        self, interval: int, rows: NDArray[np.int32], rates: NDArray[np.float64], seconds: float
    ) -> RankTimes:
        """The first rank of each host computes; the others sleep for ``seconds``, about as long."""

        compute = self._work(PHASE_ONE_BATCH, rows, rates)

        def work() -> list[float]:
            if self._first_of_host:
                compute()
            else:
                time.sleep(seconds)
            return [float(self._first_of_host)]

        timing, computed = self._clock.time(work)
        times = zip(timing.of_ranks, computed[:, 0], strict=True)
        of_ranks = tuple(seconds if took_part else math.nan for seconds, took_part in times)
        background = timing.background_of_ranks
        return RankTimes(PHASE_ALONE, interval, len(rates), of_ranks, background)
