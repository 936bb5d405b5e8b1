"""Scaling laws: what a step takes on N devices, over what its work takes on one.

With ``r`` the rate of one device, the rate of N is ``r N / cost(N)``, and a law is a sum of terms,

    cost(N) = 1 + sum of coefficient * term(N),

each coefficient a share of the work's time on one device. That is Extra-P's performance model
normal form (Calotoiu et al., SC'13) with at most two terms, and those of the exchange
among them. It holds Amdahl's law and Gunther's Universal Scalability Law (USL) as they stand;
Gustafson's is such a sum for ``1 / cost(N)``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
# A law with more terms than this has no counts left to be checked by in most sweeps.
MOST_TERMS = 2


@dataclass(frozen=True)
class Term:
    """``grows(devices, nodes)`` is what the term's coefficient is multiplied with. The coefficient
    may be negative only where it is ``signed``: then more devices save, as more caches do."""

    name: str
    grows: Callable[[Values, Values], Values]
    signed: bool = False
    between_nodes: bool = False


@dataclass(frozen=True)
class Law:
    """``1 + sum of coefficient * term`` is the cost, or its inverse where ``inverse`` is set."""

    name: str
    terms: tuple[Term, ...]
    inverse: bool = False

    @property
    def parameters(self) -> tuple[str, ...]:
        """One device's rate in samples a second, then the terms' coefficients."""
        return ("rate", *(term.name for term in self.terms))

    def design(self, devices: Values, nodes: Values) -> Values:
        """A row a count, a column a parameter."""
        constant = np.ones(len(devices))
        return np.column_stack([constant, *(t.grows(devices, nodes) for t in self.terms)])

    def rate_of(self, devices: Values, nodes: Values, values: Values) -> Values:
        """Samples a second at ``devices`` for the ``values`` of ``parameters``."""
        total = self.design(devices, nodes) @ np.array([1.0, *values[1:]])
        return values[0] * devices * (total if self.inverse else 1 / total)


# Each doubling adds a message to a tree's or a recursive doubling's way (Thakur, Rabenseifner and
# Gropp, IJHPCA 19(1), 2005).
_LATENCY = Term("latency", lambda n, _: np.log2(n), signed=True)
# What each device sends in a ring's reduction, over the gradients' size (Patarasuk and Yuan,
# JPDC 69(2), 2009).
_RING = Term("ring", lambda n, _: (n - 1) / n)
# Queueing for what is shared, and every device's waiting for every other (Gunther, Guerrilla
# Capacity Planning, 2007, chapter 4).
_CONTENTION = Term("contention", lambda n, _: n - 1, signed=True)
_COHERENCY = Term("coherency", lambda n, _: n * (n - 1))
# The exchange where it goes through the network between nodes: at all, by doubling, in a ring.
_BETWEEN_NODES = (
    Term("step between nodes", lambda _, k: (k > 1).astype(float), between_nodes=True),
    Term("latency between nodes", lambda _, k: np.log2(k), between_nodes=True),
    Term("ring between nodes", lambda _, k: (k - 1) / k, between_nodes=True),
)
# Gustafson, CACM 31(5), 1988: the rate is r (s + (1 - s) N).
_GUSTAFSON = Law(
    "Gustafson",
    (Term("serial fraction", lambda n, _: (1 - n) / n, signed=True),),
    inverse=True,
)


def _shared_out(term: Term) -> Term:
    """Of strong scaling, where the work of a step is an N-th on each device and the exchange is
    not, so that it weighs N times as much."""
    grows = term.grows
    return Term(term.name, lambda n, k: n * grows(n, k), term.signed, term.between_nodes)


# The serial part of strong scaling (Amdahl, AFIPS 1967) grows as a ring's exchange does there, and
# as the contention of the USL: one term stands for all three.
_SERIAL = Term("serial fraction", _CONTENTION.grows, signed=True)
_TERMS = {
    "weak": (_LATENCY, _RING, _CONTENTION, _COHERENCY, *_BETWEEN_NODES),
    "strong": (_shared_out(_LATENCY), _SERIAL, _COHERENCY, *map(_shared_out, _BETWEEN_NODES)),
}
_OF_ITS_OWN_NAME = {
    (): "linear",
    (_SERIAL,): "Amdahl",
    (_SERIAL, _COHERENCY): "USL",
    (_CONTENTION, _COHERENCY): "USL",
}


@cache
def candidates(scaling: str, across_nodes: bool) -> tuple[Law, ...]:
    """All laws of "weak" or "strong" scaling, the simplest first.

    ``across_nodes``: for counts of which some are within one node and some over several, so that
    each law has a term for the exchange between nodes. Otherwise none has.
    """
    terms = [term for term in _TERMS[scaling] if across_nodes or not term.between_nodes]
    sums = [
        Law(_OF_ITS_OWN_NAME.get(chosen, " + ".join(term.name for term in chosen)), chosen)
        for size in range(MOST_TERMS + 1)
        for chosen in combinations(terms, size)
        if not across_nodes or any(term.between_nodes for term in chosen)
    ]
    return (*sums, _GUSTAFSON) if scaling == "weak" and not across_nodes else tuple(sums)
