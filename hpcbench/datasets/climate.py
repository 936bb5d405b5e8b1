"""Climate fields with a class for every pixel: background, tropical cyclone, atmospheric river.

``deepcam`` is the public set of MLPerf HPC: a folder ``train`` and a folder ``validation`` of files
``data-*.h5``, each with ``climate/data`` (768, 1152, 16) as float32 and ``climate/labels_0`` (768,
1152); ``stats.h5`` beside or in them holds each channel's ``climate/minval`` and ``maxval``, by
which fields come to [0, 1]. Several terabytes, read sample by sample.
``synthetic-storms`` is made up on any machine: weather with vortices and rivers of moisture in it,
each sample the same again from its number. A network can learn it, and it stands for nothing real.
"""

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpcbench.datasets import DATASETS, Arrays, DatasetSpec
from hpcbench.datasets.lazy_array import LazyArray
from hpcbench.errors import DataError

BACKGROUND, CYCLONE, RIVER = 0, 1, 2
CLASS_NAMES = ("background", "cyclone", "river")
CLASSES = len(CLASS_NAMES)
# CAM5's fields in the order of the public set.
CHANNELS = (
    "TMQ",
    "U850",
    "V850",
    "UBOT",
    "VBOT",
    "QREFHT",
    "PS",
    "PSL",
    "T200",
    "T500",
    "PRECT",
    "TS",
    "TREFHT",
    "Z1000",
    "Z200",
    "ZBOT",
)
HEIGHT, WIDTH = 768, 1152
# Shares of all pixels: those that MLPerf HPC's reference implementation weights its loss by, and
# those of 2,000 made-up samples of 64 x 96.
DEEPCAM_SHARES = (0.98627, 0.00046, 0.01327)
STORM_SHARES = (0.98108, 0.00554, 0.01338)

DATA, LABELS = "climate/data", "climate/labels_0"
TRAIN, TEST, STATISTICS = "train", "validation", "stats.h5"
PATTERN = "data-*.h5"


def _read(path: Path, name: str) -> NDArray[Any]:
    """The data set ``name`` of an HDF5 file; DataError where it is not there or damaged."""
    import h5py

    try:
        with h5py.File(path) as file:
            return np.asarray(file[name])
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"{path} has no readable {name}: {error}") from error


class FieldFiles(LazyArray):
    """The fields of ``paths``, each channel from ``low`` to ``high`` brought to [0, 1]."""

    dtype = np.dtype(np.float32)

    def __init__(
        self, paths: list[Path], shape: tuple[int, ...], low: NDArray[Any], high: NDArray[Any]
    ) -> None:
        super().__init__(len(paths))
        self._paths, self.sample_shape = paths, shape
        self._low = low.astype(np.float32)
        # A channel that is the same everywhere stays so.
        self._scale = (1 / np.where(high > low, high - low, 1)).astype(np.float32)

    def read(self, index: int) -> NDArray[np.float32]:
        fields = _fitting(self._paths[index], DATA, self.sample_shape)
        if not np.isfinite(fields).all():
            raise DataError(f"{self._paths[index]}: {DATA} has numbers that are not finite")
        return np.asarray((fields - self._low) * self._scale, np.float32)


class LabelFiles(LazyArray):
    """The classes of the pixels of ``paths``."""

    dtype = np.dtype(np.uint8)

    def __init__(self, paths: list[Path], shape: tuple[int, ...]) -> None:
        super().__init__(len(paths))
        self._paths, self.sample_shape = paths, shape

    def read(self, index: int) -> NDArray[np.uint8]:
        labels = _fitting(self._paths[index], LABELS, self.sample_shape)
        # Written so that numbers that are none do not pass.
        if not (labels.min() >= 0 and labels.max() < CLASSES):
            raise DataError(f"{self._paths[index]} has labels outside of 0 to {CLASSES - 1}")
        return labels.astype(np.uint8)


def _fitting(path: Path, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    values = _read(path, name)
    if values.shape != shape:
        raise DataError(f"{path}: {name} has the shape {values.shape} where others have {shape}")
    return values


def _find(folder: Path) -> list[Path] | None:
    """The folders of training and validation files, and the file of statistics."""
    for place in (folder / "deepcam", folder / "All-Hist", folder):
        parts = [place / TRAIN, place / TEST]
        if not all(part.is_dir() and any(part.glob(PATTERN)) for part in parts):
            continue
        for statistics in (place / STATISTICS, place / TRAIN / STATISTICS):
            if statistics.is_file():
                return [*parts, statistics]
    return None


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob(PATTERN))


def _describe(spec: DatasetSpec, paths: list[Path]) -> DatasetSpec:
    train, test = _files(paths[0]), _files(paths[1])
    shape = _read(train[0], DATA).shape
    if len(shape) != 3:
        raise DataError(f"{train[0]}: {DATA} has the shape {shape}, not height, width, channels")
    return dataclasses.replace(
        spec, input_shape=shape, train_samples=len(train), test_samples=len(test)
    )


def _read_files(paths: list[Path]) -> Arrays:
    low, high = (_read(paths[2], f"climate/{name}") for name in ("minval", "maxval"))
    shape = _read(_files(paths[0])[0], DATA).shape
    if low.shape != shape[-1:] or high.shape != shape[-1:]:
        raise DataError(f"{paths[2]} has statistics of {low.size} channels, not of {shape[-1]}")
    if not (np.isfinite(low) & np.isfinite(high) & (low <= high)).all():
        raise DataError(f"{paths[2]} has a channel whose minval is not at most its maxval")

    def half(files: list[Path]) -> tuple[LazyArray, LazyArray]:
        return FieldFiles(files, shape, low, high), LabelFiles(files, shape[:-1])

    return Arrays(*half(_files(paths[0])), *half(_files(paths[1])))


