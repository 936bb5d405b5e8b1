"""How training samples come to the devices: all are there, or a call brings its own."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from numpy.typing import NDArray

from hpcbench.datasets import Arrays
from hpcbench.frameworks.jax import placement

# Of one call, at most: steps, and bytes of samples that it brings.
MOST_STEPS, STREAMED_BYTES = 1024, 64 << 20


class Feed(ABC):
    """``steps`` is how many a call has room for; ``resident`` what is on all devices of a mesh."""

    steps: int
    resident: tuple[jax.Array, ...] = ()

    @abstractmethod
    def of_call(self, order: NDArray[np.int32], room: int, held: Any) -> list[NDArray[Any]]:
        """What a call brings of the samples ``order``, (steps, replicas, batch), or of those that
        are ``held`` in each step, filled up to ``room`` steps."""

    @abstractmethod
    def hold(self, rows: NDArray[np.int32]) -> Any:
        """The samples ``rows``, (replicas, batch), at hand for :meth:`of_call`."""

    @staticmethod
    @abstractmethod
    def sample(resident: Sequence[jax.Array], brought: Sequence[jax.Array], row: jax.Array) -> Any:
        """Inputs and targets of step ``row`` on one device, within a compiled program."""


class Resident(Feed):
    """All samples on each device; a call brings which of them are next."""

    def __init__(self, mesh: Mesh, data: Arrays, steps: int) -> None:
        self.steps = min(steps, MOST_STEPS)
        whole = (np.asarray(data.train_inputs), np.asarray(data.train_targets))
        self.resident = placement.whole(mesh, whole)

    def of_call(self, order: NDArray[np.int32], room: int, held: Any) -> list[NDArray[Any]]:
        return [filled(order if held is None else np.broadcast_to(held, order.shape), room)]

    def hold(self, rows: NDArray[np.int32]) -> Any:
        return rows

    @staticmethod
    def sample(resident: Sequence[jax.Array], brought: Sequence[jax.Array], row: jax.Array) -> Any:
        chosen = brought[0][row, 0]
        return resident[0][chosen], resident[1][chosen]


class Streamed(Feed):
    """Samples are read on the host for each call, while the devices are busy with the one before;
    ``step_samples`` are those of a step of this process."""

    def __init__(self, data: Arrays, steps: int, step_samples: int) -> None:
        self._data = data.train_inputs, data.train_targets
        of_sample = sum(math.prod(part.shape[1:]) * part.dtype.itemsize for part in self._data)
        fitting = STREAMED_BYTES // (step_samples * of_sample)
        self.steps = max(1, min(steps, MOST_STEPS, fitting))

    def of_call(self, order: NDArray[np.int32], room: int, held: Any) -> list[NDArray[Any]]:
        if held is None:
            return [filled(part, room) for part in self.hold(order)]
        shape = (len(order),)
        return [filled(np.broadcast_to(part, shape + part.shape), room) for part in held]

    def hold(self, rows: NDArray[np.int32]) -> Any:
        return [np.asarray(part[rows]) for part in self._data]

    @staticmethod
    def sample(resident: Sequence[jax.Array], brought: Sequence[jax.Array], row: jax.Array) -> Any:
        return brought[0][row, 0], brought[1][row, 0]


def filled(rows: NDArray[Any], room: int) -> NDArray[Any]:
    """``rows`` and as many of zeros as there is room for."""
    padded = np.zeros((room, *rows.shape[1:]), rows.dtype)
    padded[: len(rows)] = rows
    return padded
