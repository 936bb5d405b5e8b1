"""Where a data set's files are: a folder given, Keras' cache, the system's, or a download.

python -m hpcbench.datasets.sources [NAME...] downloads what is missing.
"""

import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from hpcbench.cli import reports_errors
from hpcbench.datasets import DATASETS, Arrays, DatasetSpec, Incomplete
from hpcbench.datasets.synthetic import limited
from hpcbench.errors import ConfigError, DataError, HpcbenchError, first_line
from hpcbench.locks import held
from hpcbench.models import ModelSpec

Result = TypeVar("Result")

AUTO_ORDER = ("mnist", "fashion-mnist", "mnist-5k")


@dataclass(frozen=True)
class Source:
    """A data set and the files that hold it."""

    spec: DatasetSpec
    files: list[Path]

    @property
    def train_samples(self) -> int:
        """How many training samples the files hold; DataError if they cannot be read."""
        if self.spec.count and self.files:
            return _of_files(self.spec.count, self.files)
        return self.spec.train_samples

    def read(self) -> Arrays:
        """What the files hold; DataError if they cannot be read."""
        return _of_files(self.spec.read, self.files)


def _of_files(work: Callable[[list[Path]], Result], files: list[Path]) -> Result:
    """``work(files)``, with whatever broken files make of a reader told as a DataError."""
    try:
        return work(files)
    except HpcbenchError:
        raise
    except Exception as error:
        name = files[0] if files else "none"
        raise DataError(f"data file {name} is corrupt or unreadable: {error!r}") from error


def keras_cache() -> Path | None:
    """The folder in which Keras' own loaders keep data sets; None for a user without a home."""
    home = os.environ.get("KERAS_HOME")
    try:
        return (Path(home) if home else Path.home() / ".keras") / "datasets"
    except RuntimeError:
        return None


def _given(data_dir: Path | None) -> Path | None:
    named = os.environ.get("HPCBENCH_DATA")
    return data_dir or (Path(named) if named else None)


def folders(spec: DatasetSpec, data_dir: Path | None) -> list[Path]:
    """Where ``spec`` is looked for, in this order; DataError if a folder was named that is none."""
    given = _given(data_dir)
    if given and not given.is_dir():
        raise DataError(f"data folder {given} does not exist")
    places = [given] if given else []
    cache = keras_cache()
    places += [cache] if cache else []
    if spec.system_folder:
        places.append(spec.system_folder)
    return places


def find(spec: DatasetSpec, data_dir: Path | None, image_size: int | None = None) -> Source | None:
    """The first place that holds the whole set, without downloading.

    DataError if the folder that was named holds a part of it; of others, such as a cache that an
    unpacking left half done, the next one is looked at.
    """
    given = _given(data_dir)
    for folder in folders(spec, data_dir):
        try:
            files = spec.find(folder)
        except Incomplete:
            if folder == given:
                raise
            continue
        if files is not None:
            found = of_files(spec, files, image_size)
            return _from_elsewhere(found, data_dir, folder)
    return None


def obtainable(name: str) -> bool:
    """Whether the set ``name`` is on this machine, or can be downloaded."""
    return bool(DATASETS[name].downloads) or find(DATASETS[name], None) is not None


def _from_elsewhere(found: Source, data_dir: Path | None, folder: Path) -> Source:
    """``found`` in ``folder``, with a remark where another was named for this run."""
    if data_dir is None or folder == data_dir:
        return found
    remark = f"{data_dir} has no {found.spec.name}, which is taken from {folder}"
    remark += f"; {found.spec.remark}" if found.spec.remark else ""
    return replace(found, spec=replace(found.spec, remark=remark))


def of_files(spec: DatasetSpec, files: list[Path], image_size: int | None = None) -> Source:
    """``spec`` as these files hold it; DataError if they cannot be read."""
    if image_size and spec.resized:
        spec = spec.resized(spec, image_size)
    if spec.describe:
        spec = _of_files(partial(spec.describe, spec), files)
    return Source(spec, files)


