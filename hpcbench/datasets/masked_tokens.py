"""Text as numbers, some of which are masked for a network to tell.

``masked-tokens``: ``train.bin`` and ``val.bin``, tokens as 16-bit numbers one after the other, by
the vocabulary of BERT-Base, uncased. They are cut into samples of the same length, without [CLS]
and [SEP] unless they are in the files, and without padding, so that attention has nothing to leave
out. Masks of training samples follow from the run's seed, those of test samples are always the
same.
"""

import dataclasses
from functools import partial
from pathlib import Path

from hpcbench.datasets import DATASETS, Arrays, DatasetSpec
from hpcbench.datasets.masking import TEST, TRAIN, Tokens, masked
from hpcbench.datasets.tokens import TEST_FILE, TRAIN_FILE, Vocabulary, Windows, describe, find
from hpcbench.errors import DataError
from hpcbench.models import MASKED_TOKENS

BERT = Vocabulary("BERT's", 30_522)
PADDING, LENGTH = 0, 128


class MaskedWindows(Windows):
    """Samples of a long row of tokens, or their targets, as :func:`masked` makes both."""

    def __init__(self, path: Path, length: int, part: int, seed: int, targets: bool) -> None:
        super().__init__(path, length, 0, BERT)
        self._part, self._seed, self._targets = part, seed, targets

    def read(self, index: int) -> Tokens:
        tokens = super().read(index)
        if tokens.min() == PADDING:
            raise DataError(
                f"{self.path} has token {PADDING}, BERT's padding, which attention would take for "
                f"a word; leave it out"
            )
        return masked(tokens, BERT.size, (self._part, self._seed, index))[self._targets]


def _read(length: int, seed: int, paths: list[Path]) -> Arrays:
    train, test = paths
    windows = [(train, length, TRAIN, seed), (test, length, TEST, 0)]
    return Arrays(*(MaskedWindows(*part, targets) for part in windows for targets in (False, True)))


def _resized(spec: DatasetSpec, length: int) -> DatasetSpec:
    return dataclasses.replace(spec, input_shape=(length,), read=partial(_read, length, 0))


def _seeded(spec: DatasetSpec, seed: int) -> DatasetSpec:
    return dataclasses.replace(spec, read=partial(_read, spec.input_shape[0], seed))


DATASETS.add(
    "masked-tokens",
    DatasetSpec(
        name="masked-tokens",
        input_shape=(LENGTH,),
        outputs=BERT.size,
        # Of made-up ones, where no file says how many there are.
        train_samples=4096,
        test_samples=256,
        find=partial(find, "masked-tokens"),
        files=f"{TRAIN_FILE} and {TEST_FILE}",
        read=partial(_read, LENGTH, 0),
        task="masked-token",
        kind=MASKED_TOKENS,
        words=BERT.size,
        describe=describe,
        resized=_resized,
        seeded=_seeded,
    ),
)
