"""AlexNet's local response normalization."""

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("hpcbench")
class LocalResponseNormalization(keras.layers.Layer):
    """Krizhevsky et al., NIPS 2012, section 3.3: k = 2, n = 5, alpha = 1e-4, beta = 0.75.

    Over neighbouring channels within each of ``groups`` equal groups, in float32 at least.
    """

    def __init__(self, groups: int = 1, **options: Any) -> None:
        super().__init__(**options)
        self.groups = groups

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        normalized = [
            tf.nn.local_response_normalization(
                tf.cast(part, tf.float32), depth_radius=2, bias=2.0, alpha=1e-4, beta=0.75
            )
            for part in tf.split(inputs, self.groups, -1)
        ]
        return tf.cast(tf.concat(normalized, -1), inputs.dtype)

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return shape

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"groups": self.groups}
