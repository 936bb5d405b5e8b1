"""What one run learned: curves, samples, filters, confusion, maps of classes."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from hpcbench.analysis.figures import style
from hpcbench.records.schema import ACCURACY

# Samples and filters in a picture: rows and columns of small images.
ROWS, COLUMNS = 4, 6
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
                epochs["epoch"],
                factor * epochs[f"{part}_{column}"],
                color=style.COLOURS[index],
                marker=style.MARKERS[index],
                linestyle=style.DASHES[index],
                label=part,
            )
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
                column,
                row,
                str(matrix[row, column]),
                ha="center",
                va="center",
                fontsize=5,
                color="white" if dark else "black",
            )
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
            color="black" if right else style.COLOURS[1],
            fontsize=style.SMALL,
            pad=1,
        )

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
    fields: NDArray[np.float32],
    targets: NDArray[Any],
    guesses: NDArray[np.int64],
    channel: str,
    names: Sequence[str],
) -> Figure:
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
