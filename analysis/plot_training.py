"""python analysis/plot_training.py RUN [--output DIR]: what one run learned, as pictures.

RUN is a run's folder. Draws its curves of loss and metric; and, where the run kept its model
(--checkpoint) and learned to classify images or the pixels of fields: test samples with labels and
guesses, the filters of the first layer (of images), and the confusion matrix.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import style

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from hpcbench.config import DEFAULT_FRAMEWORK
from hpcbench.errors import ConfigError, DataError, EnvironmentLacks, HpcbenchError
from hpcbench.records.reader import read_document
from hpcbench.records.schema import ACCURACY, ACCURACY_FILE

MODEL_FILE = "model.keras"
# Samples and filters in a picture: rows and columns of small images.
ROWS, COLUMNS = 4, 6
# Fields that are looked at: they may be large, and have many pixels to judge by.
MOST_FIELDS = 16
# Larger matrices have no room for numbers in their cells.
MOST_NUMBERED = 12


def curves_figure(epochs: pd.DataFrame) -> Figure:
    """Loss and metric after each epoch, of training and test data."""
    figure = Figure(figsize=(style.WIDTH, style.PANEL_HEIGHT + style.MARGIN))
    metric = str(epochs["metric"].iloc[0])
    scale, name = (100, "accuracy, %") if metric == ACCURACY else (1, metric.replace("_", " "))
    grid = figure.subplots(1, 2)
    for axes, column, factor, label in (
        (grid[0], "loss", 1, "loss"),
        (grid[1], "metric", scale, name),
    ):
        for index, part in enumerate(("train", "test")):
            axes.plot(
                epochs["epoch"], factor * epochs[f"{part}_{column}"], color=style.COLOURS[index],
                marker=style.MARKERS[index], linestyle=style.DASHES[index], label=part,
            )  # fmt: skip
        axes.set_xlabel("epoch")
        axes.set_ylabel(label)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
        axes.yaxis.set_major_locator(MaxNLocator(5))
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2)
    return figure


def confusion(
    targets: NDArray[np.int32], guesses: NDArray[np.int64], classes: int = 0
) -> NDArray[np.int64]:
    """How many samples of each class (rows) were taken for each class (columns); without
    ``classes``, as many as occur."""
    classes = classes or int(max(targets.max(), guesses.max())) + 1
    flat = np.bincount(targets * classes + guesses, minlength=classes**2)
    return flat.reshape(classes, classes)


def confusion_figure(
    matrix: NDArray[np.int64], title: str = "", names: Sequence[str] = ()
) -> Figure:
    """Shares of each class' samples; numbers where there is room. Classes have ``names``, or
    else numbers."""
    figure = Figure(figsize=(style.WIDTH, style.WIDTH * 0.95))
    axes = figure.subplots()
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    # The diagonal would outshine the mistakes, so what is right is left white.
    mistakes = np.where(np.eye(len(matrix), dtype=bool), np.nan, 100 * shares)
    image = axes.imshow(mistakes, cmap="Oranges", vmin=0)
    figure.colorbar(image, ax=axes, label="mistakes, % of the class", shrink=0.8)
    if len(matrix) <= MOST_NUMBERED:
        for row, column in np.ndindex(*matrix.shape):
            dark = mistakes[row, column] > 0.6 * np.nanmax(mistakes)
            axes.text(
                column, row, str(matrix[row, column]), ha="center", va="center", fontsize=5,
                color="white" if dark else "black",
            )  # fmt: skip
    axes.set_title(title, fontsize=style.FONT)
    axes.set_xlabel("guess")
    axes.set_ylabel("label")
    axes.grid(False)
    axes.xaxis.set_major_locator(MaxNLocator(12, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(12, integer=True))
    if names:
        axes.set_xticks(range(len(names)), names)
        axes.set_yticks(range(len(names)), names, rotation=90, va="center")
    return figure


def _small_images(draw: Callable[[Axes, int], None], count: int, title: str) -> Figure:
    rows = min(ROWS, -(-count // COLUMNS))
    figure = Figure(figsize=(style.WIDTH, 0.68 * rows + 0.25))
    for index, axes in enumerate(figure.subplots(rows, COLUMNS, squeeze=False).flatten()):
        axes.axis("off")
        if index < count:
            draw(axes, index)
    figure.suptitle(title, fontsize=style.FONT)
    return figure


def samples_figure(
    images: NDArray[np.uint8], targets: NDArray[np.int32], guesses: NDArray[np.int64]
) -> Figure:
    """Samples from all over the test set, then mistakes in colour: a cross, label, guess."""
    wrong = np.flatnonzero(targets != guesses)
    wrong = wrong[np.linspace(0, len(wrong) - 1, min(COLUMNS, len(wrong))).astype(int)]
    most = min(ROWS * COLUMNS, len(images)) - len(wrong)
    chosen = [*np.linspace(0, len(images) - 1, most).astype(int), *wrong]

    def draw(axes: Axes, place: int) -> None:
        index = chosen[place]
        axes.imshow(images[index].squeeze(), cmap="gray")
        right = targets[index] == guesses[index]
        axes.set_title(
            f"{targets[index]}" if right else f"✗ {targets[index]}→{guesses[index]}",
            color="black" if right else style.COLOURS[1], fontsize=style.SMALL, pad=1,
        )  # fmt: skip

    return _small_images(draw, len(chosen), "test samples with their labels; mistakes: label→guess")


def filters_figure(kernel: NDArray[np.float32], shape: tuple[int, ...]) -> Figure:
    """Weights from the image to the first outputs of the first layer; grey is zero."""
    if kernel.ndim == 2:
        kernel = kernel.reshape(*shape, -1)
    reach = float(np.abs(kernel).max())

    def draw(axes: Axes, index: int) -> None:
        weights = kernel[..., index] / (2 * reach) + 0.5
        axes.imshow(weights.squeeze(), cmap="gray", vmin=0, vmax=1)

    count = min(kernel.shape[-1], ROWS * COLUMNS)
    return _small_images(draw, count, f"first layer: {count} of {kernel.shape[-1]} filters")


def maps_figure(
    fields: NDArray[np.float32], targets: NDArray[Any], guesses: NDArray[np.int64], channel: str,
    names: Sequence[str],
) -> Figure:  # fmt: skip
    """The first channel of some samples and the classes of their pixels, with their names."""
    rows = min(ROWS, len(fields))
    figure = Figure(figsize=(style.WIDTH, 0.78 * rows + 0.55))
    classes = len(names)
    colours = ListedColormap(["white", *style.COLOURS[: classes - 1]])
    grid = figure.subplots(rows, 3, squeeze=False)
    for row, (field, label, guess) in enumerate(zip(fields, targets, guesses, strict=False)):
        if row == rows:
            break
        grid[row, 0].imshow(field[..., 0], cmap="gray")
        for axes, classified in ((grid[row, 1], label), (grid[row, 2], guess)):
            axes.imshow(classified, cmap=colours, vmin=-0.5, vmax=classes - 0.5)
    for axes, title in zip(grid[0], (channel, "label", "guess"), strict=True):
        axes.set_title(title, fontsize=style.FONT, pad=2)
    for axes in grid.flatten():
        axes.set_xticks([])
        axes.set_yticks([])
        axes.grid(False)
        axes.spines[:].set_visible(True)
    handles = [Patch(color=colours(place), label=names[place]) for place in range(1, classes)]
    figure.legend(handles=handles, loc="outside lower center", ncols=classes)
    return figure


def learned(folder: Path, document: dict[str, Any], data_dir: Path | None) -> dict[str, Any]:
    """What of the model and its test data there is to draw, by figure name."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    from hpcbench.datasets import DATASETS
    from hpcbench.datasets.climate import CHANNELS, CLASS_NAMES
    from hpcbench.datasets.sources import find, of_files
    from hpcbench.engine.objectives import mean_iou
    from hpcbench.models import MODELS, BuildContext
    from hpcbench.models.normalization import batch_normalization
    from hpcbench.strategies import STRATEGIES

    config = document["config"]
    spec = MODELS[config["model"]]
    if spec.kind not in ("images", "fields"):
        return {}
    dataset, side = DATASETS[config["dataset"]], config.get("image_size") or spec.image_size
    files = [Path(name) for name in document["data_files"]]
    if data_dir:
        found = find(dataset, data_dir, side)
    else:
        found = of_files(dataset, files, side) if all(path.exists() for path in files) else None
    if found is None:
        where = data_dir or ", ".join(map(str, files))
        raise DataError(f"the run's data are not in {where}; name their folder with --data-dir")
    source = found
    devices = STRATEGIES[config["strategy"]].devices_per_replica
    context = BuildContext(
        source.spec.input_shape, source.spec.outputs, 0, "float32",
        batch_normalization(config["batchnorm"], list), source.spec.words,
        ("/cpu:0",) * devices if devices > 1 else ("",),
    )  # fmt: skip
    try:
        model = spec.build(context)
        model.load_weights(folder / MODEL_FILE)
    except ValueError as error:
        raise DataError(f"{folder / MODEL_FILE} does not fit the data: {error}") from error
    data = source.read()
    if source.spec.kind == "fields":
        fields = np.asarray(data.test_inputs[:MOST_FIELDS])
        classes = np.asarray(data.test_targets[:MOST_FIELDS])
        seen = model.predict(fields, batch_size=1, verbose=0).argmax(-1)
        matrix = confusion(classes.flatten().astype(np.int32), seen.flatten(), len(CLASS_NAMES))
        nothing = np.zeros_like(matrix)
        nothing[:, 0] = matrix.sum(axis=1)
        title = "\n".join(
            f"{name}: {100 * np.trace(m) / m.sum():.1f} % of pixels, mean IoU {mean_iou(m):.2f}"
            for name, m in (("this network", matrix), ("background alone", nothing))
        )
        return {
            "samples": lambda: maps_figure(fields, classes, seen, CHANNELS[0], CLASS_NAMES),
            "confusion": lambda: confusion_figure(matrix, title, CLASS_NAMES),
        }
    images, targets = np.asarray(data.test_inputs), np.asarray(data.test_targets)
    guesses = model.predict(images.astype("float32") / 255, batch_size=500, verbose=0).argmax(1)
    kernel = next(w for w in model.trainable_weights if w.name == "kernel").numpy()
    return {
        "samples": lambda: samples_figure(images, targets, guesses),
        "filters": lambda: filters_figure(kernel, source.spec.input_shape),
        "confusion": lambda: confusion_figure(confusion(targets, guesses)),
    }


