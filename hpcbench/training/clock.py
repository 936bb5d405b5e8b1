"""The clock: an interval's time is the slowest rank's."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hpcbench.devices.background import BackgroundThreads

AllGather = Callable[[Sequence[float]], NDArray[np.float64]]


@dataclass(frozen=True)
class Timing:
    """Seconds of one interval, those ``of_ranks`` in order, and what of them the ranks' background
    threads took."""

    of_ranks: tuple[float, ...]
    background_of_ranks: tuple[float, ...] = ()

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

    def __init__(self, all_gather: AllGather, background: BackgroundThreads | None = None) -> None:
        self._all_gather = all_gather
        self._background = background or BackgroundThreads()

    def time(self, work: Callable[[], Sequence[float]]) -> tuple[Timing, NDArray[np.float64]]:
        """Do ``work`` on all ranks; its times, and all ranks' results, (ranks, results)."""
        self._all_gather([0.0])
        self._background.begin()
        start = time.perf_counter()
        results = work()
        seconds = time.perf_counter() - start
        rows = self._all_gather([seconds, self._background.end(), *results])
        of_ranks, background = rows[:, :2].T.tolist()
        return Timing(tuple(of_ranks), tuple(background)), rows[:, 2:]
