"""Layers that Keras lacks, or has only in a slow form."""

import os
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("hpcbench")
class GroupedConv2D(keras.layers.Conv2D):
    """Keras' grouped convolution, on CPUs as one convolution a group.

    TensorFlow's CPU kernels have no gradients of a grouped convolution; Keras goes through XLA.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        kernel = tf.convert_to_tensor(self.kernel)
        parts = [(inputs, kernel)]
        if not tf.config.get_visible_devices("GPU"):
            parts = list(
                zip(
                    tf.split(inputs, self.groups, -1), tf.split(kernel, self.groups, -1),
                    strict=True,
                )
            )  # fmt: skip
        convolved = [
            tf.nn.conv2d(part, weights, self.strides, self.padding.upper())
            for part, weights in parts
        ]
        return self.activation(tf.nn.bias_add(tf.concat(convolved, -1), self.bias))


@keras.saving.register_keras_serializable("hpcbench")
class DilatedConv2D(keras.layers.Conv2D):
    """Keras' convolution of stride 1 without bias, dilated by TensorFlow's own kernel.

    Keras pads and rearranges to batches what a dilated kernel sees, which takes hundreds of times
    as long where the dilation is larger than the image. On CPUs only oneDNN has the gradients, for
    two types.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        one_dnn = os.environ.get("TF_ENABLE_ONEDNN_OPTS") != "0"
        known = one_dnn and self.compute_dtype in ("float32", "bfloat16")
        if not known and not tf.config.get_visible_devices("GPU"):
            return super().call(inputs)
        padding, dilations = self.padding.upper(), self.dilation_rate
        return tf.nn.conv2d(inputs, self.kernel, 1, padding, dilations=dilations)


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
