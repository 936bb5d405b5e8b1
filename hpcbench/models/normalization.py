"""Batch normalization with its statistics taken over one device's batch or over all devices'.

*local* (the default, and what Horovod and ``tf.distribute`` do): each device normalizes with
the mean and variance of its own share of the batch, so a step on 2 x 64 samples is not the
step on 128. *sync*: mean and mean of squares are averaged over the devices in the forward
pass, and their gradients in the backward pass, so it is.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    MeanOverDevices = Callable[[Sequence[tf.Tensor]], list[tf.Tensor]]

BatchNormalizationFactory = Callable[[], "keras.layers.Layer"]


def batch_normalization(
    mode: str, mean_over_devices: "MeanOverDevices"
) -> BatchNormalizationFactory:
    """A factory of batch normalization layers; ``mode`` is ``local`` or ``sync``.

    ``mean_over_devices`` averages a list of tensors element by element over all devices, from
    inside the training step.
    """
    import keras

    if mode == "local":
        return keras.layers.BatchNormalization

    import tensorflow as tf

    @tf.custom_gradient
    def averaged(statistics: tf.Tensor) -> Any:
        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            return mean_over_devices([upstream])[0]

        return mean_over_devices([statistics])[0], gradient

    class SyncBatchNormalization(keras.layers.BatchNormalization):
        def _moments(self, inputs: tf.Tensor, mask: tf.Tensor | None) -> tuple[Any, Any]:
            mean = tf.reduce_mean(inputs, self._reduction_axes)
            mean_of_squares = tf.reduce_mean(tf.square(inputs), self._reduction_axes)
            mean, mean_of_squares = tf.unstack(averaged(tf.stack([mean, mean_of_squares])))
            return mean, mean_of_squares - tf.square(mean)

    return SyncBatchNormalization
