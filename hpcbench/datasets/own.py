"""A user's own images: a folder of class-named subfolders, or a CSV of pixels.

``image-folder``: ``train/<class>/*.png`` (or jpg, gif, bmp) and ``test/<class>/*``, or the class
folders alone. ``pixel-csv``: ``train.csv`` with a column ``label`` and one column a pixel, as
Kaggle's digits have it. Where nothing with labels is set aside for it, every fifth sample tests.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpcbench.datasets import DATASETS, Arrays, DatasetSpec
from hpcbench.errors import DataError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".gif", ".bmp"})
# Images of any size become squares of this many pixels.
SIDE = 32
EVERY = 5


def _classes(folder: Path) -> dict[str, list[Path]]:
    """The images of each subfolder that has any, by its name, in order."""
    found = {}
    for place in sorted(path for path in folder.iterdir() if path.is_dir()):
        images = sorted(path for path in place.iterdir() if path.suffix.lower() in SUFFIXES)
        if images:
            found[place.name] = images
    return found


def _find_folder(folder: Path) -> list[Path] | None:
    if (folder / "train").is_dir():
        return [folder / "train", *([folder / "test"] if (folder / "test").is_dir() else [])]
    # A folder of other data has files and perhaps subfolders, but no images in those.
    return [folder] if folder.is_dir() and _classes(folder) else None


Labelled = list[tuple[Path, int]]


def _labelled(paths: list[Path]) -> tuple[list[str], Labelled, Labelled]:
    """Class names, and files with their classes to train and to test on."""
    train = _classes(paths[0])
    if len(train) < 2:
        raise DataError(
            f"{paths[0]} has {len(train)} subfolders with images where there should be one for "
            f"each of at least two classes"
        )
    names = list(train)
    files = [(path, names.index(name)) for name in names for path in train[name]]
    if len(paths) == 1:
        return names, [f for i, f in enumerate(files) if i % EVERY], files[::EVERY]
    test = _classes(paths[1])
    unknown = sorted(set(test) - set(train))
    if unknown:
        raise DataError(f"{paths[1] / unknown[0]} is a class that {paths[0]} does not have")
    return names, files, [(path, names.index(name)) for name in test for path in test[name]]


def _read_folder(paths: list[Path]) -> Arrays:
    _, train, test = _labelled(paths)
    if not test:
        raise DataError(f"{paths[-1]} holds no image to test on")
    return Arrays(*_images(train), *_images(test))


def _images(files: Labelled) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    from PIL import Image, UnidentifiedImageError

    pixels = np.empty((len(files), SIDE, SIDE, 3), np.uint8)
    for row, (path, _) in zip(pixels, files, strict=True):
        try:
            with Image.open(path) as image:
                row[:] = np.asarray(image.convert("RGB").resize((SIDE, SIDE)))
        except (OSError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as error:
            raise DataError(f"image {path} cannot be read: {error}") from error
    return pixels, np.array([label for _, label in files], np.int32)


def _describe_folder(spec: DatasetSpec, paths: list[Path]) -> DatasetSpec:
    names, train, test = _labelled(paths)
    folder = paths[0].parent if paths[0].name == "train" else paths[0]
    return dataclasses.replace(
        spec, outputs=len(names), train_samples=len(train), test_samples=len(test),
        title=f"{spec.name} {folder.resolve().name}",
    )  # fmt: skip


CSV_FILE = "train.csv"


def _find_csv(folder: Path) -> list[Path] | None:
    return [folder / CSV_FILE] if (folder / CSV_FILE).is_file() else None


def _table(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Images, square and grey, and labels."""
    import pandas as pd

    try:
        table = pd.read_csv(path)
    except (OSError, ValueError, pd.errors.ParserError) as error:
        raise DataError(f"data file {path} is not a CSV file: {error}") from error
    if "label" not in table:
        raise DataError(
            f"data file {path} has no column 'label'; its first is {table.columns[0]!r}"
        )
    pixels, labels = table.drop(columns="label"), table["label"]
    side = round(pixels.shape[1] ** 0.5)
    if side == 0 or side * side != pixels.shape[1]:
        raise DataError(f"data file {path} has {pixels.shape[1]} pixels a row, which is no square")
    values = _whole_numbers(path, pixels, 255).astype(np.uint8).reshape(-1, side, side, 1)
    return values, _whole_numbers(path, labels.to_frame(), 2**31 - 1)[:, 0].astype(np.int32)


def _whole_numbers(path: Path, table: Any, largest: int) -> NDArray[Any]:
    values = table.to_numpy()
    if values.dtype.kind not in "iu" or not len(values):
        raise DataError(f"data file {path} has cells that are no whole numbers")
    if values.min() < 0 or values.max() > largest:
        raise DataError(f"data file {path} has numbers outside of 0 to {largest}")
    return np.asarray(values)


def _read_csv(paths: list[Path]) -> Arrays:
    images, labels = _table(paths[0])
    test = np.arange(len(labels)) % EVERY == 0
    return Arrays(images[~test], labels[~test], images[test], labels[test])


def _describe_csv(spec: DatasetSpec, paths: list[Path]) -> DatasetSpec:
    images, labels = _table(paths[0])
    tests = -(-len(labels) // EVERY)
    return dataclasses.replace(
        spec, input_shape=images.shape[1:], outputs=int(labels.max()) + 1,
        train_samples=len(labels) - tests, test_samples=tests,
        title=f"{spec.name} {paths[0].resolve().parent.name}",
    )  # fmt: skip


def _register(
    name: str,
    shape: tuple[int, ...],
    find: Callable[[Path], list[Path] | None],
    read: Callable[[list[Path]], Arrays],
    describe: Callable[[DatasetSpec, list[Path]], DatasetSpec],
) -> None:
    DATASETS.add(
        name,
        DatasetSpec(
            name=name, input_shape=shape, outputs=2, train_samples=1, test_samples=1, find=find,
            read=read, describe=describe,
        ),
    )  # fmt: skip


_register("image-folder", (SIDE, SIDE, 3), _find_folder, _read_folder, _describe_folder)
_register("pixel-csv", (28, 28, 1), _find_csv, _read_csv, _describe_csv)
