"""The data sets: what they are, where they are looked for, and how they are read.

Each module registers a family; adding a data set is adding one file. Images stay bytes all the way
to the device, where they are scaled to [0, 1].
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from hpcbench.datasets.lazy_array import LazyArray
from hpcbench.errors import DataError
from hpcbench.models import OF_TOKENS
from hpcbench.registry import Registry

# The target of a token that is not to be told.
NOT_ASKED = -1


@dataclass(frozen=True)
class Arrays:
    """Inputs and targets, a row a sample.

    Inputs are images as bytes (n, height, width, channels), fields of the same shape or numbers (n,
    columns) as float32, or words or tokens as int32 (n, length); targets are classes as int32 (n,),
    numbers as float32 (n,), classes of pixels as bytes (n, height, width) or tokens as int32 (n,
    length), NOT_ASKED where none is. In memory or on disk (:class:`LazyArray`).
    """

    train_inputs: NDArray[Any] | LazyArray
    train_targets: NDArray[Any] | LazyArray
    test_inputs: NDArray[Any] | LazyArray
    test_targets: NDArray[Any] | LazyArray

    def first(self, train_samples: int | None, test_samples: int | None = None) -> "Arrays":
        """The same data with only the first so many samples of each part; all by default."""
        return Arrays(
            self.train_inputs[:train_samples],
            self.train_targets[:train_samples],
            self.test_inputs[:test_samples],
            self.test_targets[:test_samples],
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

    ``find`` returns the files in a folder that make up the set, or None; it raises Incomplete where
    some of them are missing. ``read`` turns them into arrays, raising DataError with the file's
    name when one is corrupt. ``system_folder`` is where a distribution's package puts it. ``task``
    names the objective, ``kind`` what it is made of: images, fields, tables, texts, tokens or
    masked tokens.
    ``outputs`` is how many numbers a model gives for a sample, a pixel or a token, ``words`` how
    many different numbers stand for words, ``class_shares`` which share of all pixels each class
    has. ``count`` says how many training samples files hold that may hold fewer than the published
    ones; ``train_samples`` is 0 where only the files can say, and ``describe`` fills in shape and
    counts of a user's own data, a ``title`` that tells it from other folders, and a ``remark`` on
    what of it was left out.
    ``resized`` is given where samples of any size are brought to one: the same set with so many
    pixels a side, or tokens. ``seeded`` is given where what is read follows from the run's seed:
    the same set as it is with that.
    """

    name: str
    input_shape: tuple[int, ...]
    outputs: int
    train_samples: int
    test_samples: int
    find: Callable[[Path], list[Path] | None]
    read: Callable[[list[Path]], Arrays]
    cache_folder: str = "."
    task: str = "classification"
    kind: str = "images"
    words: int = 0
    class_shares: tuple[float, ...] = ()
    count: Callable[[list[Path]], int] | None = None
    # What is looked for, in words.
    files: str = ""
    title: str = ""
    remark: str = ""
    describe: "Callable[[DatasetSpec, list[Path]], DatasetSpec] | None" = None
    resized: "Callable[[DatasetSpec, int], DatasetSpec] | None" = None
    seeded: "Callable[[DatasetSpec, int], DatasetSpec] | None" = None
    system_folder: Path | None = None
    downloads: tuple[Download, ...] = ()

    @property
    def largest_shape(self) -> tuple[int, ...]:
        """Of a sample, or of what a network gives for it where that is more."""
        return (*self.input_shape, self.outputs) if self.kind in OF_TOKENS else self.input_shape

    @property
    def targets_shape(self) -> tuple[int, ...]:
        """Of a sample's targets."""
        if self.kind in OF_TOKENS:
            return self.input_shape
        return self.input_shape[:-1] if self.task == "segmentation" else ()


class Incomplete(DataError):
    """A folder holds some of a set's files and not the others."""


def first_whole(places: Mapping[Path, Mapping[str, Path | None]]) -> list[Path] | None:
    """The files of a set in the first of ``places`` that has all of them, by what they are called
    there; None where no place has any. Raises Incomplete where some have a part and none the
    whole."""
    part = ""
    for place, files in places.items():
        missing = [name for name, path in files.items() if path is None]
        if not missing:
            return [path for path in files.values() if path is not None]
        if len(missing) < len(files) and not part:
            part = (
                f"{place} holds {len(files) - len(missing)} of the {len(files)} files of a data "
                f"set and not {', '.join(missing)}"
            )
    if part:
        raise Incomplete(part)
    return None


DATASETS: Registry[DatasetSpec] = Registry("dataset", __name__)
