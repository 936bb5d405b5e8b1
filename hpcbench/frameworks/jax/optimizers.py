"""Keras' optimizers on JAX, and LARC."""

from typing import Any

import jax.numpy as jnp
import keras

from hpcbench.frameworks.optimizers import LARC_TRUST


class Larc(keras.optimizers.SGD):
    """As ``hpcbench.frameworks.optimizers`` has it."""

    def update_step(self, gradient: Any, variable: keras.Variable, learning_rate: Any) -> None:
        norm = jnp.linalg.norm(variable.value.ravel())
        slope = jnp.linalg.norm(gradient.ravel())
        own = jnp.minimum(LARC_TRUST * norm / (slope * learning_rate), 1)
        known = (norm > 0) & (slope > 0)
        scaled = gradient * jnp.where(known, own, 1).astype(gradient.dtype)
        super().update_step(scaled, variable, learning_rate)


def make_optimizer(name: str, momentum: float) -> keras.optimizers.Optimizer:
    """The optimizer ``name``, which is given its learning rate at each step."""
    if name in ("sgd", "larc"):
        return {"sgd": keras.optimizers.SGD, "larc": Larc}[name](0.0, momentum=momentum)
    return {"adam": keras.optimizers.Adam, "adadelta": keras.optimizers.Adadelta}[name](0.0)
