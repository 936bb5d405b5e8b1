"""hpcbench plot-training RUN [--output DIR]: what one run learned, as pictures.

RUN is a run's folder. Draws its curves of loss and metric; and, where the run kept its model
(--checkpoint) and learned to classify images or the pixels of fields: test samples with labels and
guesses, the filters of the first layer (of images), and the confusion matrix.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpcbench.cli import Parser, reports_errors
from hpcbench.errors import ConfigError, DataError, EnvironmentLacks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hpcbench.config import RunConfig
    from hpcbench.datasets.sources import Source
    from hpcbench.frameworks import SavedModel

# Fields that are looked at: they may be large, and have many pixels to judge by.
MOST_FIELDS = 16

Figures = Mapping[str, Callable[[], "Figure"]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = "What one run learned, as pictures."
    parser.epilog = (
        "exit status: 0 done, 2 not a run, 3 data are missing or the output cannot be written"
    )
    parser.add_argument("run", type=Path, help="a run's folder, results/<sweep>/<run id>")
    parser.add_argument("--output", type=Path, help="folder; default: figures in the run's folder")
    parser.add_argument("--data-dir", type=Path, help="folder that holds the data set")


@reports_errors
def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status as the command's help lists them."""
    parser = Parser(prog="hpcbench plot-training")
    add_arguments(parser)
    for path in draw(parser.parse(arguments)):
        print(path)
    return 0


def draw(args: argparse.Namespace) -> Iterator[Path]:
    """Write the figures, curves first; raises HpcbenchError."""
    import pandas as pd

    from hpcbench.analysis.figures import style
    from hpcbench.analysis.figures.training import curves_figure
    from hpcbench.records.reader import read_document
    from hpcbench.records.schema import ACCURACY_FILE
    from hpcbench.records.upgrade import config_of

    output = args.output or args.run / "figures"
    try:
        document = read_document(args.run)
        has_epochs = (args.run / ACCURACY_FILE).exists()
        epochs = pd.read_csv(args.run / ACCURACY_FILE) if has_epochs else pd.DataFrame()
    except (OSError, ValueError) as error:
        raise ConfigError(f"{args.run} is not a run's folder: {error}") from error
    if epochs.empty:
        raise EnvironmentLacks(f"{args.run} has no epoch to draw")
    style.use()
    yield from _written(output, {"curves": lambda: curves_figure(epochs)})
    config = config_of(document)
    if config.input == "synthetic":
        print(f"only curves: {args.run} trained on made-up samples", file=sys.stderr)
        return
    files = [Path(name) for name in document.get("data_files", [])]
    yield from _written(output, _learned(args.run, config, files, args.data_dir))


def _learned(
    run: Path, config: "RunConfig", files: Sequence[Path], data_dir: Path | None
) -> Figures:
    """The figures of what a run learned; raises DataError where its data are not here."""
    from hpcbench.frameworks import FRAMEWORKS
    from hpcbench.models import MODELS

    if MODELS[config.model].kind not in DRAWN:
        return {}
    framework = FRAMEWORKS[config.framework]
    source = _source(config, files, data_dir)
    model = framework.saved_model(run, config, source.spec)
    if model is None:
        print(
            f"only curves: {run} kept no model that can be looked at; train with --checkpoint",
            file=sys.stderr,
        )
        return {}
    return DRAWN[source.spec.kind](model, source)


def _source(config: "RunConfig", files: Sequence[Path], data_dir: Path | None) -> "Source":
    """The run's data, where they were then or in ``data_dir``."""
    from hpcbench.datasets import DATASETS
    from hpcbench.datasets.sources import find, of_files
    from hpcbench.models import MODELS

    dataset, side = DATASETS[config.dataset], config.image_size or MODELS[config.model].image_size
    if data_dir:
        found = find(dataset, data_dir, side)
    else:
        there = all(path.exists() for path in files)
        found = of_files(dataset, list(files), side) if there else None
    if found is None:
        where = data_dir or ", ".join(map(str, files))
        raise DataError(f"the run's data are not in {where}; name their folder with --data-dir")
    return found


def _of_images(model: "SavedModel", source: "Source") -> Figures:
    import numpy as np

    from hpcbench.analysis.figures.training import (
        confusion,
        confusion_figure,
        filters_figure,
        samples_figure,
    )

    data = source.read()
    images, targets = np.asarray(data.test_inputs), np.asarray(data.test_targets)
    guesses, kernel = model.guesses(images), model.first_kernel()
    return {
        "samples": lambda: samples_figure(images, targets, guesses),
        "filters": lambda: filters_figure(kernel, source.spec.input_shape),
        "confusion": lambda: confusion_figure(confusion(targets, guesses)),
    }


def _of_fields(model: "SavedModel", source: "Source") -> Figures:
    import numpy as np

    from hpcbench.analysis.figures.training import confusion, confusion_figure, maps_figure
    from hpcbench.datasets.climate import CHANNELS, CLASS_NAMES
    from hpcbench.metrics import mean_iou

    data = source.read()
    fields = np.asarray(data.test_inputs[:MOST_FIELDS])
    classes = np.asarray(data.test_targets[:MOST_FIELDS])
    guesses = model.guesses(fields)
    matrix = confusion(classes.flatten().astype(np.int32), guesses.flatten(), len(CLASS_NAMES))
    # What a network comes to that sees no storm anywhere.
    background: Any = np.zeros_like(matrix)
    background[:, 0] = matrix.sum(axis=1)
    title = "\n".join(
        f"{name}: {100 * np.trace(m) / m.sum():.1f} % of pixels, mean IoU {mean_iou(m):.2f}"
        for name, m in (("this network", matrix), ("background alone", background))
    )
    return {
        "samples": lambda: maps_figure(fields, classes, guesses, CHANNELS[0], CLASS_NAMES),
        "confusion": lambda: confusion_figure(matrix, title, CLASS_NAMES),
    }


DRAWN: dict[str, Callable[["SavedModel", "Source"], Figures]] = {
    "images": _of_images,
    "fields": _of_fields,
}


def _written(folder: Path, figures: Figures) -> Iterator[Path]:
    from hpcbench.analysis.figures.files import save

    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, figure in figures.items():
            path = folder / f"{name}.svg"
            save(figure, path)
            yield path.with_suffix(".png")
            yield path
    except OSError as error:
        raise EnvironmentLacks(f"{folder} cannot be written: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
