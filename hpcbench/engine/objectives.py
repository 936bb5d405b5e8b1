"""What a run minimizes and what it is judged by: a loss a sample, and sums that give the metric.

Sums travel instead of means, so that a metric over shares of any size is exact.
"""

from abc import ABC, abstractmethod

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from hpcbench.records.schema import ACCURACY, MEAN_ABSOLUTE_ERROR


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


def _count(right: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.cast(right, tf.float32))[tf.newaxis]


OBJECTIVES: dict[str, Objective] = {
    "classification": Classification(),
    "binary": Binary(),
    "regression": Regression(),
}
