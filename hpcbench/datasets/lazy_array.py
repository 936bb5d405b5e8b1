"""Samples that stay on disk until they are asked for."""

import os
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpcbench.errors import DataError, HpcbenchError


class LazyArray(ABC):
    """Behaves like the array of its samples, of which it reads those that are indexed.

    A sample has ``sample_shape`` and ``dtype``. Several are read at a time, by as many threads as
    this process has cores, so :meth:`read` should leave Python's lock while it works.
    """

    sample_shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __init__(self, count: int) -> None:
        self._chosen = np.arange(count)

    @abstractmethod
    def read(self, index: int) -> NDArray[Any]:
        """Sample ``index`` of all that there are; DataError where it cannot be read."""

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self._chosen), *self.sample_shape)

    @property
    def nbytes(self) -> int:
        """The size of all samples in memory."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, places: Any) -> Any:
        """The samples at integer ``places``, an array of any shape; a slice stays on disk."""
        if isinstance(places, slice):
            part = object.__new__(type(self))
            part.__dict__ |= self.__dict__
            part._chosen = self._chosen[places]
            return part
        chosen = self._chosen[places]
        samples = np.empty((chosen.size, *self.sample_shape), self.dtype)

        def fill(place: int) -> None:
            try:
                samples[place] = self.read(int(chosen.flat[place]))
            except HpcbenchError:
                raise
            except Exception as error:
                raise DataError(f"sample {chosen.flat[place]} cannot be read: {error!r}") from error

        # The results are asked for, so that an error in a thread is not lost.
        for _ in self._threads.map(fill, range(chosen.size)):
            pass
        return samples.reshape(*chosen.shape, *self.sample_shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[np.arange(len(self))], dtype)

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(len(os.sched_getaffinity(0)))
