"""How a device updates the weights in a step of JAX's loop: all of them, or a part that it then
gives to the others."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
from numpy.typing import NDArray

from hpcbench.frameworks.backend import Exchange
from hpcbench.frameworks.jax import placement
from hpcbench.frameworks.jax.exchanging import GradientExchange
from hpcbench.strategies import JaxStrategy

# What Keras' optimizers keep before their slots: the number of the step, and the learning rate.
OF_STEP = 2

Arrays = list[jax.Array]


class Update:
    """Each device updates all weights, and has all of the optimizer's slots."""

    # How slots lie on the devices.
    place = placement.WHOLE

    def __init__(
        self,
        optimizer: keras.optimizers.Optimizer,
        exchange: GradientExchange,
        weights: Sequence[keras.Variable],
    ) -> None:
        self._optimizer, self._exchange = optimizer, exchange
        optimizer.build(list(weights))

    def first_slots(self) -> list[NDArray[Any]]:
        """Before the first step, on all devices."""
        return [np.asarray(variable.value) for variable in self._optimizer.variables[OF_STEP:]]

    def __call__(
        self, of_step: list[Any], weights: Arrays, slots: Arrays, gradients: Arrays, way: Exchange
    ) -> tuple[Arrays, Arrays]:
        """Weights and slots after a step; ``of_step`` are its number and its learning rate."""
        return self._applied(of_step, weights, slots, self._exchange.of_step(gradients, way))

    def _applied(
        self, of_step: list[Any], weights: Arrays, slots: Arrays, gradients: Arrays
    ) -> tuple[Arrays, Arrays]:
        weights, after = self._optimizer.stateless_apply([*of_step, *slots], gradients, weights)
        return weights, after[OF_STEP:]


class UpdateOfPart(Update):
    """Each device has the slots of a part of the weights, as long as the others', and updates that:
    gradients are reduced and scattered, weights gathered (Rajbhandari et al., ZeRO, SC 2020,
    stage 1)."""

    place = placement.PARTS

    def __init__(
        self,
        optimizer: keras.optimizers.Optimizer,
        exchange: GradientExchange,
        weights: Sequence[keras.Variable],
        strategy: JaxStrategy,
    ) -> None:
        self._world, self._first_device = strategy.world_size, strategy.first_device
        self._part = -(-sum(math.prod(one.shape) for one in weights) // self._world)
        part = keras.Variable(np.zeros(self._part), dtype=weights[0].dtype, name="part")
        super().__init__(optimizer, exchange, [part])

    def first_slots(self) -> list[NDArray[Any]]:
        return [np.tile(slot, self._world) for slot in super().first_slots()]

    def __call__(
        self, of_step: list[Any], weights: Arrays, slots: Arrays, gradients: Arrays, way: Exchange
    ) -> tuple[Arrays, Arrays]:
        # Where nothing is exchanged a process runs by itself.
        device = jax.lax.axis_index("devices") + self._first_device * (way is Exchange.NONE)
        flat, start = self._flat(weights), device * self._part
        gradient = self._exchange.scattered(self._flat(gradients), start, self._part, way)
        mine = jax.lax.dynamic_slice(flat, (start,), (self._part,))
        (mine,), slots = self._applied(of_step, [mine], slots, [gradient])
        flat = self._exchange.gathered(flat, mine, start, way)
        ends = np.cumsum([weight.size for weight in weights])
        parts = jnp.split(flat[: ends[-1]], ends[:-1])
        return [one.reshape(like.shape) for one, like in zip(parts, weights, strict=True)], slots

    def _flat(self, arrays: Arrays) -> jax.Array:
        """One behind the other, filled up with zeros to as much for each device."""
        flat = jnp.concatenate([array.ravel() for array in arrays])
        return jnp.pad(flat, (0, self._world * self._part - flat.size))


def update(
    strategy: JaxStrategy,
    optimizer: keras.optimizers.Optimizer,
    exchange: GradientExchange,
    weights: Sequence[keras.Variable],
) -> Update:
    """As ``strategy`` has it."""
    if strategy.shards_optimizer:
        return UpdateOfPart(optimizer, exchange, weights, strategy)
    return Update(optimizer, exchange, weights)
