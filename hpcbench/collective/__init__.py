"""Collective operations by themselves: how fast devices exchange bytes while nothing trains.

Sizes and bandwidths are defined as nccl-tests defines them (github.com/NVIDIA/nccl-tests,
doc/PERFORMANCE.md), so that numbers can be held against its prints.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
ELEMENT_BYTES = 4
# What inputs count up to, so that sums over many ranks are exact in float32.
PATTERN = 97


@dataclass(frozen=True)
class Operation:
    """A collective operation on a buffer of S bytes a rank: of the parts of all ranks together
    where each ``gives_part`` or ``takes_part``.

    ``bus_factor(ranks)`` is bus bandwidth over algorithm bandwidth, S over the time: what the links
    carried had they done the least that the operation needs.
    """

    name: str
    bus_factor: Callable[[int], float]
    gives_part: bool = False
    takes_part: bool = False


OPERATIONS = {
    operation.name: operation
    for operation in (
        Operation("all_reduce", lambda ranks: 2 * (ranks - 1) / ranks),
        Operation("reduce_scatter", lambda ranks: (ranks - 1) / ranks, takes_part=True),
        Operation("all_gather", lambda ranks: (ranks - 1) / ranks, gives_part=True),
        Operation("broadcast", lambda ranks: 1.0),
    )
}


def elements_of(operation: str, size: int, ranks: int) -> int:
    """How many float32 a buffer of ``size`` bytes holds, at least one; where the operation cuts it
    in parts, as many for each rank."""
    kind = OPERATIONS[operation]
    parts = ranks if kind.gives_part or kind.takes_part else 1
    return max(1, size // (ELEMENT_BYTES * parts)) * parts


def given(operation: str, elements: int, rank: int, ranks: int) -> Floats:
    """What ``rank`` gives to an operation on a buffer of so many elements, shape (elements,) or its
    part of that."""
    return _pattern(elements // ranks if OPERATIONS[operation].gives_part else elements) + rank


def _pattern(elements: int) -> Floats:
    return np.resize(np.arange(PATTERN, dtype=np.float32), elements)


def expected(operation: str, elements: int, rank: int, ranks: int) -> Floats:
    """What ``rank`` has after it, exactly."""
    if operation == "broadcast":
        return given(operation, elements, 0, ranks)
    if operation == "all_gather":
        return np.concatenate([given(operation, elements, other, ranks) for other in range(ranks)])
    total = np.float32(ranks) * _pattern(elements) + np.float32(sum(range(ranks)))
    if operation == "reduce_scatter":
        return np.array_split(total, ranks)[rank]
    return total
