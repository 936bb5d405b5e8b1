"""Gradients as one flat buffer, and back."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf


def flatten(tensors: "Sequence[tf.Tensor]") -> "tf.Tensor":
    """All elements of float32 ``tensors``, one behind the other."""
    import tensorflow as tf

    return tf.concat([tf.reshape(tensor, [-1]) for tensor in tensors], 0)


def all_reduce_mean(tensors: "Sequence[tf.Tensor]", flat: bool) -> "list[tf.Tensor]":
    """The average over tf.distribute's replicas, in one buffer if ``flat``; in a replica only."""
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    if not flat or len(tensors) == 1:
        return list(context.all_reduce("MEAN", list(tensors)))
    return unflatten(context.all_reduce("MEAN", flatten(tensors)), tensors)


def unflatten(flat: "tf.Tensor", like: "Sequence[tf.Tensor]") -> "list[tf.Tensor]":
    """Cut ``flat`` into tensors of the shapes of ``like``."""
    import tensorflow as tf

    sizes = [tensor.shape.num_elements() for tensor in like]
    return [
        tf.reshape(part, tensor.shape)
        for part, tensor in zip(tf.split(flat, sizes), like, strict=True)
    ]
