"""What devices give each other in a step of JAX's loop, and that alone, time after time."""

from collections.abc import Callable, Sequence
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
        self._in_parts = strategy.shards_optimizer
        # Those of a single device travel nowhere.
        self._travels_as = TRAVELS_AS.get(compression) if strategy.world_size > 1 else None

    def of_step(self, gradients: list[jax.Array], exchange: Exchange) -> list[jax.Array]:
        """The gradients that a device updates with, within the loop."""
        if exchange is Exchange.GRADIENTS:
            return self._mean(gradients)
        return self._met(gradients) if exchange is Exchange.ONE_ELEMENT else gradients

    def scattered(
        self, gradients: jax.Array, start: jax.Array, size: int, exchange: Exchange
    ) -> jax.Array:
        """A device's part, from ``start`` on, of the mean of flat ``gradients``."""
        if exchange is Exchange.GRADIENTS:
            return _scattered(gradients) / self._strategy.world_size
        if exchange is Exchange.ONE_ELEMENT:
            (gradients,) = self._met([gradients])
        return jax.lax.dynamic_slice(gradients, (start,), (size,))

    def gathered(
        self, weights: jax.Array, part: jax.Array, start: jax.Array, exchange: Exchange
    ) -> jax.Array:
        """Flat ``weights``, of which a device has updated its ``part``, from ``start`` on."""
        if exchange is Exchange.GRADIENTS:
            return _gathered(part)
        return jax.lax.dynamic_update_slice(weights, part, (start,))

    def repeated(self, exchange: Exchange, weights: list[jax.Array], count: Any) -> jax.Array:
        """``count`` exchanges of gradients in the shapes of ``weights``, or of a single element."""
        work: Callable[[list[jax.Array]], list[jax.Array]] = self._mean
        given = weights
        if exchange is Exchange.ONE_ELEMENT:
            given = [_element_of(weights)]
        elif self._in_parts:
            flat = jnp.concatenate([weight.ravel() for weight in weights])
            given, work = [jnp.pad(flat, (0, -flat.size % self._strategy.world_size))], _both_ways
        # One after the other: each needs what came out of the one before.
        return _element_of(jax.lax.fori_loop(0, count, lambda _, one: work(one), given))

    def _met(self, gradients: list[jax.Array]) -> list[jax.Array]:
        """All devices have their gradients before any of them goes on."""
        met = jax.lax.pmean(_element_of(gradients), "devices")
        gradients, _ = jax.lax.optimization_barrier((gradients, met))
        return gradients

    def _mean(self, gradients: list[jax.Array]) -> list[jax.Array]:
        """Over all devices."""
        if self._travels_as is None:
            return self._strategy.all_reduce_mean(gradients)
        rounded = [gradient.astype(self._travels_as) for gradient in gradients]
        mean = self._strategy.all_reduce_mean(rounded)
        return [one.astype(like.dtype) for one, like in zip(mean, gradients, strict=True)]


def _scattered(flat: jax.Array) -> jax.Array:
    return jax.lax.psum_scatter(flat, "devices", tiled=True)


def _gathered(part: jax.Array) -> jax.Array:
    return jax.lax.all_gather(part, "devices", tiled=True)


def _both_ways(flat: list[jax.Array]) -> list[jax.Array]:
    return [_gathered(_scattered(flat[0]))]


def _element_of(arrays: Sequence[jax.Array]) -> jax.Array:
    """A number that all of ``arrays`` are needed for, shape (1,)."""
    return jnp.stack([array.ravel()[:1] for array in arrays]).sum(axis=0)
