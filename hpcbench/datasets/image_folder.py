"""A user's own images, a folder of class-named subfolders.

``image-folder``: ``train/<class>/*.png`` (or whatever else Pillow reads) and ``test/<class>/*`` or
``val``, ``valid`` or ``validation``, or the class folders alone. ``imagenet`` is such a folder with
the counts of ILSVRC 2012. Images are cut to a square about their centre, brought to one size, and
read when they are needed: ``--input resident`` decodes each once and keeps it, ``--input stream``
decodes it every epoch. Where no images with labels are set aside for it, every fifth tests.
"""

import dataclasses
import re
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hpcbench.datasets import DATASETS, Arrays, DatasetSpec
from hpcbench.datasets.lazy_array import LazyArray
from hpcbench.datasets.sharding import EVERY, mixed_order
from hpcbench.errors import DataError
from hpcbench.words import count

# What Pillow knows by name and cannot read by itself.
STUBS = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"})
# What systems and their file servers leave behind; names with a dot in front are hidden.
OF_SYSTEMS = frozenset(
    {"__MACOSX", "Thumbs.db", "desktop.ini", "$RECYCLE.BIN", "System Volume Information"}
    | {"@eaDir", "lost+found"}
)
# Images of any size become squares of this many pixels, unless asked otherwise.
SIDE = 32
TEST_FOLDERS = ("test", "val", "valid", "validation")
NAMED = 3
# What a part of a set is called, and no class.
PART = re.compile(r"(?i)(train|test|val)(ing|id|idation)?([-_ ]?(set|images|data))?$")


@cache
def _suffixes() -> frozenset[str]:
    from PIL import Image

    read = Image.registered_extensions().items()
    return frozenset(end for end, kind in read if kind in Image.OPEN and kind not in STUBS)


def _inside(folder: Path) -> list[Path]:
    """What lies in a folder, in order, without hidden and systems' own files."""
    return sorted(
        path
        for path in folder.iterdir()
        if not path.name.startswith(".") and path.name not in OF_SYSTEMS
    )


def _is_image(path: Path) -> bool:
    """By its ending; a file of another one by what is in it."""
    if path.suffix.lower() in _suffixes():
        return path.is_file()
    if not path.is_file():
        return False
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.format not in STUBS
    # Pillow's decoders raise what they like of what is no image.
    except Exception:
        return False


@dataclass(frozen=True)
class _Classes:
    """The images of each subfolder of ``folder`` that has any, by its name; ``others`` are files in
    them that are none, ``deeper`` what is a folder there or leads nowhere, ``empty`` subfolders
    without an image, and ``strays`` images outside of them."""

    folder: Path
    images: dict[str, list[Path]] = field(default_factory=dict)
    others: list[Path] = field(default_factory=list)
    deeper: list[Path] = field(default_factory=list)
    empty: list[Path] = field(default_factory=list)
    strays: list[Path] = field(default_factory=list)

    @classmethod
    def of(cls, folder: Path) -> "_Classes":
        found = cls(folder)
        for place in _inside(folder):
            if not place.is_dir():
                found.strays.extend(filter(_is_image, [place]))
                continue
            inside = _inside(place)
            images = [path for path in inside if _is_image(path)]
            if images:
                found.images[place.name] = images
                rest = sorted(set(inside) - set(images))
                found.others.extend(path for path in rest if path.is_file())
                found.deeper.extend(path for path in rest if not path.is_file())
            else:
                found.empty.append(place)
        return found

    @property
    def remark(self) -> str:
        """What was left out, in a sentence; empty where nothing was."""
        parts = []
        for paths, noun, what in (
            (self.empty, "subfolder", "without an image"),
            (self.others, "file", "that Pillow does not read"),
            (self.deeper, "item", "within classes' folders that are no files"),
            (self.strays, "image", "outside of the classes' folders"),
        ):
            if paths:
                names = ", ".join(str(path.relative_to(self.folder)) for path in paths[:NAMED])
                parts.append(f"{count(len(paths), noun)} {what} ({names})")
        return f"{self.folder}: left out {' and '.join(parts)}" if parts else ""


def _find_folder(folder: Path) -> list[Path] | None:
    if not folder.is_dir():
        return None
    named = {path.name.lower(): path for path in _inside(folder) if path.is_dir()}
    if "train" in named:
        tests = [named[name] for name in TEST_FOLDERS if name in named]
        return [named["train"], *tests[:1]]
    # A folder of other data has files and perhaps subfolders, but no images in those.
    return [folder] if _Classes.of(folder).images else None


Labelled = list[tuple[Path, int]]


