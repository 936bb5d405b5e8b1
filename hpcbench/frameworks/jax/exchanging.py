"""What devices give each other in a step of JAX's loop, and that alone, time after time."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from hpcbench.frameworks.backend import Exchange
from hpcbench.strategies import JaxStrategy

# Gradients that are compressed.
TRAVELS_AS = {"fp16": jnp.float16, "bf16": jnp.bfloat16}


class GradientExchange:
    """Gradients are rounded for it if ``compression`` is not none."""

    def __init__(self, strategy: JaxStrategy, compression: str) -> None:
        self._strategy = strategy
        # Those of a single device travel nowhere.
        self._travels_as = TRAVELS_AS.get(compression) if strategy.world_size > 1 else None

    def of_step(self, gradients: list[jax.Array], exchange: Exchange) -> list[jax.Array]:
        """The gradients that a device updates with, within the loop."""
        if exchange is Exchange.GRADIENTS:
            return self._mean(gradients)
        if exchange is Exchange.ONE_ELEMENT:
            # All devices have their gradients before any of them goes on.
            met = jax.lax.pmean(_element_of(gradients), "devices")
            gradients, _ = jax.lax.optimization_barrier((gradients, met))
        return gradients

    def repeated(self, exchange: Exchange, weights: list[jax.Array], count: Any) -> jax.Array:
        """``count`` exchanges of gradients in the shapes of ``weights``, or of a single element."""
        given = [_element_of(weights)] if exchange is Exchange.ONE_ELEMENT else weights
        # One after the other: each needs what came out of the one before.
        return _element_of(jax.lax.fori_loop(0, count, lambda _, one: self._mean(one), given))

    def _mean(self, gradients: list[jax.Array]) -> list[jax.Array]:
        """Over all devices."""
        if self._travels_as is None:
            return self._strategy.all_reduce_mean(gradients)
        rounded = [gradient.astype(self._travels_as) for gradient in gradients]
        mean = self._strategy.all_reduce_mean(rounded)
        return [one.astype(like.dtype) for one, like in zip(mean, gradients, strict=True)]


def _element_of(arrays: Sequence[jax.Array]) -> jax.Array:
    """A number that all of ``arrays`` are needed for, shape (1,)."""
    return jnp.stack([array.ravel()[:1] for array in arrays]).sum(axis=0)
