"""Boston Housing: 506 towns' median house prices from 13 numbers each, in thousands of dollars.

The prices are those of Harrison and Rubinfeld (1978). One of the columns is made from the share of
Black residents, so it serves as an exercise in regression and for nothing else.
"""

from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from hpcbench.datasets import DATASETS, Arrays, DatasetSpec, Download
from hpcbench.errors import DataError
from hpcbench.safe_pickle import load_npz

FILE = "boston_housing.npz"
# Keras' split: a fifth tests, after a shuffle with this seed.
SEED, TEST_SHARE, SAMPLES, COLUMNS = 113, 0.2, 506, 13
TRAIN_SAMPLES = int(SAMPLES * (1 - TEST_SHARE))


def _find(folder: Path) -> list[Path] | None:
    return [folder / FILE] if (folder / FILE).is_file() else None


def _read(paths: list[Path]) -> Arrays:
    """Columns are standardized by the training part's mean and deviation."""
    try:
        columns, prices = load_npz(paths[0], ("x", "y"))
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise DataError(f"data file {paths[0]} is corrupt or unreadable: {error}") from error
    if columns.shape != (SAMPLES, COLUMNS) or prices.shape != (SAMPLES,):
        raise DataError(
            f"data file {paths[0]} holds arrays of shape {columns.shape} and {prices.shape} where "
            f"({SAMPLES}, {COLUMNS}) and ({SAMPLES},) are expected"
        )
    order = np.arange(SAMPLES)
    np.random.RandomState(SEED).shuffle(order)
    columns, prices = columns[order].astype(np.float64), prices[order].astype(np.float32)
    train = columns[:TRAIN_SAMPLES]
    with np.errstate(divide="ignore", invalid="ignore"):
        standard = ((columns - train.mean(axis=0)) / train.std(axis=0)).astype(np.float32)
    if not (np.isfinite(standard).all() and np.isfinite(prices).all()):
        raise DataError(
            f"data file {paths[0]} holds numbers that are not finite, or one that never changes"
        )
    return Arrays(
        standard[:TRAIN_SAMPLES],
        prices[:TRAIN_SAMPLES],
        standard[TRAIN_SAMPLES:],
        prices[TRAIN_SAMPLES:],
    )


DATASETS.add(
    "boston-housing",
    DatasetSpec(
        name="boston-housing",
        input_shape=(COLUMNS,),
        outputs=1,
        train_samples=TRAIN_SAMPLES,
        test_samples=SAMPLES - TRAIN_SAMPLES,
        find=_find,
        files=FILE,
        read=_read,
        task="regression",
        kind="tables",
        downloads=(
            Download(
                f"https://storage.googleapis.com/tensorflow/tf-keras-datasets/{FILE}",
                "sha256:f553886a1f8d56431e820c5b82552d9d95cfcb96d1e678153f8839538947dff5",
                FILE,
            ),
        ),
    ),
)
