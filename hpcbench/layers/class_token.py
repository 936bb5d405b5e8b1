"""What a vision transformer adds to its patches."""

from typing import Any

import keras


@keras.saving.register_keras_serializable("hpcbench")
class ClassTokenAndPositions(keras.layers.Layer):
    """A learned token before those that come, and a learned position added to each: from shape (n,
    tokens, width) to (n, tokens + 1, width). Positions start truncated normal with ``deviation``.
    """

    def __init__(self, deviation: float, **options: Any) -> None:
        super().__init__(**options)
        self._deviation = deviation

    def build(self, input_shape: tuple[Any, ...]) -> None:
        _, tokens, width = input_shape
        drawn = keras.initializers.TruncatedNormal(stddev=self._deviation)
        self.token = self.add_weight(shape=(1, 1, width), initializer="zeros", name="token")
        self.positions = self.add_weight(
            shape=(1, tokens + 1, width), initializer=drawn, name="positions"
        )

    def call(self, inputs: Any) -> Any:
        ops = keras.ops
        shape = (ops.shape(inputs)[0], 1, inputs.shape[-1])
        token = ops.broadcast_to(ops.convert_to_tensor(self.token), shape)
        return ops.concatenate([token, inputs], axis=1) + self.positions

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        samples, tokens, width = input_shape
        return samples, tokens + 1 if tokens else None, width

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "deviation": self._deviation}
