"""What a run minimizes and what it is judged by: a loss a sample, and sums that give the metric.

Sums travel instead of means, so that a metric over shares of any size is exact.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from hpcbench.datasets import NOT_ASKED, DatasetSpec
from hpcbench.metrics import class_weights, mean_iou
from hpcbench.records.schema import ACCURACY, MEAN_ABSOLUTE_ERROR, MEAN_IOU


class Objective(ABC):
    """``metric`` is its name in accuracy.csv; ``sums`` how many numbers :meth:`tally` returns."""

    metric: str
    sums: int

    @abstractmethod
    def losses(self, targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        """The loss of each sample, shape (n,), in the type of ``outputs``."""

    @abstractmethod
    def tally(self, targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        """What the metric is made of, summed over the samples; shape (sums,), float32."""

    def value(self, tally: NDArray[np.float64], samples: int) -> float:
        """The metric from the sums over ``samples`` samples."""
        return float(tally[0] / samples)


class Classification(Objective):
    """One of several classes: cross-entropy of the softmax of ``outputs``, shape (n, classes)."""

    metric, sums = ACCURACY, 1

    def losses(self, targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        return tf.nn.sparse_softmax_cross_entropy_with_logits(targets, outputs)

    def tally(self, targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        guesses = tf.argmax(outputs, axis=-1, output_type=tf.int32)
        return _count(tf.equal(guesses, targets))


class Binary(Objective):
    """Yes (1) or no (0): cross-entropy of the sigmoid of ``outputs``, shape (n, 1)."""

    metric, sums = ACCURACY, 1

    def losses(self, targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        return tf.nn.sigmoid_cross_entropy_with_logits(
            tf.cast(targets, outputs.dtype), outputs[:, 0]
        )

    def tally(self, targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        return _count(tf.equal(tf.cast(outputs[:, 0] > 0, tf.int32), targets))


class Regression(Objective):
    """A number: squared error of ``outputs``, shape (n, 1); judged by the mean absolute error."""

    metric, sums = MEAN_ABSOLUTE_ERROR, 1

    def losses(self, targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        return tf.square(tf.cast(targets, outputs.dtype) - outputs[:, 0])

    def tally(self, targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        error = tf.abs(tf.cast(targets, outputs.dtype) - outputs[:, 0])
        return tf.cast(tf.reduce_sum(error), tf.float32)[tf.newaxis]


class NextToken(Objective):
    """Each token of a sample from those before it: the mean cross-entropy of the softmax of
    ``outputs``, shape (n, length, tokens), over the sample; judged by the share that is right."""

    metric, sums = ACCURACY, 1

    def losses(self, targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, outputs)
        return tf.reduce_mean(entropy, axis=1)

    def tally(self, targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        right = tf.equal(tf.argmax(outputs, axis=-1, output_type=tf.int32), targets)
        return tf.reduce_sum(tf.reduce_mean(tf.cast(right, tf.float32), axis=1))[tf.newaxis]


class MaskedToken(Objective):
    """The tokens of a sample that are asked for: the mean cross-entropy of the softmax of
    ``outputs``, shape (n, length, tokens), over those; judged by the share of them that is right.
    """

    metric, sums = ACCURACY, 1

    def losses(self, targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        asked = tf.maximum(targets, 0)
        entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(asked, outputs)
        return _mean_of_asked(entropy, targets)

    def tally(self, targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        right = tf.equal(tf.argmax(outputs, axis=-1, output_type=tf.int32), targets)
        return tf.reduce_sum(_mean_of_asked(tf.cast(right, tf.float32), targets))[tf.newaxis]


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

    def losses(self, targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        targets = tf.cast(targets, tf.int32)
        weights = tf.gather(tf.constant(self._weights, outputs.dtype), targets)
        entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, outputs)
        return tf.reduce_mean(weights * entropy, [1, 2])

    def tally(self, targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        """Of each class (rows) what was taken for each class (columns), in images: counts of
        pixels would soon be too large for float32."""
        classes = outputs.shape[-1]
        right = tf.reshape(tf.one_hot(targets, classes), (-1, classes))
        guessed = tf.reshape(tf.one_hot(tf.argmax(outputs, -1), classes), (-1, classes))
        pixels = tf.cast(tf.reduce_prod(tf.shape(targets)[1:]), tf.float32)
        return tf.reshape(tf.matmul(right, guessed, transpose_a=True) / pixels, [-1])

    def value(self, tally: NDArray[np.float64], samples: int) -> float:
        classes = round(len(tally) ** 0.5)
        return mean_iou(tally.reshape(classes, classes))


def _mean_of_asked(values: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Of each sample the mean of ``values`` (n, length) where a target is, shape (n,)."""
    asked = tf.cast(tf.not_equal(targets, NOT_ASKED), values.dtype)
    return tf.reduce_sum(values * asked, 1) / tf.reduce_sum(asked, 1)


def _count(right: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.cast(right, tf.float32))[tf.newaxis]


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
