"""CIFAR-10 and CIFAR-100: 32 x 32 colour photographs of 10 and 100 classes.

Reads the published archive (``cifar-10-python.tar.gz``, or its unpacked folder) and an ``.npz``
with ``x_train``, ``y_train``, ``x_test``, ``y_test``, which may hold fewer images.
"""

import tarfile
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from hpcbench.datasets import DATASETS, Arrays, DatasetSpec, Download, first_whole
from hpcbench.errors import DataError, first_line
from hpcbench.safe_pickle import load, load_npz, npz_length

NAMES = ("x_train", "y_train", "x_test", "y_test")
SHAPE = (32, 32, 3)
TRAIN_SAMPLES = 50_000
# By what an unpacked archive is known in a folder of another name.
META = {"cifar-10-batches-py": "batches.meta", "cifar-100-python": "meta"}
# What is raised of files that are none, or are cut off.
BROKEN = (
    *(OSError, ValueError, KeyError, EOFError, AttributeError, TypeError),
    *(BadZipFile, zlib.error, tarfile.TarError),
)


def _find(name: str, folder_name: str, members: tuple[str, ...], folder: Path) -> list[Path] | None:
    archive = folder / f"{name}.npz"
    if archive.is_file():
        return [archive]
    packed = folder / f"{folder_name.replace('-batches-py', '-python')}.tar.gz"
    if packed.is_file():
        return [packed]
    # Keras unpacks into a folder of the archive's folder.
    targets = [folder / end for end in ("", f"{folder_name}-target", f"{folder_name}.tar.gz")]
    places = [target / folder_name for target in targets]
    if folder.name == folder_name or (folder / META[folder_name]).is_file():
        places.append(folder)
    return first_whole(
        {
            place: {name: file if (file := place / name).is_file() else None for name in members}
            for place in places
        }
    )


def _batches(paths: list[Path], members: tuple[str, ...]) -> Iterator[dict[bytes, Any]]:
    """Each member's dictionary, from the archive or the files."""
    if paths[0].name.endswith(".tar.gz"):
        with tarfile.open(paths[0]) as archive:
            by_name = {Path(entry.name).name: entry for entry in archive if entry.isfile()}
            for member in members:
                opened: IO[bytes] | None = archive.extractfile(by_name[member])
                if opened is None:
                    raise ValueError(f"{member} is not a file")
                yield _loaded(opened, f"{member} of {paths[0]}")
        return
    for path in paths:
        with open(path, "rb") as file:
            yield _loaded(file, str(path))


def _loaded(file: IO[bytes], name: str) -> dict[bytes, Any]:
    try:
        content: dict[bytes, Any] = load(file)
        # A row of bytes an image: the red, the green and the blue plane.
        content[b"data"] = content[b"data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    except BROKEN as error:
        raise DataError(
            f"data file {name} is corrupt or unreadable: {first_line(error)}"
        ) from error
    return content


def _read(label: bytes, members: tuple[str, ...], classes: int, paths: list[Path]) -> Arrays:
    try:
        if paths[0].suffix == ".npz":
            arrays = load_npz(paths[0], NAMES)
        else:
            parts = list(_batches(paths, members))
            planes = [part[b"data"] for part in parts]
            classes_of = [np.array(p[label]) for p in parts]
            arrays = [
                np.concatenate(planes[:-1]),
                np.concatenate(classes_of[:-1]),
                planes[-1],
                classes_of[-1],
            ]
    except BROKEN as error:
        raise DataError(
            f"data file {paths[0]} is corrupt or unreadable: {first_line(error)}"
        ) from error
    for images, labels in (arrays[:2], arrays[2:]):
        _check(paths[0], images, labels.reshape(-1), classes)
    return Arrays(
        np.ascontiguousarray(arrays[0]),
        arrays[1].reshape(-1).astype(np.int32),
        np.ascontiguousarray(arrays[2]),
        arrays[3].reshape(-1).astype(np.int32),
    )


def _count(paths: list[Path]) -> int:
    """Training images, from an archive's header alone."""
    if paths[0].suffix != ".npz":
        return TRAIN_SAMPLES
    try:
        return npz_length(paths[0], NAMES[0])
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise DataError(f"data file {paths[0]} is corrupt or unreadable: {error}") from error


def _check(path: Path, images: NDArray[Any], labels: NDArray[Any], classes: int) -> None:
    if images.dtype != np.uint8 or images.shape[1:] != SHAPE:
        raise DataError(
            f"data file {path} holds images of shape {images.shape} and type {images.dtype} where "
            f"(n, 32, 32, 3) bytes are expected"
        )
    fit = len(labels) == len(images) > 0 and labels.dtype.kind in "iu"
    if not fit or labels.min() < 0 or labels.max() >= classes:
        raise DataError(f"data file {path} holds labels that do not fit its images")


def _register(
    name: str, classes: int, label: bytes, folder_name: str, members: tuple[str, ...], digest: str
) -> None:
    archive = f"{folder_name.replace('-batches-py', '-python')}.tar.gz"
    DATASETS.add(
        name,
        DatasetSpec(
            name=name,
            input_shape=SHAPE,
            outputs=classes,
            train_samples=TRAIN_SAMPLES,
            test_samples=10_000,
            find=partial(_find, name, folder_name, members),
            files=f"{name}.npz, {archive} or the folder {folder_name}",
            read=partial(_read, label, members, classes),
            count=_count,
            downloads=(
                Download(
                    f"https://www.cs.toronto.edu/~kriz/{archive}", f"sha256:{digest}", archive
                ),
            ),
        ),
    )


# Digests as Keras' loaders have them.
_register(
    "cifar10",
    10,
    b"labels",
    "cifar-10-batches-py",
    (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"),
    "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
)
_register(
    "cifar100",
    100,
    b"fine_labels",
    "cifar-100-python",
    ("train", "test"),
    "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
)
