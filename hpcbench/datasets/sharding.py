"""Who trains on which sample: pure functions of (samples, batch, world size, epoch, seed).

All devices draw the same order of an epoch and cut it into global batches; device ``d`` of
``W`` takes the d-th of W equal parts of each. What remains after the last whole global batch
is one shorter step, cut as evenly as it can be (parts differ by at most one sample). So every
sample is seen exactly once an epoch and all devices take the same number of steps, for any
world size, and the order does not depend on the world size.
"""

import numpy as np
from numpy.typing import NDArray


def epoch_order(samples: int, seed: int, epoch: int) -> NDArray[np.int32]:
    """The order of epoch ``epoch`` as a permutation of ``range(samples)``."""
    generator = np.random.Generator(np.random.Philox(key=[seed, epoch]))
    return generator.permutation(samples).astype(np.int32)


# Where nothing is set aside for it, each so many-th sample tests.
EVERY = 5


def mixed_order(samples: int) -> NDArray[np.int64]:
    """An order of samples that a file holds class by class, the same each time, so that the first
    of them are a fair part."""
    return np.random.default_rng(0).permutation(samples)


def full_steps(
    order: NDArray[np.int32], global_batch: int, world_size: int, first_device: int, devices: int
) -> NDArray[np.int32]:
    """Sample indices of the whole steps, shape (steps, devices, global_batch / world_size).

    For the ``devices`` consecutive devices that start at ``first_device``. ``global_batch`` is
    a multiple of ``world_size``.
    """
    steps = len(order) // global_batch
    shares = order[: steps * global_batch].reshape(steps, world_size, global_batch // world_size)
    return shares[:, first_device : first_device + devices]


def remainder_step(
    order: NDArray[np.int32], global_batch: int, world_size: int, first_device: int, devices: int
) -> list[NDArray[np.int32]]:
    """Each device's sample indices of the shorter last step; empty list where none remains.

    A device's share is empty where fewer samples remain than there are devices.
    """
    rest = order[len(order) // global_batch * global_batch :]
    if len(rest) == 0:
        return []
    return np.array_split(rest, world_size)[first_device : first_device + devices]


def contiguous_share(samples: int, world_size: int, device: int) -> tuple[int, int]:
    """Device ``device``'s share [start, stop) of ``samples`` for evaluation; together all of it."""
    base, extra = divmod(samples, world_size)
    start = device * base + min(device, extra)
    return start, start + base + (device < extra)
