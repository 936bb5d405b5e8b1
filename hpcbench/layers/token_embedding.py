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
    """A learned vector added at each position, of shape (length, width), which starts as
    ``initializer`` says; of ``most`` positions, where that is more than samples have, the first
    ones."""

    def __init__(self, initializer: Any, most: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        self._initializer = keras.initializers.get(initializer)
        self._most = most

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        shape = (self._most or input_shape[1], input_shape[2])
        self.positions = self.add_weight(
            shape=shape, initializer=self._initializer, name="positions"
        )

    def call(self, inputs: Any) -> Any:
        if self._most is None:
            return inputs + self.positions
        return inputs + self.positions[: inputs.shape[1]]

    def get_config(self) -> dict[str, Any]:
        initializer = keras.initializers.serialize(self._initializer)
        return {**super().get_config(), "initializer": initializer, "most": self._most}


@keras.saving.register_keras_serializable("hpcbench")
class Bias(keras.layers.Layer):
    """A learned number added to each of the last axis, which starts as zero."""

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.bias = self.add_weight(shape=input_shape[-1:], initializer="zeros", name="bias")

    def call(self, inputs: Any) -> Any:
        return inputs + self.bias