TRAIN_STORMS, TEST_STORMS = 512, 128


class Storms(LazyArray):
    """Made-up weather on a grid, its samples numbered from ``first``; ``labels`` or fields."""

    def __init__(self, first: int, count: int, shape: tuple[int, ...], labels: bool) -> None:
        super().__init__(count)
        self._first, self._shape, self._labels = first, shape, labels
        self.sample_shape = shape[:-1] if labels else shape
        self.dtype = np.dtype(np.uint8 if labels else np.float32)

    def read(self, index: int) -> NDArray[Any]:
        generator = np.random.default_rng(self._first + index)
        storms = _place_storms(generator, self._shape)
        return storms.labels if self._labels else _weather(generator, self._shape, storms)


@dataclasses.dataclass(frozen=True)
class _Placed:
    """How strongly each pixel is part of a vortex and of a river, in [0, 1], and the winds."""

    labels: NDArray[np.uint8]
    vortex: NDArray[np.float32]
    river: NDArray[np.float32]
    east: NDArray[np.float32]
    north: NDArray[np.float32]


def _place_storms(generator: np.random.Generator, shape: tuple[int, ...]) -> _Placed:
    height, width = shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    unit = height / 64
    vortex, river, east, north = np.zeros((4, height, width), np.float32)
    for _ in range(generator.integers(0, 3)):
        radius = unit * generator.uniform(2.0, 3.5)
        down, right = y - height * generator.uniform(0.1, 0.9), x - width * generator.uniform(0, 1)
        inside = np.exp(-(down**2 + right**2) / (2 * radius**2))
        vortex = np.maximum(vortex, inside)
        # Air turns around the eye, faster towards it.
        east, north = east - inside * down / radius, north + inside * right / radius
    for _ in range(generator.integers(0, 3)):
        start, slope = height * generator.uniform(0.2, 0.8), generator.uniform(-0.6, 0.6)
        bend, left = generator.uniform(-0.01, 0.01) / unit, width * generator.uniform(0, 0.7)
        along = x - left
        middle = start + slope * along + bend * along**2
        length = unit * generator.uniform(20, 40)
        band = np.exp(-((y - middle) ** 2) / (2 * (unit * 1.2) ** 2))
        river = np.maximum(river, band * ((along > 0) & (along < length)))
    # Within 1.2 of a vortex' radii and of a river's widths.
    labels = np.where(vortex > 0.5, CYCLONE, np.where(river > 0.5, RIVER, BACKGROUND))
    return _Placed(labels.astype(np.uint8), vortex, river, east, north)


def _weather(
    generator: np.random.Generator, shape: tuple[int, ...], storms: _Placed
) -> NDArray[np.float32]:
    """Smooth noise, a temperature that falls towards the poles, and what storms do to them."""
    from scipy.ndimage import zoom

    height, width, channels = shape
    coarse = generator.normal(0.5, 0.12, (9, 13, channels)).astype(np.float32)
    factors = (height / 9, width / 13, 1)
    fields = np.asarray(zoom(coarse, factors, order=1, grid_mode=True, mode="nearest"))
    fields += generator.normal(0, 0.03, shape).astype(np.float32)
    latitude = np.abs(np.linspace(-1, 1, height, dtype=np.float32))[:, np.newaxis]
    changes = {
        "TMQ": 0.25 * storms.vortex + 0.3 * storms.river - 0.2 * latitude,
        "U850": 0.2 * storms.east + 0.1 * storms.river,
        "V850": 0.2 * storms.north,
        "UBOT": 0.15 * storms.east,
        "VBOT": 0.15 * storms.north,
        "QREFHT": 0.15 * storms.river,
        "PS": -0.2 * storms.vortex,
        "PSL": -0.25 * storms.vortex,
        "T200": 0.1 * storms.vortex,
        "T500": 0.15 * storms.vortex,
        "PRECT": 0.2 * storms.vortex + 0.15 * storms.river,
        "TS": -0.3 * latitude,
        "TREFHT": -0.3 * latitude,
        "Z1000": -0.2 * storms.vortex,
    }
    for name, change in changes.items():
        fields[..., CHANNELS.index(name)] += change
    return fields.astype(np.float32)


def _storms(shape: tuple[int, ...], _: list[Path]) -> Arrays:
    def half(first: int, count: int) -> tuple[LazyArray, LazyArray]:
        return Storms(first, count, shape, False), Storms(first, count, shape, True)

    return Arrays(*half(0, TRAIN_STORMS), *half(TRAIN_STORMS, TEST_STORMS))


def _resized(spec: DatasetSpec, height: int) -> DatasetSpec:
    shape = (height, height * WIDTH // HEIGHT, len(CHANNELS))
    return dataclasses.replace(spec, input_shape=shape, read=partial(_storms, shape))


DATASETS.add(
    "deepcam",
    DatasetSpec(
        name="deepcam",
        input_shape=(HEIGHT, WIDTH, len(CHANNELS)),
        outputs=CLASSES,
        train_samples=121_266,
        test_samples=15_158,
        find=_find,
        files=f"{TRAIN}/{PATTERN} and {TEST}/{PATTERN}",
        read=_read_files,
        describe=_describe,
        task="segmentation",
        kind="fields",
        class_shares=DEEPCAM_SHARES,
    ),
)
DATASETS.add(
    "synthetic-storms",
    _resized(
        DatasetSpec(
            name="synthetic-storms",
            input_shape=(),
            outputs=CLASSES,
            train_samples=TRAIN_STORMS,
            test_samples=TEST_STORMS,
            find=lambda _: [],
            read=_read_files,
            resized=_resized,
            task="segmentation",
            kind="fields",
            class_shares=STORM_SHARES,
        ),
        64,
    ),
)
