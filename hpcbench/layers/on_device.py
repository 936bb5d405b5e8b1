"""A part of a network on a device of its own."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("hpcbench")
class OnDevice(keras.layers.Layer):
    """Layers one after the other on ``device``: their weights, and both directions of the work.

    Without the gradient of its own here, TensorFlow would compute the backward pass of every layer
    on the first device.
    """

    def __init__(self, device: str, parts: Sequence[keras.layers.Layer], **options: Any) -> None:
        super().__init__(**options)
        self.device = device
        self.parts = list(parts)
        # Of each part, once it is built.
        self.output_shapes: list[tuple[int | None, ...]] = []

    def build(self, shape: tuple[int | None, ...]) -> None:
        self.output_shapes = []
        with tf.device(self.device):
            for part in self.parts:
                part.build(shape)
                shape = part.compute_output_shape(shape)
                self.output_shapes.append(shape)

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        for part in self.parts:
            shape = part.compute_output_shape(shape)
        return shape

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        @tf.custom_gradient
        def placed(value: tf.Tensor) -> Any:
            with tf.device(self.device), tf.GradientTape() as tape:
                here = tf.identity(value)
                tape.watch(here)
                output = self._forward(here, training)

            def gradient(upstream: tf.Tensor, variables: Sequence[tf.Variable] = ()) -> Any:
                with tf.device(self.device):
                    first, *rest = tape.gradient(output, [here, *variables], upstream)
                return (first, rest) if variables else first

            return output, gradient

        return placed(inputs)

    def _forward(self, value: Any, training: bool | None) -> Any:
        for part in self.parts:
            dropout = isinstance(part, keras.layers.Dropout)
            value = part(value, training=training) if dropout else part(value)
        return value

    def get_config(self) -> dict[str, Any]:
        parts = [keras.saving.serialize_keras_object(part) for part in self.parts]
        return super().get_config() | {"device": self.device, "parts": parts}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "OnDevice":
        parts = [keras.saving.deserialize_keras_object(part) for part in config.pop("parts")]
        return cls(parts=parts, **config)
