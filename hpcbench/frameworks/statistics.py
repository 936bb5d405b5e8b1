"""Synchronized batch normalization's part in what devices exchange."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from hpcbench.frameworks.backend import Exchange


class StatisticsExchange:
    """Averages statistics by ``mean_over_devices`` in steps that exchange gradients. In others each
    device has its own: one that computes alone would wait for ever."""

    def __init__(self, mean_over_devices: Callable[[Any], Any]) -> None:
        self._mean_over_devices, self._exchanged = mean_over_devices, True

    def mean(self, statistics: Any) -> Any:
        """Of ``statistics``, some arrays, each as it comes out of it."""
        return self._mean_over_devices(statistics) if self._exchanged else statistics

    @contextmanager
    def of_step(self, exchange: Exchange) -> Iterator[None]:
        """Within it, steps with such an exchange are traced."""
        self._exchanged = exchange is Exchange.GRADIENTS
        try:
            yield
        finally:
            self._exchanged = True
