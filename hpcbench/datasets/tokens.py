"""Text as numbers, of which a network is to tell each from those before it.

``tokens``: ``train.bin`` and ``val.bin``, tokens as 16-bit numbers one after the other, as scripts
of nanoGPT write them by GPT-2's encoding (a vocabulary of 50,257). They are cut into samples of the
same length, each of which has its targets one token later.
"""

import dataclasses
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hpcbench.datasets import DATASETS, Arrays, DatasetSpec, first_whole
from hpcbench.datasets.lazy_array import LazyArray
from hpcbench.errors import DataError

# GPT-2's vocabulary, and how many tokens it sees at once.
VOCABULARY, LENGTH = 50_257, 1024
TRAIN, TEST = "train.bin", "val.bin"


class Windows(LazyArray):
    """Samples of a long row of tokens, each ``length`` of them as int32, the first ``ahead`` tokens
    left out."""

    dtype = np.dtype(np.int32)

    def __init__(self, path: Path, length: int, ahead: int) -> None:
        tokens = np.memmap(path, "<u2", "r") if path.stat().st_size else np.zeros(0, "<u2")
        super().__init__(max(0, (len(tokens) - 1) // length))
        self._path, self._tokens, self._ahead = path, tokens, ahead
        self.sample_shape = (length,)

    def read(self, index: int) -> NDArray[np.int32]:
        length = self.sample_shape[0]
        first = index * length + self._ahead
        tokens = self._tokens[first : first + length].astype(np.int32)
        if tokens.max() >= VOCABULARY:
            raise DataError(
                f"{self._path} has token {tokens.max()}: {VOCABULARY} is the size of GPT-2's "
                f"vocabulary"
            )
        return tokens


def _find(folder: Path) -> list[Path] | None:
    places = [folder, folder / "tokens"]
    return first_whole(
        {
            place: {
                name: place / name if (place / name).is_file() else None for name in (TRAIN, TEST)
            }
            for place in places
        }
    )


def _read(length: int, paths: list[Path]) -> Arrays:
    parts = [Windows(path, length, ahead) for path in paths for ahead in (0, 1)]
    for path, part in zip(paths, parts[::2], strict=True):
        if len(part) == 0:
            raise DataError(f"{path} holds less than a sample of {length} tokens and the next one")
    return Arrays(*parts)


def _describe(spec: DatasetSpec, paths: list[Path]) -> DatasetSpec:
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
        outputs=VOCABULARY,
        # Of made-up ones, where no file says how many there are.
        train_samples=4096,
        test_samples=256,
        find=_find,
        files=f"{TRAIN} and {TEST}",
        read=partial(_read, LENGTH),
        task="next-token",
        kind="tokens",
        words=VOCABULARY,
        describe=_describe,
        resized=_resized,
    ),
)
