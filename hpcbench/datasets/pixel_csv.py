"""A user's own pixels in a CSV file, with a column ``label`` and one column a pixel.

As Kaggle's digits have it, in ``train.csv``; every fifth sample tests.
"""

import codecs
import dataclasses
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpcbench.datasets import DATASETS, Arrays, DatasetSpec
from hpcbench.datasets.sharding import EVERY, mixed_order
from hpcbench.errors import DataError
from hpcbench.words import count

CSV_FILE = "train.csv"
GZIP = b"\x1f\x8b"
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def _find_csv(folder: Path) -> list[Path] | None:
    return [folder / CSV_FILE] if (folder / CSV_FILE).is_file() else None


def _table(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Images, square and grey, and labels, mixed so that each part of them has all classes."""
    import pandas as pd

    try:
        with open(path, "rb") as file:
            start = file.read(2)
        table = pd.read_csv(
            path,
            encoding="utf-16" if start in UTF_16 else "utf-8-sig",
            compression="gzip" if start == GZIP else None,
        )
    except (OSError, ValueError, EOFError, zlib.error, pd.errors.ParserError) as error:
        raise DataError(f"data file {path} is not a CSV file: {str(error).strip()}") from error
    table = _without_an_empty_end(path, table)
    if "label" not in table:
        raise DataError(
            f"data file {path} has no column 'label'; its first is {table.columns[0][:40]!r}"
        )
    if "label.1" in table:
        # So pandas calls a second column of a name.
        raise DataError(f"data file {path} has two columns 'label'")
    pixels, labels = table.drop(columns="label"), table["label"]
    side = round(pixels.shape[1] ** 0.5)
    if side == 0 or side * side != pixels.shape[1]:
        raise DataError(f"data file {path} has {pixels.shape[1]} pixels a row, which is no square")
    if table.empty:
        raise DataError(f"data file {path} has no rows")
    values = _whole_numbers(path, pixels, 255).astype(np.uint8).reshape(-1, side, side, 1)
    # Labels are counted from 0, so more classes than rows are none.
    most, since = len(table) - 1, f", as for its {count(len(table), 'row')} labels count from 0"
    classes = _whole_numbers(path, labels.to_frame(), most, since)[:, 0].astype(np.int32)
    if len(np.unique(classes)) < 2:
        raise DataError(f"data file {path} has one label in all rows, so there is nothing to tell")
    order = mixed_order(len(table))
    return values[order], classes[order]


def _without_an_empty_end(path: Path, table: Any) -> Any:
    """The table without the column that stands behind commas at the ends of its lines, those of
    names or not; DataError where it is not empty."""
    import pandas as pd

    names = list(table.columns)
    if not isinstance(table.index, pd.RangeIndex):
        # Of rows that are longer than the line of names, pandas takes the first cells for names.
        table, names = table.reset_index(), [*names, ""]
    unnamed = names[-1] == "" or names[-1].startswith("Unnamed:")
    if unnamed and table.iloc[:, -1].isna().all():
        table, names = table.iloc[:, :-1], names[:-1]
    if len(names) != table.shape[1] or "" in names:
        raise DataError(f"data file {path} has more cells a row than names in its header")
    return table.set_axis(names, axis=1)


def _whole_numbers(path: Path, table: Any, largest: int, since: str = "") -> NDArray[Any]:
    """The cells of a table as whole numbers from 0 to ``largest``, which is so ``since``, whether
    printed as 3 or as 3.0.

    Raises DataError with the row, counted from 1 below the header, and the column of one that is
    none.
    """
    import pandas as pd

    values = table.apply(pd.to_numeric, errors="coerce").to_numpy(float)
    wrong = np.argwhere(~((values >= 0) & (values <= largest) & (values == np.floor(values))))
    if len(wrong):
        row, column = wrong[0]
        cell = table.iloc[row, column]
        raise DataError(
            f"data file {path}: {'an empty cell' if pd.isna(cell) else repr(str(cell))} in row "
            f"{row + 1}, column {table.columns[column]!r} is no whole number from 0 to {largest}"
            f"{since}"
        )
    return np.asarray(values)


def _read_csv(paths: list[Path]) -> Arrays:
    images, labels = _table(paths[0])
    test = np.arange(len(labels)) % EVERY == 0
    return Arrays(images[~test], labels[~test], images[test], labels[test])


def _describe_csv(spec: DatasetSpec, paths: list[Path]) -> DatasetSpec:
    images, labels = _table(paths[0])
    tests = -(-len(labels) // EVERY)
    return dataclasses.replace(
        spec,
        input_shape=images.shape[1:],
        outputs=int(labels.max()) + 1,
        train_samples=len(labels) - tests,
        test_samples=tests,
        title=f"{spec.name} {paths[0].resolve().parent.name}",
    )


DATASETS.add(
    "pixel-csv",
    DatasetSpec(
        name="pixel-csv",
        input_shape=(28, 28, 1),
        outputs=2,
        train_samples=0,
        test_samples=0,
        find=_find_csv,
        files=CSV_FILE,
        read=_read_csv,
        describe=_describe_csv,
    ),
)
