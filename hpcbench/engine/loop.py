"""The compiled training loop: many steps in one call, the data already on the device.

A step gathers its samples as bytes, scales them to [0, 1], runs the model forward and
backward, exchanges gradients through the strategy, and updates the weights. Nothing goes back
to Python between the steps of a call.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from hpcbench.datasets import Arrays
from hpcbench.engine.optimizers import Optimizer
from hpcbench.strategies import Strategy

EVALUATION_BATCH = 1000

# From a replica's gradients to those it updates with.
Mean = Callable[[Sequence[tf.Tensor]], Sequence[tf.Tensor]]


class TrainingLoop:
    """Compiled functions over a model, an optimizer, a strategy and a way to feed data.

    ``batch`` is per device. Sums that come back from :meth:`steps` are over the samples of
    this process' replicas.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: Optimizer,
        strategy: Strategy,
        data: Arrays,
        batch: int,
        xla: bool,
        streamed: bool,
    ) -> None:
        self._model = model
        self._optimizer = optimizer
        self._strategy = strategy
        self._data = data
        self._batch = batch
        self._shares_shape = (strategy.replicas, batch)
        self._dtype = model.compute_dtype
        self._gradients = (
            tf.function(self._forward_backward, jit_compile=True)
            if xla
            else (self._forward_backward)
        )
        self.batch_norm_state = [
            variable.value
            for layer in model.layers
            if isinstance(layer, keras.layers.BatchNormalization)
            for variable in layer.non_trainable_variables
        ]
        self._streamed = streamed
        if not streamed:
            self._images = strategy.place(lambda _: tf.constant(data.train_images))
            self._labels = strategy.place(lambda _: tf.constant(data.train_labels))
        # One trace each, whatever the number of steps or samples.
        self._trace = self._trace_streamed if streamed else self._trace_resident
        self._run = self._trace(strategy.mean)
        self._run_alone: Any = None
        self._remainder = tf.function(self._run_remainder)
        self._average = tf.function(self._run_average)
        self._evaluate = tf.function(self._run_evaluation).get_concrete_function(
            tf.TensorSpec((None, *data.test_images.shape[1:]), tf.uint8),
            tf.TensorSpec((None,), tf.int32),
        )

    def steps(self, order: NDArray[np.int32], scalars: NDArray[np.float32]) -> tuple[float, float]:
        """Train on whole batches; returns the sum of the losses and of the correct answers.

        ``order`` holds sample indices, shape (steps, replicas, batch); ``scalars`` the
        optimizer's rows.
        """
        return self._call(self._run, order, scalars)

    def steps_without_exchange(
        self, order: NDArray[np.int32], scalars: NDArray[np.float32]
    ) -> None:
        """:meth:`steps`, each replica with its own gradients: their weights part ways."""
        if not self._run_alone:
            self._run_alone = self._trace(list)
        self._call(self._run_alone, order, scalars)

    def _call(
        self, run: Any, order: NDArray[np.int32], scalars: NDArray[np.float32]
    ) -> tuple[float, float]:
        if self._streamed:
            source: tuple[Any, ...] = (iter(self._stream(order)), tf.constant(scalars))
        else:
            source = (tf.constant(order), tf.constant(scalars), self._images, self._labels)
        loss, correct = run(*source)
        return float(loss), float(correct)

    def remainder(
        self, shares: Sequence[NDArray[np.int32]], scalars: NDArray[np.float32], total: int
    ) -> tuple[float, float]:
        """Train one shorter step on ``total`` samples over all devices.

        ``shares`` are the indices of this process' replicas. An empty share takes part with a
        sample of weight zero, since all devices have to meet in the exchange.
        """
        width = max(1, *(len(share) for share in shares))
        padded = np.zeros((len(shares), width), np.int32)
        for row, share in zip(padded, shares, strict=True):
            row[: len(share)] = share
        counts = np.array([len(share) for share in shares], np.int32)
        loss, correct = self._remainder(
            tf.constant(self._data.train_images[padded]),
            tf.constant(self._data.train_labels[padded]),
            tf.constant(counts),
            tf.constant(total / self._strategy.world_size, tf.float32),
            tf.constant(scalars[0]),
        )
        return float(loss), float(correct)

    def evaluate(self, start: int, stop: int) -> tuple[float, float]:
        """Sum of losses and of correct answers over test samples [start, stop)."""
        loss = correct = 0.0
        for first in range(start, stop, EVALUATION_BATCH):
            last = min(first + EVALUATION_BATCH, stop)
            sums = self._evaluate(
                tf.constant(self._data.test_images[first:last]),
                tf.constant(self._data.test_labels[first:last]),
            )
            loss, correct = loss + float(sums[0]), correct + float(sums[1])
        return loss, correct

    def average_batch_norm_state(self) -> None:
        """Make the moving statistics of local batch normalization the same on all devices."""
        if self.batch_norm_state:
            self._average()

    def _scaled(self, images: tf.Tensor) -> tf.Tensor:
        return tf.cast(images, self._dtype) * tf.constant(1 / 255, self._dtype)

    def _forward_backward(
        self, images: tf.Tensor, labels: tf.Tensor, per_sample: tf.Tensor
    ) -> tuple[list[tf.Tensor], tf.Tensor, tf.Tensor]:
        """Gradients of sum(losses * per_sample), the sum of losses, the number correct."""
        weights = self._optimizer.variables
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            logits = self._model(self._scaled(images), training=True)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            objective = tf.reduce_sum(losses) * tf.cast(per_sample, losses.dtype)
        loss = tf.cast(tf.reduce_sum(losses), tf.float32)
        return tape.gradient(objective, weights), loss, _correct(logits, labels)

    def _train(
        self, images: tf.Tensor, labels: tf.Tensor, scalars: tf.Tensor, mean: Mean
    ) -> tuple[tf.Tensor, tf.Tensor]:
        gradients, loss, correct = self._gradients(images, labels, 1 / self._batch)
        self._optimizer.update(scalars, mean(gradients))
        return loss, correct

    def _trace_resident(self, mean: Mean) -> Any:
        def step(
            replica: Any, order: tf.Tensor, row: tf.Tensor, images: tf.Tensor, labels: tf.Tensor
        ) -> Any:
            chosen = order[replica]
            return self._train(tf.gather(images, chosen), tf.gather(labels, chosen), row, mean)

        def run(order: tf.Tensor, scalars: tf.Tensor, images: Any, labels: Any) -> Any:
            loss, correct = tf.constant(0.0), tf.constant(0.0)
            for i in tf.range(tf.shape(order)[0]):
                sums = self._strategy.run(step, order[i], scalars[i], images, labels)
                loss, correct = loss + sums[0], correct + sums[1]
            return loss, correct

        return tf.function(run).get_concrete_function(
            tf.TensorSpec((None, *self._shares_shape), tf.int32),
            tf.TensorSpec((None, self._optimizer.scalar_count), tf.float32),
            self._images,
            self._labels,
        )

    def _stream(self, order: NDArray[np.int32]) -> tf.data.Dataset:
        """Batches gathered on the host while the device computes."""
        images, labels = self._data.train_images, self._data.train_labels

        def fetch(chosen: NDArray[np.int32]) -> Any:
            return images[chosen], labels[chosen]

        shape = order.shape[1:]

        def load(chosen: tf.Tensor) -> Any:
            batch = tf.numpy_function(fetch, [chosen], (tf.uint8, tf.int32))
            return tf.ensure_shape(batch[0], (*shape, *images.shape[1:])), tf.ensure_shape(
                batch[1], shape
            )

        rows = tf.data.Dataset.from_tensor_slices(order)
        return rows.map(load, num_parallel_calls=1).prefetch(tf.data.AUTOTUNE)

    def _trace_streamed(self, mean: Mean) -> Any:
        def step(replica: Any, images: tf.Tensor, labels: tf.Tensor, row: tf.Tensor) -> Any:
            return self._train(images[replica], labels[replica], row, mean)

        def run(batches: Any, scalars: tf.Tensor) -> Any:
            loss, correct = tf.constant(0.0), tf.constant(0.0)
            for i in tf.range(tf.shape(scalars)[0]):
                images, labels = next(batches)
                sums = self._strategy.run(step, images, labels, scalars[i])
                loss, correct = loss + sums[0], correct + sums[1]
            return loss, correct

        return tf.function(run).get_concrete_function(
            iter(self._stream(np.zeros((1, *self._shares_shape), np.int32))),
            tf.TensorSpec((None, self._optimizer.scalar_count), tf.float32),
        )

    def _run_remainder(
        self,
        images: tf.Tensor,
        labels: tf.Tensor,
        counts: tf.Tensor,
        mean_share: tf.Tensor,
        scalars: tf.Tensor,
    ) -> Any:
        def step(replica: Any) -> Any:
            taken = tf.maximum(counts[replica], 1)
            counted = tf.cast(tf.minimum(counts[replica], 1), tf.float32)
            # Never XLA: the number of samples differs between devices.
            gradients, loss, correct = self._forward_backward(
                images[replica][:taken], labels[replica][:taken], counted / mean_share
            )
            self._optimizer.update(scalars, self._strategy.mean(gradients))
            return loss * counted, correct * counted

        return self._strategy.run(step)

    def _run_average(self) -> None:
        def step(replica: Any) -> Any:
            for variable, value in zip(
                self.batch_norm_state, self._strategy.mean(self.batch_norm_state), strict=True
            ):
                variable.assign(value)
            return (tf.constant(0.0),)

        self._strategy.run(step)

    def _run_evaluation(self, images: tf.Tensor, labels: tf.Tensor) -> Any:
        logits = self._model(self._scaled(images), training=False)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        return tf.reduce_sum(losses), _correct(logits, labels)


def _correct(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    guesses = tf.argmax(logits, axis=-1, output_type=tf.int32)
    return tf.reduce_sum(tf.cast(tf.equal(guesses, labels), tf.float32))
