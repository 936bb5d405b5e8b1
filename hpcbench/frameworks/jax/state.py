"""What training changes, on all devices: weights, other variables, and the optimizer's slots."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from numpy.typing import NDArray

from hpcbench.frameworks.jax import placement
from hpcbench.frameworks.jax.updating import Update
from hpcbench.strategies import JaxStrategy

# Trainable weights, other variables, and the optimizer's slots.
TrainState = tuple[list[jax.Array], list[jax.Array], list[jax.Array]]
Host = NDArray[Any]


class State:
    """Every device has its own copy of the weights, which the exchange keeps the same, and of the
    other variables, of which ``generators`` are the places of dropout's; ``update`` says which part
    of the slots it has."""

    def __init__(
        self,
        strategy: JaxStrategy,
        weights: Sequence[jax.Array],
        others: Sequence[jax.Array],
        update: Update,
        generators: Collection[int],
    ) -> None:
        self._strategy, self._update, self._generators = strategy, update, generators
        self._mesh = strategy.mesh
        self._in_parts = strategy.shards_optimizer
        # Of slots in parts, those that were gathered, or that are to be given to all.
        self._slots: list[Host] | None = None
        self.now: TrainState = (
            placement.whole(self._mesh, list(weights)),
            placement.whole(self._mesh, list(others)),
            self._placed(update.first_slots()),
        )
        whole, of_slots = placement.WHOLE, update.place
        # Where they lie on the devices.
        self.places = whole, whole, of_slots
        self._share = jax.jit(
            jax.shard_map(
                _of_first, mesh=self._mesh, in_specs=whole, out_specs=whole, check_vma=False
            )
        )

    def on(self, mesh: Mesh) -> TrainState:
        """As arrays of ``mesh``; nothing is copied."""
        weights, others, slots = (
            placement.on(mesh, kind, place)
            for kind, place in zip(self.now, self.places, strict=True)
        )
        return weights, others, slots

    def mine(self) -> TrainState:
        """What this process's first device has."""
        weights, others, slots = jax.tree.map(
            lambda array: array.addressable_shards[0].data, self.now
        )
        return weights, others, slots

    def gather(self) -> None:
        """Have all of the slots here; all processes meet."""
        if self._in_parts:
            self._slots = placement.gathered(self._mesh, self.on(self._mesh)[2])

    def kept(self) -> list[Host]:
        """All but the states of dropout's generators, which follow from seed, device and step."""
        weights, others, slots = self.mine()
        variables = [value for place, value in enumerate(others) if place not in self._generators]
        return [np.asarray(value) for value in (*weights, *variables, *self._whole(slots))]

    def _whole(self, slots: list[jax.Array]) -> Sequence[Any]:
        if not self._in_parts:
            return slots
        if self._slots is None:
            raise RuntimeError("no process has the whole state unless it was gathered")
        return self._slots

    def restore(self, state: Sequence[Host]) -> None:
        """Undo :meth:`kept`, of slots in parts once it is shared; ValueError where it is of another
        model."""
        weights, others, slots = self.mine()
        now = weights, others, self._update.first_slots() if self._in_parts else slots
        found, given = [], iter(state)
        for kind, values in enumerate(now):
            found.append(
                [
                    value if kind == 1 and place in self._generators else _like(value, given)
                    for place, value in enumerate(values)
                ]
            )
        if next(given, None) is not None:
            raise ValueError("the state is longer than this model's")
        if self._in_parts:
            self._slots = found.pop()
        whole = placement.whole(self._mesh, found)
        self.now = whole[0], whole[1], self.now[2] if self._in_parts else whole[2]

    def share(self) -> None:
        """Take rank 0's."""
        if self._strategy.world_size == 1 and not self._in_parts:
            return
        weights, others, slots = self.on(self._mesh)
        if not self._in_parts:
            self.now = self._share((weights, others, slots))
            return
        weights, others = self._share((weights, others))
        if self._strategy.all_gather([float(self._slots is not None)])[0, 0]:
            given = self._slots or self._update.first_slots()
            whole = self._share(placement.whole(self._mesh, given))
            slots = self._placed([np.asarray(one.addressable_data(0)) for one in whole])
            self._slots = None
        self.now = weights, others, slots

    def _placed(self, slots: list[Host]) -> list[jax.Array]:
        """``slots``, the same on all processes, on the devices."""
        place = placement.parts if self._in_parts else placement.whole
        placed: list[jax.Array] = place(self._mesh, slots)
        return placed


def _of_first(values: Any) -> Any:
    """Device 0's values on all."""
    first = jax.lax.axis_index("devices") == 0

    def of_first(value: jax.Array) -> jax.Array:
        return jax.lax.psum(jnp.where(first, value, jnp.zeros_like(value)), "devices")

    return jax.tree.map(of_first, values)


def _like(now: Any, given: Iterator[Host]) -> Host:
    """The next of ``given``; ValueError where it is not of the shape of ``now``."""
    value = next(given, None)
    if value is None:
        raise ValueError("the state is shorter than this model's")
    if value.shape != now.shape:
        raise ValueError(f"shape {value.shape} where {now.shape} is expected")
    return value