@dataclass(frozen=True)
class _Labels:
    """Class names, files with their classes to train and to test on, and what was left out."""

    names: list[str]
    train: Labelled
    test: Labelled
    remark: str

    @classmethod
    def of(cls, paths: list[Path]) -> "_Labels":
        """Of the folder to train on and, where there is one, that to test on; DataError where they
        do not fit."""
        train = _Classes.of(paths[0])
        names = list(train.images)
        if len(names) < 2:
            raise DataError(
                f"{paths[0]} has {len(names)} subfolders with images where there should be one for "
                f"each of at least two classes"
            )
        if all(PART.match(name) for name in names):
            raise DataError(
                f"{paths[0]} has images straight in {' and '.join(names)}, which are no classes: "
                f"put them into a subfolder for each class"
            )
        files = [(path, names.index(name)) for name in names for path in train.images[name]]
        remarks = [train.remark, _unread(paths)]
        if len(paths) > 1:
            test = _Classes.of(paths[1])
            unknown = sorted(set(test.images) - set(names))
            if unknown:
                raise DataError(f"{paths[1] / unknown[0]} is a class that {paths[0]} does not have")
            remarks.append(test.remark)
            if test.images:
                tests = [(p, names.index(name)) for name in test.images for p in test.images[name]]
                return cls(names, _mixed(files), tests, "; ".join(filter(None, remarks)))
            remarks.append(
                f"{paths[1]} has no subfolder of a class with images, so every fifth of {paths[0]} "
                f"tests"
            )
        trained = _mixed([file for place, file in enumerate(files) if place % EVERY])
        return cls(names, trained, files[::EVERY], "; ".join(filter(None, remarks)))


def _unread(paths: list[Path]) -> str:
    """Folders beside that to train on of which nothing is read."""
    if paths[0].name.lower() != "train":
        return ""
    around = paths[0].parent
    beside = [path.name for path in _inside(around) if path.is_dir() and path not in paths]
    return f"{around}: nothing of {', '.join(beside[:NAMED])} is read" if beside else ""


def _mixed(files: Labelled) -> Labelled:
    """In an order without classes, always the same, so that a part of them is a fair one."""
    return [files[place] for place in mixed_order(len(files))]


class ImageFiles(LazyArray):
    """Images as bytes, (side, side, 3)."""

    dtype = np.dtype(np.uint8)

    def __init__(self, paths: list[Path], side: int) -> None:
        super().__init__(len(paths))
        self._paths = paths
        self.sample_shape = (side, side, 3)

    def read(self, index: int) -> NDArray[np.uint8]:
        from PIL import Image, ImageOps, UnidentifiedImageError

        path, side = self._paths[index], self.sample_shape[0]
        try:
            with Image.open(path) as image:
                if image.mode.startswith(("I", "F")):
                    raise ValueError(f"it has mode {image.mode}; 8 bits a channel are expected")
                # A JPEG can be decoded at half or a quarter of its size, where that is enough.
                image.draft("RGB", (side, side))
                return np.asarray(ImageOps.fit(image.convert("RGB"), (side, side)))
        except (
            OSError,
            ValueError,
            SyntaxError,
            UnidentifiedImageError,
            Image.DecompressionBombError,
        ) as error:
            raise DataError(f"image {path} cannot be read: {error}") from error


def _read_folder(side: int, paths: list[Path]) -> Arrays:
    labels = _Labels.of(paths)

    def half(files: Labelled) -> tuple[LazyArray, NDArray[np.int32]]:
        targets = np.array([label for _, label in files], np.int32)
        return ImageFiles([path for path, _ in files], side), targets

    return Arrays(*half(labels.train), *half(labels.test))


def _resized(spec: DatasetSpec, side: int) -> DatasetSpec:
    return dataclasses.replace(spec, input_shape=(side, side, 3), read=partial(_read_folder, side))


def _describe_folder(spec: DatasetSpec, paths: list[Path]) -> DatasetSpec:
    labels = _Labels.of(paths)
    folder = paths[0].parent if paths[0].name == "train" else paths[0]
    return dataclasses.replace(
        spec,
        outputs=len(labels.names),
        train_samples=len(labels.train),
        test_samples=len(labels.test),
        remark=labels.remark,
        title=f"{spec.name} {folder.resolve().name}",
    )


def _find_imagenet(folder: Path) -> list[Path] | None:
    for place in (folder / "imagenet", folder):
        paths = [place / "train", place / "val"]
        if all(path.is_dir() for path in paths):
            return paths
    return None


FOLDER = DatasetSpec(
    name="image-folder",
    input_shape=(SIDE, SIDE, 3),
    outputs=2,
    train_samples=0,
    test_samples=0,
    find=_find_folder,
    files="train/<class>/<image>, or <class>/<image>",
    read=partial(_read_folder, SIDE),
    describe=_describe_folder,
    resized=_resized,
)
DATASETS.add(FOLDER.name, FOLDER)
DATASETS.add(
    "imagenet",
    dataclasses.replace(
        FOLDER,
        name="imagenet",
        outputs=1000,
        train_samples=1_281_167,
        test_samples=50_000,
        find=_find_imagenet,
        files="train/<class>/<image> and val/<class>/<image>",
        describe=None,
    ),
)
