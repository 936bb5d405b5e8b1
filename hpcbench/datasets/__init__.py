"""The data sets: what they are, where they are looked for, and how they are read.

Images stay bytes all the way to the device, where they are scaled to [0, 1].
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hpcbench.registry import Registry


@dataclass(frozen=True)
class Arrays:
    """Images uint8 of shape (n, height, width, channels), labels int32 of shape (n,)."""

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int32]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int32]

    def first(self, train_samples: int | None) -> "Arrays":
        """The same data with only the first ``train_samples`` training samples."""
        return Arrays(
            self.train_images[:train_samples],
            self.train_labels[:train_samples],
            self.test_images,
            self.test_labels,
        )


@dataclass(frozen=True)
class Download:
    """A published file: where from, its digest as ``sha256:...`` or ``md5:...``, its cache name."""

    url: str
    digest: str
    cache_name: str


@dataclass(frozen=True)
class DatasetSpec:
    """A data set's shape, and how to find and read it.

    ``find`` returns the files in a folder that make up the set, or None. ``read`` turns them
    into arrays, raising DataError with the file's name when one is corrupt. ``system_folder``
    is where a distribution's package puts it.
    """

    name: str
    input_shape: tuple[int, ...]
    classes: int
    train_samples: int
    test_samples: int
    find: Callable[[Path], list[Path] | None]
    read: Callable[[list[Path]], Arrays]
    cache_folder: str
    system_folder: Path | None = None
    downloads: tuple[Download, ...] = ()


DATASETS: Registry[DatasetSpec] = Registry("dataset", __name__)
