"""What turns tokens into vectors, and back."""

from typing import Any

import keras


@keras.saving.register_keras_serializable("hpcbench")
class TokenEmbedding(keras.layers.Embedding):
    """Keras' embedding, whose weights give the logits too where it is called in ``reverse``: from
    shape (n, length, width) to (n, length, tokens)."""

    def call(self, inputs: Any, reverse: bool = False) -> Any:
        if not reverse:
            return super().call(inputs)
        ops = keras.ops
        weights = ops.convert_to_tensor(self.embeddings)
        return ops.matmul(inputs, ops.transpose(ops.cast(weights, self.compute_dtype)))

    def compute_output_spec(self, inputs: Any, reverse: bool = False) -> keras.KerasTensor:
        last = self.input_dim if reverse else self.output_dim
        shape = (*(inputs.shape[:-1] if reverse else inputs.shape), last)
        return keras.KerasTensor(shape, dtype=self.compute_dtype)


@keras.saving.register_keras_serializable("hpcbench")
class Positions(keras.layers.Layer):
    """A learned vector added at each position, of shape (length, width), which starts normal with
    ``deviation``."""

    def __init__(self, deviation: float, **options: Any) -> None:
        super().__init__(**options)
        self._deviation = deviation

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        drawn = keras.initializers.RandomNormal(stddev=self._deviation)
        self.positions = self.add_weight(shape=input_shape[1:], initializer=drawn, name="positions")

    def call(self, inputs: Any) -> Any:
        return inputs + self.positions

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "deviation": self._deviation}
