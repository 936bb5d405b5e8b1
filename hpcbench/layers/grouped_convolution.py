"""A grouped convolution that trains on CPUs."""

from typing import Any

import keras


@keras.saving.register_keras_serializable("hpcbench")
class GroupedConv2D(keras.layers.Conv2D):
    """Keras' grouped convolution, under TensorFlow on CPUs as one convolution a group.

    TensorFlow's CPU kernels have no gradients of a grouped convolution; Keras goes through XLA.
    """

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        if keras.backend.backend() != "tensorflow":
            return super().convolution_op(inputs, kernel)
        import tensorflow as tf

        kernel = tf.convert_to_tensor(kernel)
        parts = [(inputs, kernel)]
        if not tf.config.get_visible_devices("GPU"):
            parts = list(
                zip(
                    tf.split(inputs, self.groups, -1),
                    tf.split(kernel, self.groups, -1),
                    strict=True,
                )
            )
        convolved = [
            tf.nn.conv2d(part, weights, self.strides, self.padding.upper())
            for part, weights in parts
        ]
        return tf.concat(convolved, -1)
