"""Timing collective operations: each checked, then timed in rounds, each round in an order of its
own.

A timing is of many operations in a row between two looks at the clock, after a barrier, as in
nccl-tests; the slowest rank counts. So many that it should last as long as was asked, by
how long the first few took the slowest rank.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hpcbench.collective import ELEMENT_BYTES, elements_of, expected, given
from hpcbench.collective.libraries import Exchange, Library
from hpcbench.collective.rows import SINGLE, CollectiveRow
from hpcbench.errors import CommunicationFailed

# Operations before any timing, and of the first timing, by which the number of the others is set.
WARM_UP, FIRST = 2, 3
MOST_ITERATIONS = 100_000


@dataclass(frozen=True)
class Case:
    """What is timed: an operation on buffers of so many ``elements`` each, by one library."""

    library: Library
    operation: str
    elements: tuple[int, ...]
    form: str = SINGLE
    model: str = ""

    @property
    def bytes(self) -> int:
        return sum(self.elements) * ELEMENT_BYTES

    @property
    def name(self) -> str:
        of = f" of {self.model}'s gradients ({self.form})" if self.model else ""
        return f"{self.operation}{of} of {self.bytes} bytes through {self.library.name}"


@dataclass(frozen=True)
class Launched:
    """What the rows of one launch have in common, and where each library's buffers are."""

    launch: str
    nodes: int
    device_kinds: Mapping[str, str]


def cases(
    libraries: Sequence[Library],
    operations: Sequence[str],
    sizes: Sequence[int],
    gradients: Mapping[str, Sequence[int]],
) -> list[Case]:
    """Every size by every operation of every library, once where sizes round to the same; and the
    ``gradients`` (elements of each tensor, by model) in every form."""
    found: dict[tuple[str, str, int], Case] = {}
    for library in libraries:
        for operation in operations:
            for size in sizes if operation in library.operations else ():
                count = elements_of(operation, size, library.ranks.processes)
                key = library.name, operation, count
                found.setdefault(key, Case(library, operation, (count,)))
    models = [
        Case(library, "all_reduce", tuple(elements), form, model)
        for library in libraries
        for model, elements in gradients.items()
        for form in library.forms
    ]
    return [*found.values(), *models]


def measure(
    every: Sequence[Case], rounds: int, seconds: float, about: Launched
) -> Iterator[CollectiveRow]:
    """The rows of all ranks together, the same on each; nothing is kept of the first look, which
    checks results. Raises CommunicationFailed, on all ranks, where they are wrong."""
    iterations = [_first_look(case, seconds) for case in every]
    # The same on all ranks.
    generator = np.random.default_rng(0)
    for number in range(rounds):
        for index in generator.permutation(len(every)):
            case, count = every[index], iterations[index]
            times = _timed(case, _ready(case), count)
            yield CollectiveRow(
                launch=about.launch,
                library=case.library.name,
                operation=case.operation,
                form=case.form,
                model=case.model,
                bytes=case.bytes,
                tensors=len(case.elements),
                ranks=case.library.ranks.processes,
                nodes=about.nodes,
                device_kind=about.device_kinds[case.library.name],
                round=number,
                iterations=count,
                seconds=times.max() / count,
                mean_seconds=times.mean() / count,
                fastest_seconds=times.min() / count,
            )


def _ready(case: Case) -> Exchange:
    ranks = case.library.ranks
    inputs = [given(case.operation, n, ranks.rank, ranks.processes) for n in case.elements]
    if case.operation == "broadcast" and ranks.rank:
        inputs = [np.full_like(mine, -1) for mine in inputs]
    return case.library.exchange(case.operation, case.form, inputs)


def _first_look(case: Case, seconds: float) -> int:
    """How many operations should last as long as ``seconds``; their results are right."""
    ranks = case.library.ranks
    exchange = _ready(case)
    exchange.run()
    exchange.wait()
    right = all(
        np.array_equal(result, expected(case.operation, count, ranks.rank, ranks.processes))
        for result, count in zip(exchange.results(), case.elements, strict=True)
    )
    of_all = ranks.all_gather([float(right)])[:, 0]
    if not of_all.all():
        wrong = ", ".join(str(rank) for rank in np.flatnonzero(of_all == 0))
        error = CommunicationFailed(f"{case.name} gives a wrong result on rank {wrong}")
        error.on_all_ranks = True
        raise error
    each = _timed(case, exchange, FIRST).max() / FIRST
    return min(MOST_ITERATIONS, max(1, math.ceil(seconds / each)))


def _timed(case: Case, exchange: Exchange, count: int) -> NDArray[np.float64]:
    """All ranks' seconds for ``count`` operations, warm."""
    for _ in range(WARM_UP):
        exchange.run()
    exchange.wait()
    case.library.ranks.all_gather([0.0])
    start = time.perf_counter()
    for _ in range(count):
        exchange.run()
    exchange.wait()
    return case.library.ranks.all_gather([time.perf_counter() - start])[:, 0]