def locate(
    name: str,
    data_dir: Path | None = None,
    candidates: Sequence[str] = AUTO_ORDER,
    image_size: int | None = None,
    may_download: bool = True,
) -> Source:
    """Find a data set, downloading it (into Keras' cache, its hash checked) where it is missing.

    ``auto`` takes the first of ``candidates`` that is on this machine; only where none is, it
    downloads the first. Raises ConfigError for an unknown name and DataError where the set can be
    neither found nor downloaded, or not ``may_download``. Image files are brought to
    ``image_size`` pixels a side.
    """
    if name == "auto":
        for candidate in candidates:
            source = find(DATASETS[candidate], data_dir, image_size)
            if source:
                return source
        name = candidates[0]
    spec = DATASETS[name]
    found = find(spec, data_dir, image_size)
    if found is None and not may_download and spec.downloads:
        raise DataError(
            f"data set {spec.name} is not in {_looked_in(spec, data_dir)}, and nothing is "
            f"downloaded in a job, whose node may have no internet: on a login node, python -m "
            f"hpcbench.datasets.sources {spec.name}"
        )
    return found or download(spec, data_dir)


def _looked_in(spec: DatasetSpec, data_dir: Path | None) -> str:
    looked = ", ".join(str(folder) for folder in folders(spec, data_dir)) or "any folder"
    return f"{looked} (as {spec.files})" if spec.files else looked


def locate_for(
    model: ModelSpec,
    name: str,
    data_dir: Path | None = None,
    image_size: int | None = None,
    made_up: bool = False,
    may_download: bool = True,
    least: int = 1,
) -> Source:
    """:func:`locate` for ``model``; ConfigError if it cannot take what the data set holds.

    A set that is to be ``made_up`` needs no files, unless only they say what shape it has; it has
    ``least`` training samples where the real one has.
    """
    check_kind(model, name)
    size = image_size or model.image_size
    if not made_up:
        source = locate(name, data_dir, model.datasets, size, may_download)
        _check_size(source.spec, image_size)
        return source
    spec = DATASETS[model.datasets[0] if name == "auto" else name]
    _check_size(spec, image_size)
    if spec.train_samples == 0:
        found = locate(name, data_dir, image_size=size, may_download=may_download)
        spec = replace(found.spec, train_samples=found.train_samples)
    elif spec.resized:
        spec = spec.resized(spec, size)
    return Source(limited(spec, least), [])


def check_kind(model: ModelSpec, name: str) -> None:
    """Raise ConfigError if ``model`` cannot take what the data set ``name`` holds."""
    if name != "auto" and DATASETS[name].kind != model.kind:
        raise ConfigError(
            f"model {model.name} takes {model.kind}, {name} holds {DATASETS[name].kind}; "
            f"choose from {', '.join(s.name for s in DATASETS if s.kind == model.kind)}"
        )


def _check_size(spec: DatasetSpec, image_size: int | None) -> None:
    if image_size and not spec.resized:
        shape = " x ".join(map(str, spec.input_shape))
        raise ConfigError(f"--image-size {image_size}: samples of {spec.name} are {shape}")


def download(spec: DatasetSpec, data_dir: Path | None = None) -> Source:
    """Fetch the set's files into Keras' cache; several processes may ask at once, one fetches."""
    looked = _looked_in(spec, data_dir)
    if not spec.downloads:
        raise DataError(f"data set {spec.name} is not in {looked} and has no download")
    cache = keras_cache()
    if cache is None:
        raise DataError(
            f"data set {spec.name} is not in {looked}, and without a home folder there is none to "
            f"download it to: set KERAS_HOME, or name a folder that has it with --data-dir"
        )
    import pooch

    pooch.get_logger().setLevel(logging.WARNING)
    folder = cache / spec.cache_folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with held(folder):
            files = [
                Path(
                    pooch.retrieve(
                        item.url,
                        item.digest,
                        fname=item.cache_name,
                        path=folder,
                        downloader=pooch.HTTPDownloader(timeout=20),
                    )
                )
                for item in spec.downloads
            ]
    except (OSError, ValueError) as error:
        reason = first_line(error)
        raise DataError(
            f"data set {spec.name} is not in {looked} and its download failed ({reason}); "
            f"put its files into a folder and name it with --data-dir"
        ) from error
    return Source(spec, files)


@reports_errors
def main(names: Sequence[str]) -> int:
    """Make sure that the data sets of ``names`` are here, downloading what is not.

    Without a name: what ``auto`` finds, else MNIST. Exit status 0 if all are, 3 if not, 2 for an
    unknown name.
    """
    wanted: list[tuple[str, ...]] = [(name,) for name in names] or [AUTO_ORDER[:2]]
    for candidates in wanted:
        print(f"{_here_or_downloaded(candidates).files[0]}")
    return 0


def _here_or_downloaded(candidates: Sequence[str]) -> Source:
    found = (find(DATASETS[name], None) for name in candidates)
    return next((source for source in found if source), None) or download(DATASETS[candidates[0]])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
