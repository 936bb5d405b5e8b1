"""Gradients as one flat buffer, and back."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf


def flatten(tensors: "Sequence[tf.Tensor]") -> "tf.Tensor":
    """All elements of float32 ``tensors``, one behind the other."""
    import tensorflow as tf

    return tf.concat([tf.reshape(tensor, [-1]) for tensor in tensors], 0)


def unflatten(flat: "tf.Tensor", like: "Sequence[tf.Tensor]") -> "list[tf.Tensor]":
    """Cut ``flat`` into tensors of the shapes of ``like``."""
    import tensorflow as tf

    sizes = [tensor.shape.num_elements() for tensor in like]
    return [
        tf.reshape(part, tensor.shape)
        for part, tensor in zip(tf.split(flat, sizes), like, strict=True)
    ]
