"""What training asks of a framework: the class Backend."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Sums = NDArray[np.float64]


class Backend(ABC):
    """A model with its optimizer and its data on this process' devices.

    What steps and evaluation give back are sums over the samples of this process' replicas: of the
    losses, then ``metric_sums`` numbers from which :meth:`metric_value` makes the metric. Sample
    indices are int32; learning rates are those of the steps, one each.
    """

    metric: str
    metric_sums: int
    parameters: int
    trainable_parameters: int
    # What TensorBoard shows of the training loop, where the framework has such a graph.
    graph: Any = None

    @abstractmethod
    def metric_value(self, sums: Sums, samples: int) -> float:
        """The metric from its sums over ``samples`` samples."""

    @abstractmethod
    def steps(
        self, order: NDArray[np.int32], rates: NDArray[np.float64], first_step: int = 0
    ) -> Sums:
        """Train on whole batches: ``order`` has the shape (steps, replicas, batch).

        ``first_step`` is the number of steps behind.
        """

    @abstractmethod
    def steps_without_exchange(self, order: NDArray[np.int32], rates: NDArray[np.float64]) -> None:
        """:meth:`steps`, each replica with its own gradients: their weights part ways."""

    @abstractmethod
    def remainder(
        self,
        shares: Sequence[NDArray[np.int32]],
        rates: NDArray[np.float64],
        total: int,
        step: int = 0,
    ) -> Sums:
        """Train one shorter step on ``total`` samples over all devices.

        ``shares`` are the indices of this process' replicas. An empty share takes part with a
        sample of weight zero, since all devices have to meet in the exchange.
        """

    @abstractmethod
    def evaluate(self, start: int, stop: int) -> Sums:
        """The sums over test samples [start, stop)."""

    def average_batch_norm_state(self) -> None:
        """Make the moving statistics of local batch normalization the same on all devices."""

    @abstractmethod
    def state(self) -> list[NDArray[Any]]:
        """All that a checkpoint has to hold."""

    @abstractmethod
    def restore(self, state: Sequence[NDArray[Any]]) -> None:
        """Undo :meth:`state`; ValueError where it is of another model."""

    @abstractmethod
    def share_state(self) -> None:
        """Take rank 0's state, keeping only what makes this rank's dropout its own."""

    @abstractmethod
    def flops_per_sample(self) -> int:
        """Floating-point operations of one sample's training step."""

    @abstractmethod
    def named_weights(self) -> list[tuple[str, NDArray[Any]]]: ...

    @abstractmethod
    def save_model(self, folder: Path) -> None:
        """Write the trained model in the framework's own format."""
