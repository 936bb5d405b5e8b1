"""The clock: an interval's time is the slowest rank's."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

AllGather = Callable[[Sequence[float]], NDArray[np.float64]]


@dataclass(frozen=True)
class Timing:
    """Seconds of one interval, those ``of_ranks`` in order."""

    of_ranks: tuple[float, ...]

    @property
    def slowest(self) -> float:
        return max(self.of_ranks)

    @property
    def fastest(self) -> float:
        return min(self.of_ranks)

    @property
    def mean(self) -> float:
        return sum(self.of_ranks) / len(self.of_ranks)


class Clock:
    """Times intervals that start at a barrier and end on each rank by itself.

    ``all_gather`` collects a row of numbers from every rank and so is the barrier too.
    """

    def __init__(self, all_gather: AllGather) -> None:
        self._all_gather = all_gather

    def time(self, work: Callable[[], Sequence[float]]) -> tuple[Timing, NDArray[np.float64]]:
        """Do ``work`` on all ranks; its times, and all ranks' results, (ranks, results)."""
        self._all_gather([0.0])
        start = time.perf_counter()
        results = work()
        seconds = time.perf_counter() - start
        rows = self._all_gather([seconds, *results])
        return Timing(tuple(rows[:, 0].tolist())), rows[:, 1:]
