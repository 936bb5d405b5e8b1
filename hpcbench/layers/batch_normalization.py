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

BatchNormalizationFactory = Callable[..., "keras.layers.Layer"]


def batch_normalization(
    mode: str, mean_over_devices: "MeanOverDevices"
) -> BatchNormalizationFactory:
    """A factory of batch normalization layers; ``mode`` is ``local`` or ``sync``.

    ``mean_over_devices`` averages a list of tensors element by element over all devices, from
    inside the training step.
    """
    import keras
    import tensorflow as tf

    class FusedBatchNormalization(keras.layers.BatchNormalization):
        """The same function as Keras' layer; on images as TensorFlow's one fused kernel."""

        def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
            if not training or len(inputs.shape) != 4 or inputs.dtype == tf.float64:
                return super().call(inputs, training=training, mask=mask)
            outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
                inputs, self.gamma.value, self.beta.value, epsilon=self.epsilon, is_training=True
            )
            # The kernel gives the variance with Bessel's correction, Keras keeps it without.
            count = tf.cast(tf.size(inputs) / inputs.shape[-1], variance.dtype)
            self._keep(self.moving_mean, mean)
            self._keep(self.moving_variance, variance * (count - 1) / count)
            return outputs

        def _keep(self, moving: Any, now: "tf.Tensor") -> None:
            moving.assign(moving * self.momentum + now * (1 - self.momentum))

    if mode == "local":
        return FusedBatchNormalization

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
