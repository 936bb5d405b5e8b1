"""AlexNet's local response normalization."""

from typing import Any

import keras
from keras import ops

RADIUS, BIAS, ALPHA, BETA = 2, 2.0, 1e-4, 0.75


@keras.saving.register_keras_serializable("hpcbench")
class LocalResponseNormalization(keras.layers.Layer):
    """Krizhevsky et al., NIPS 2012, section 3.3: k = 2, n = 5, alpha = 1e-4, beta = 0.75.

    Over neighbouring channels within each of ``groups`` equal groups, in float32 at least.
    """

    def __init__(self, groups: int = 1, **options: Any) -> None:
        super().__init__(**options)
        self.groups = groups

    def call(self, inputs: Any) -> Any:
        normalized = [
            _normalized(ops.cast(part, "float32")) for part in ops.split(inputs, self.groups, -1)
        ]
        return ops.cast(ops.concatenate(normalized, -1), inputs.dtype)

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return shape

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"groups": self.groups}


def _normalized(inputs: Any) -> Any:
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.nn.local_response_normalization(inputs, RADIUS, BIAS, ALPHA, BETA)
    channels = inputs.shape[-1]
    squares = ops.pad(ops.square(inputs), [(0, 0)] * 3 + [(RADIUS, RADIUS)])
    near = sum(squares[..., first : first + channels] for first in range(2 * RADIUS + 1))
    return inputs / ops.power(BIAS + ALPHA * near, BETA)
