"""Who watches a run: is told of each interval and epoch, off the clock."""

from collections.abc import Callable

from hpcbench.records.schema import AccuracyRow, EnergyRow, ThroughputRow


class Observer:
    """Does nothing at each moment of a run; a kind of observer does what it is there for."""

    def start(self, intervals: int, steps: int) -> None:
        """Training starts, with ``intervals`` ahead and ``steps`` behind."""

    def interval(self, row: ThroughputRow) -> None:
        """A timed interval has ended."""

    def energy(self, row: EnergyRow) -> None:
        """What was drawn in it, where that is counted."""

    def epoch(self, row: AccuracyRow) -> None:
        """An epoch has ended, and the model was evaluated."""

    def stop(self, samples: int) -> None:
        """Training is over, well or not, after ``samples`` training samples in whole epochs."""

    def profile(self, work: Callable[[], None]) -> None:
        """Do some more steps, which are not measured."""
        work()

    def close(self) -> None:
        """Nothing more will come."""
