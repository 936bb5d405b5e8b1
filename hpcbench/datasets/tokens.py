"""Text as numbers, of which a network is to tell each from those before it.

``tokens``: ``train.bin`` and ``val.bin``, tokens as 16-bit numbers one after the other, as scripts
of nanoGPT write them by GPT-2's encoding (a vocabulary of 50,257). They are cut into samples of the
same length, each of which has its targets one token later.
"""

import dataclasses
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hpcbench.datasets import DATASETS, Arrays, DatasetSpec, first_whole
from hpcbench.datasets.lazy_array import LazyArray
from hpcbench.errors import DataError
from hpcbench.models import TOKENS


@dataclass(frozen=True)
class Vocabulary:
    """Whose it is, in a sentence, and of how many tokens."""

    of: str
    size: int


GPT_2 = Vocabulary("GPT-2's", 50_257)
# How many tokens GPT-2 sees at once.
LENGTH = 1024
TRAIN_FILE, TEST_FILE = "train.bin", "val.bin"


class Windows(LazyArray):
    """Samples of a long row of tokens, each ``length`` of them as int32, the first ``ahead`` tokens
    left out. Raises DataError where there is not one."""

    dtype = np.dtype(np.int32)

    def __init__(self, path: Path, length: int, ahead: int, vocabulary: Vocabulary) -> None:
        tokens = np.memmap(path, "<u2", "r") if path.stat().st_size else np.zeros(0, "<u2")
        if len(tokens) <= length:
            raise DataError(f"{path} holds less than a sample of {length} tokens and the next one")
        super().__init__((len(tokens) - 1) // length)
        self.path, self._tokens, self._ahead = path, tokens, ahead
        self._vocabulary, self.sample_shape = vocabulary, (length,)

    def read(self, index: int) -> NDArray[np.int32]:
        length = self.sample_shape[0]
        first = index * length + self._ahead
        tokens = self._tokens[first : first + length].astype(np.int32)
        if tokens.max() >= self._vocabulary.size:
            raise DataError(
                f"{self.path} has token {tokens.max()}: {self._vocabulary.size} is the size of "
                f"{self._vocabulary.of} vocabulary"
            )
        return tokens


def find(name: str, folder: Path) -> list[Path] | None:
    """The files of the set ``name``: in a folder of that name, or in ``folder`` itself."""
    places = [folder / name, folder]
    return first_whole(
        {
            place: {
                name: place / name if (place / name).is_file() else None
                for name in (TRAIN_FILE, TEST_FILE)
            }
            for place in places
        }
    )


def _read(length: int, paths: list[Path]) -> Arrays:
    return Arrays(*(Windows(path, length, ahead, GPT_2) for path in paths for ahead in (0, 1)))


def describe(spec: DatasetSpec, paths: list[Path]) -> DatasetSpec:
    """``spec`` with the counts that the files hold, and the folder's name."""
    data = spec.read(paths)
    folder = paths[0].parent.resolve().name
    return dataclasses.replace(
        spec,
        train_samples=len(data.train_targets),
        test_samples=len(data.test_targets),
        title=f"{spec.name} {folder}",
    )


def _resized(spec: DatasetSpec, length: int) -> DatasetSpec:
    return dataclasses.replace(spec, input_shape=(length,), read=partial(_read, length))


DATASETS.add(
    "tokens",
    DatasetSpec(
        name="tokens",
        input_shape=(LENGTH,),
        outputs=GPT_2.size,
        # Of made-up ones, where no file says how many there are.
        train_samples=4096,
        test_samples=256,
        find=partial(find, "tokens"),
        files=f"{TRAIN_FILE} and {TEST_FILE}",
        read=partial(_read, LENGTH),
        task="next-token",
        kind=TOKENS,
        words=GPT_2.size,
        describe=describe,
        resized=_resized,
    ),
)
