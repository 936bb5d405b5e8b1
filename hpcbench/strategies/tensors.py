"""What strategies of TensorFlow share: flat buffers of gradients, replicas, logical devices."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf


def flatten(tensors: "Sequence[tf.Tensor]") -> "tf.Tensor":
    """All elements of float32 ``tensors``, one behind the other."""
    import tensorflow as tf

    return tf.concat([tf.reshape(tensor, [-1]) for tensor in tensors], 0)


def mean_over_replicas(tensors: "Sequence[tf.Tensor]", flat: bool) -> "list[tf.Tensor]":
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


def logical_devices(count: int) -> tuple[str, ...]:
    """TensorFlow's names of ``count`` GPUs, or where there are none of as many parts of the CPU."""
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        return tuple(f"/gpu:{index}" for index in range(count))
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration() for _ in range(count)],
    )
    return tuple(f"/cpu:{index}" for index in range(count))
