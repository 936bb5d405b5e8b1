"""IMDB reviews (good or bad) and Reuters newswires (46 topics), as numbers that stand for words.

Read from the ``.npz`` files that Keras publishes, whose rows are pickled lists. As in Keras'
loaders a text starts with 1, 2 stands for a word that is not among the most frequent, and 0 fills
up.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from hpcbench.datasets import DATASETS, Arrays, DatasetSpec, Download
from hpcbench.errors import DataError
from hpcbench.safe_pickle import load_npz, npz_length

WORDS, LENGTH = 10_000, 200
START, UNKNOWN, FIRST = 1, 2, 3
SEED, REUTERS_TEST_SHARE = 113, 0.2

Texts = NDArray[np.object_]


def padded(texts: Sequence[Sequence[int]]) -> NDArray[np.int32]:
    """Shape (n, LENGTH): the end of each text, after zeros where it is shorter."""
    rows = np.zeros((len(texts), LENGTH), np.int32)
    for row, text in zip(rows, texts, strict=True):
        numbers = np.array([START, *(np.asarray(text, np.int64) + FIRST)])[-LENGTH:]
        numbers[numbers >= WORDS] = UNKNOWN
        row[LENGTH - len(numbers) :] = numbers
    return rows


def _arrays(path: Path, names: tuple[str, ...]) -> list[NDArray[np.object_]]:
    try:
        return load_npz(path, names)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise DataError(f"data file {path} is corrupt or unreadable: {error}") from error


def _sample(path: Path, texts: Texts, labels: Texts, classes: int) -> Arrays:
    """One part, as inputs and targets for training (the test's are empty)."""
    try:
        inputs, targets = padded(list(texts)), labels.astype(np.int32)
    except (TypeError, ValueError) as error:
        raise DataError(f"data file {path} holds something else than words: {error}") from error
    if len(targets) != len(inputs) or not len(targets):
        raise DataError(f"data file {path} holds {len(inputs)} texts and {len(targets)} labels")
    if inputs.min() < 0 or targets.min() < 0 or targets.max() >= classes:
        raise DataError(f"data file {path} holds words or labels out of range")
    order = np.arange(len(inputs))
    np.random.RandomState(SEED).shuffle(order)
    return Arrays(inputs[order], targets[order], inputs[:0], targets[:0])


def _read_imdb(paths: list[Path]) -> Arrays:
    parts = _arrays(paths[0], ("x_train", "y_train", "x_test", "y_test"))
    train, test = (_sample(paths[0], parts[i], parts[i + 1], 2) for i in (0, 2))
    return Arrays(train.train_inputs, train.train_targets, test.train_inputs, test.train_targets)


def _read_reuters(paths: list[Path]) -> Arrays:
    texts, topics = _arrays(paths[0], ("x", "y"))
    whole = _sample(paths[0], texts, topics, 46)
    cut = _reuters_cut(len(whole.train_inputs))
    inputs, targets = whole.train_inputs, whole.train_targets
    return Arrays(inputs[:cut], targets[:cut], inputs[cut:], targets[cut:])


def _reuters_cut(samples: int) -> int:
    return int(samples * (1 - REUTERS_TEST_SHARE))


def _length(name: str, paths: list[Path]) -> int:
    try:
        return npz_length(paths[0], name)
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise DataError(f"data file {paths[0]} is corrupt or unreadable: {error}") from error


def _find(name: str, folder: Path) -> list[Path] | None:
    return [folder / f"{name}.npz"] if (folder / f"{name}.npz").is_file() else None


def _register(
    name: str,
    task: str,
    outputs: int,
    samples: tuple[int, int],
    digest: str,
    read: Callable[[list[Path]], Arrays],
    count: Callable[[list[Path]], int],
) -> None:
    DATASETS.add(
        name,
        DatasetSpec(
            name=name,
            input_shape=(LENGTH,),
            outputs=outputs,
            train_samples=samples[0],
            test_samples=samples[1],
            find=partial(_find, name),
            files=f"{name}.npz",
            read=read,
            task=task,
            kind="texts",
            words=WORDS,
            count=count,
            downloads=(
                Download(
                    f"https://storage.googleapis.com/tensorflow/tf-keras-datasets/{name}.npz",
                    f"sha256:{digest}",
                    f"{name}.npz",
                ),
            ),
        ),
    )


_register(
    "imdb",
    "binary",
    1,
    (25_000, 25_000),
    "69664113be75683a8fe16e3ed0ab59fda8886cb3cd7ada244f7d9544e4676b9f",
    _read_imdb,
    partial(_length, "x_train"),
)
_register(
    "reuters",
    "classification",
    46,
    (8_982, 2_246),
    "d6586e694ee56d7a4e65172e12b3e987c03096cb01eab99753921ef915959916",
    _read_reuters,
    lambda paths: _reuters_cut(_length("x", paths)),
)
