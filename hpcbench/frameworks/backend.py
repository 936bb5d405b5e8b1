"""What training asks of a framework: the class Backend, and the workload that it is made for."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpcbench.config import RunConfig
from hpcbench.datasets import Arrays, DatasetSpec
from hpcbench.errors import EnvironmentLacks
from hpcbench.schedule import Schedule
from hpcbench.strategies import Strategy

Sums = NDArray[np.float64]


class Exchange(Enum):
    """What replicas give each other in a step: their gradients; a single element once these are
    there, so that they wait for each other and no more; or nothing."""

    GRADIENTS = "gradients"
    ONE_ELEMENT = "one element"
    NONE = "none"


@dataclass(frozen=True)
class Workload:
    """What is to be trained: a configuration, what follows from it, its data, and with whom."""

    config: RunConfig
    schedule: Schedule
    seed: int
    spec: DatasetSpec
    data: Arrays
    strategy: Strategy


# Seeds of two ranks, and of two devices, lie so far apart that those of runs do not meet them.
RANK_STRIDE = 1_000_003
DEVICE_STRIDE = 7919
# Test samples at a time, at most.
EVALUATION_BATCH = 1000
EVALUATION_BYTES = 64 << 20
# NVIDIA's compute capability from which GPUs have TF32 (Ampere).
TF32_SINCE = (8, 0)


def evaluation_batch(sample_shape: Sequence[int]) -> int:
    """How many test samples at a time: as floats not so many that what comes out of the first
    layers fills the memory."""
    return min(EVALUATION_BATCH, max(1, EVALUATION_BYTES // (4 * math.prod(sample_shape))))


def check_tf32(capability: tuple[int, int] | None) -> None:
    """Raise EnvironmentLacks where the device, a GPU of this ``capability`` if it is one, would
    silently compute in float32."""
    if capability is None or capability < TF32_SINCE:
        raise EnvironmentLacks(
            "--precision tf32 needs an NVIDIA GPU of Ampere or newer; take --precision float32"
        )


class Backend(ABC):
    """A model with its optimizer and its data on this process's devices.

    What steps and evaluation return are sums over the samples of this process's replicas, as
    float64: of the losses, then ``metric_sums`` numbers from which :meth:`metric_value` makes the
    metric. Sample indices are int32; learning rates are those of the steps, one each, float64.
    """

    metric: str
    metric_sums: int
    parameters: int
    trainable_parameters: int

    @abstractmethod
    def metric_value(self, sums: Sums, samples: int) -> float:
        """The metric from its sums, shape (metric_sums,), over ``samples`` samples."""

    @abstractmethod
    def steps(
        self,
        order: NDArray[np.int32],
        rates: NDArray[np.float64],
        first_step: int = 0,
        exchange: Exchange = Exchange.GRADIENTS,
        held: Any = None,
    ) -> Sums:
        """Train on whole batches: ``order`` has the shape (steps, replicas, batch).

        ``first_step`` is the number of steps behind. With another ``exchange`` than that of
        gradients each replica updates with its own, so that their weights part ways. All steps take
        the samples of ``held``, from :meth:`hold`, if it is given. Returns shape
        (1 + metric_sums,).
        """

    def hold(self, rows: NDArray[np.int32]) -> Any:
        """Whatever is needed for :meth:`steps` to take the samples ``rows``, of shape (replicas,
        batch), without reading them again; their indices, where data are on the device."""
        return rows

    @abstractmethod
    def exchanges(self, count: int, exchange: Exchange) -> None:
        """``count`` times what a step exchanges, one after the other, without the step."""

    @abstractmethod
    def partial_step(
        self,
        shares: Sequence[NDArray[np.int32]],
        rates: NDArray[np.float64],
        total: int,
        step: int = 0,
    ) -> Sums:
        """Train one shorter step on ``total`` samples over all devices.

        ``shares`` are the indices of this process's replicas. An empty share takes part with a
        sample of weight zero, since all devices have to meet in the exchange.
        """

    @abstractmethod
    def evaluate(self, start: int, stop: int) -> Sums:
        """The sums over test samples [start, stop)."""

    def average_batch_norm_state(self) -> None:
        """Make the moving statistics of local batch normalization the same on all devices."""

    def gather(self) -> None:
        """Have rank 0 know all of :meth:`state`, where each process has but a part of it; all
        processes meet in here."""

    @abstractmethod
    def state(self) -> list[NDArray[Any]]:
        """All that a checkpoint has to hold."""

    @abstractmethod
    def restore(self, state: Sequence[NDArray[Any]]) -> None:
        """Undo :meth:`state`; ValueError where it is of another model."""

    @contextmanager
    def put_back(self) -> Iterator[None]:
        """Whatever trains in here, each device has its own state again afterwards."""
        before = self.state()
        yield
        self.restore(before)

    @abstractmethod
    def broadcast_state(self) -> None:
        """Take rank 0's state, keeping only what makes this rank's dropout its own."""

    @abstractmethod
    def flops_per_sample(self) -> int | None:
        """Floating-point operations of matrix products and convolutions for one sample's training
        step, forwards and backwards, as the framework computes it; None where that is not known.
        """

    @abstractmethod
    def save_model(self, folder: Path) -> None:
        """Write the trained model in the framework's own format."""
