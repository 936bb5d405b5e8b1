"""Batch normalization in JAX, over one device's samples or over all devices'."""

from typing import Any

import jax
import jax.numpy as jnp
import keras

from hpcbench.frameworks.statistics import StatisticsExchange


def over_devices(values: Any) -> Any:
    """Averages over the devices of the program that this is in; their gradients are, too."""
    return jax.lax.pmean(values, "devices")


def batch_normalization(
    mode: str, statistics: StatisticsExchange
) -> type[keras.layers.BatchNormalization]:
    """The layer that normalizes as ``mode``, ``local`` or ``sync``, has it."""
    if mode == "local":
        return keras.layers.BatchNormalization

    class SyncBatchNormalization(keras.layers.BatchNormalization):
        def _moments(self, inputs: Any, mask: Any) -> tuple[Any, Any]:
            values = inputs.astype(jnp.promote_types(inputs.dtype, jnp.float32))
            axes = tuple(self._reduction_axes)
            own = jnp.mean(values, axes), jnp.mean(jnp.square(values), axes)
            mean, of_squares = statistics.mean(own)
            return mean, of_squares - jnp.square(mean)

    return SyncBatchNormalization


def moving_statistics(model: keras.Model) -> list[int]:
    """Where among ``model.non_trainable_variables`` those of its normalization stand."""
    of_layers = {
        id(variable)
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
        for variable in layer.non_trainable_variables
    }
    return [
        place
        for place, variable in enumerate(model.non_trainable_variables)
        if id(variable) in of_layers
    ]