def draw(given: argparse.Namespace) -> Iterator[Path]:
    """Write the figures, curves first; raises HpcbenchError."""
    try:
        document = read_document(given.run)
        epochs = pd.read_csv(given.run / ACCURACY_FILE)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{given.run} is not a run's folder: {error}") from error
    if epochs.empty:
        raise EnvironmentLacks(f"{given.run} has no epoch to draw")
    yield from _written(given.output, {"curves": lambda: curves_figure(epochs)})
    if document["config"].get("input") == "synthetic":
        print(f"only curves: {given.run} trained on made-up samples", file=sys.stderr)
    elif document["config"].get("framework", DEFAULT_FRAMEWORK) != DEFAULT_FRAMEWORK:
        print("only curves: models of other frameworks are not drawn", file=sys.stderr)
    elif not (given.run / MODEL_FILE).exists():
        print(f"only curves: {given.run} kept no model; train with --checkpoint", file=sys.stderr)
    else:
        yield from _written(given.output, learned(given.run, document, given.data_dir))


def _written(folder: Path, figures: Mapping[str, Callable[[], Figure]]) -> Iterator[Path]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, figure in figures.items():
            path = folder / f"{name}.svg"
            style.save(figure, path)
            yield path.with_suffix(".png")
            yield path
    except OSError as error:
        raise EnvironmentLacks(f"{folder} cannot be written: {error}") from error


def main() -> int:
    """Exit status 0 done, 2 not a run, 3 data are missing or the output cannot be written."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="a run's folder, results/<sweep>/<run id>")
    parser.add_argument("--output", type=Path, help="folder; default: figures in the run's folder")
    parser.add_argument("--data-dir", type=Path, help="folder that holds the data set")
    given = parser.parse_args()
    given.output = given.output or given.run / "figures"
    style.use()
    try:
        for path in draw(given):
            print(path)
    except HpcbenchError as error:
        print(f"plot_training: {error}", file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
