"""What a run minimizes and what it is judged by, of each sample, as TensorFlow's side has it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from hpcbench.datasets import NOT_ASKED, DatasetSpec
from hpcbench.metrics import class_weights, mean_iou
from hpcbench.records.schema import ACCURACY, MEAN_ABSOLUTE_ERROR, MEAN_IOU


class Objective(ABC):
    """``metric`` is its name in accuracy.csv, made of ``sums`` numbers a sample."""

    metric: str
    sums = 1

    @abstractmethod
    def losses(self, targets: jax.Array, outputs: jax.Array) -> jax.Array:
        """The loss of each sample, shape (n,)."""

    @abstractmethod
    def tally(self, targets: jax.Array, outputs: jax.Array) -> jax.Array:
        """What the metric is made of, of each sample, shape (n,) or (n, sums)."""

    def value(self, tally: NDArray[np.float64], samples: int) -> float:
        """The metric from the sums over ``samples`` samples, shape (sums,)."""
        return float(tally[0] / samples)


class Classification(Objective):
    """One of several classes: cross-entropy of the softmax of ``outputs``, shape (n, classes)."""

    metric = ACCURACY

    def losses(self, targets: jax.Array, outputs: jax.Array) -> jax.Array:
        likely = jax.nn.log_softmax(outputs)
        return -jnp.take_along_axis(likely, targets[:, None], axis=1)[:, 0]

    def tally(self, targets: jax.Array, outputs: jax.Array) -> jax.Array:
        return outputs.argmax(axis=-1) == targets


class Binary(Objective):
    """Yes (1) or no (0): cross-entropy of the sigmoid of ``outputs``, shape (n, 1)."""

    metric = ACCURACY

    def losses(self, targets: jax.Array, outputs: jax.Array) -> jax.Array:
        return jax.nn.softplus(outputs[:, 0]) - targets * outputs[:, 0]

    def tally(self, targets: jax.Array, outputs: jax.Array) -> jax.Array:
        return (outputs[:, 0] > 0) == targets


class Regression(Objective):
    """A number: squared error of ``outputs``, shape (n, 1); judged by the mean absolute error."""

    metric = MEAN_ABSOLUTE_ERROR

    def losses(self, targets: jax.Array, outputs: jax.Array) -> jax.Array:
        return jnp.square(targets - outputs[:, 0])

    def tally(self, targets: jax.Array, outputs: jax.Array) -> jax.Array:
        return jnp.abs(targets - outputs[:, 0])


class NextToken(Objective):
    """Each token of a sample from those before it: the mean cross-entropy of the softmax of
    ``outputs``, shape (n, length, tokens), over the sample; judged by the share that is right."""

    metric = ACCURACY

    def losses(self, targets: jax.Array, outputs: jax.Array) -> jax.Array:
        likely = jax.nn.log_softmax(outputs)
        return -jnp.take_along_axis(likely, targets[..., None], axis=-1)[..., 0].mean(axis=1)

    def tally(self, targets: jax.Array, outputs: jax.Array) -> jax.Array:
        return (outputs.argmax(axis=-1) == targets).mean(axis=1)


class MaskedToken(Objective):
    """The tokens of a sample that are asked for: the mean cross-entropy of the softmax of
    ``outputs``, shape (n, length, tokens), over those; judged by the share of them that is right.
    """

    metric = ACCURACY

    def losses(self, targets: jax.Array, outputs: jax.Array) -> jax.Array:
        asked = jnp.maximum(targets, 0)[..., None]
        likely = jnp.take_along_axis(jax.nn.log_softmax(outputs), asked, axis=-1)[..., 0]
        return -likely.mean(axis=1, where=targets != NOT_ASKED)

    def tally(self, targets: jax.Array, outputs: jax.Array) -> jax.Array:
        right = outputs.argmax(axis=-1) == targets
        return right.mean(axis=1, where=targets != NOT_ASKED)


class Segmentation(Objective):
    """A class for every pixel: ``outputs`` (n, height, width, classes), judged by the mean
    intersection over union.

    The cross-entropy of a pixel is weighted by its class, as ``class_weights`` says. Intersections
    and unions are those of all pixels of all samples together.
    """

    metric = MEAN_IOU

    def __init__(self, shares: Sequence[float]) -> None:
        self.sums = len(shares) ** 2
        self._weights = class_weights(shares)

    def losses(self, targets: jax.Array, outputs: jax.Array) -> jax.Array:
        weights = jnp.asarray(self._weights, outputs.dtype)[targets]
        likely = jnp.take_along_axis(jax.nn.log_softmax(outputs), targets[..., None], axis=-1)
        return -(weights * likely[..., 0]).mean(axis=(1, 2))

    def tally(self, targets: jax.Array, outputs: jax.Array) -> jax.Array:
        """Of each class (rows) what was taken for each class (columns), in images."""
        classes = outputs.shape[-1]
        right = jax.nn.one_hot(targets, classes, dtype=outputs.dtype)
        guessed = jax.nn.one_hot(outputs.argmax(-1), classes, dtype=outputs.dtype)
        counts = jnp.einsum("nhwi,nhwj->nij", right, guessed)
        return counts.reshape(len(counts), -1) / (targets.shape[1] * targets.shape[2])

    def value(self, tally: NDArray[np.float64], samples: int) -> float:
        return mean_iou(tally.reshape(-1, round(len(tally) ** 0.5)))


def objective(spec: DatasetSpec) -> Objective:
    """What ``spec`` is there to learn."""
    if spec.task == "segmentation":
        return Segmentation(spec.class_shares)
    return {
        "classification": Classification(),
        "binary": Binary(),
        "regression": Regression(),
        "next-token": NextToken(),
        "masked-token": MaskedToken(),
    }[spec.task]
