"""Arrays on the devices of a mesh: the same on each, or each its part."""

from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from numpy.typing import NDArray

# Each device has all of an array, or a part of its first axis.
WHOLE, PARTS = P(), P("devices")


def on(mesh: Mesh, tree: Any, spec: P = WHOLE) -> Any:
    """``tree``, of which each device has a copy, or by ``spec`` its part, as arrays of ``mesh``;
    nothing is copied."""
    place = NamedSharding(mesh, spec)

    def moved(array: jax.Array) -> jax.Array:
        if array.sharding == place:
            return array
        parts = [shard.data for shard in array.addressable_shards]
        first, *others = parts[0].shape or (1,)
        shape = parts[0].shape if spec == WHOLE else (first * mesh.size, *others)
        return jax.make_array_from_single_device_arrays(shape, place, parts)

    return jax.tree.map(moved, tree)


def parts(mesh: Mesh, tree: Any) -> Any:
    """Of arrays of the host, the same on all processes, each device of ``mesh`` its part."""
    place = NamedSharding(mesh, PARTS)

    def copied(value: Any) -> jax.Array:
        return jax.make_array_from_callback(value.shape, place, lambda part: value[part])

    return jax.tree.map(copied, tree)


def gathered(mesh: Mesh, arrays: list[jax.Array]) -> list[NDArray[Any]]:
    """All of ``arrays`` of which each device has a part; all processes meet in here."""
    whole = jax.jit(lambda given: given, out_shardings=NamedSharding(mesh, WHOLE))(arrays)
    return [np.asarray(array.addressable_data(0)) for array in whole]


def whole(mesh: Mesh, tree: Any) -> Any:
    """Arrays of the host, the same on all processes, on each device of ``mesh``."""
    place = NamedSharding(mesh, P())

    def copied(value: Any) -> jax.Array:
        host = np.asarray(value)
        return jax.make_array_from_process_local_data(place, host, host.shape)

    return jax.tree.map(copied, tree)


def split(mesh: Mesh, tree: Any) -> Any:
    """Arrays of the host, (steps, replicas of this process, ...), each device's part on it."""
    place = NamedSharding(mesh, P(None, "devices"))
    return jax.tree.map(partial(jax.make_array_from_process_local_data, place), tree)


def local_sum(rows: jax.Array) -> NDArray[np.float64]:
    """The sum of this process's rows, a device each."""
    parts = [np.asarray(shard.data, np.float64) for shard in rows.addressable_shards]
    return np.asarray(np.concatenate(parts).sum(axis=0))
