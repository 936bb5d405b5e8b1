"""How fast a device multiplies matrices and moves memory: the timing, apart from any framework."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median

# Does its work so many times, and returns when that is done.
Work = Callable[[int], None]

# Sides of the matrices; a larger one is tried while the last one gained this much.
SIDES = (1024, 2048, 4096, 8192, 16384)
GAIN = 1.02
ROUNDS = 5
# The search ends where the next product would take so many times as long as a measurement is to.
TOO_LONG = 4
# An addition of two arrays reads two numbers and writes one (McCalpin's STREAM counts so too).
MOVED = 3
# Of each array in bytes: more than any cache holds.
ARRAY_BYTES = 2**29


@dataclass(frozen=True)
class Rate:
    """A median over rounds, with the slowest and the fastest of them."""

    value: float
    low: float
    high: float


def rate_of(work: Work, amount: float, seconds: float) -> Rate:
    """How much a second, where ``work`` does ``amount`` each time: in ROUNDS rounds of about so
    many ``seconds``, after a first time that is not counted."""
    work(1)
    once = _timed(work, 1)
    count = max(1, math.ceil(seconds / max(once, 1e-9)))
    # A first guess from a single time may be far off.
    count = max(1, math.ceil(count * seconds / max(_timed(work, count), 1e-9)))
    rates = [count * amount / _timed(work, count) for _ in range(ROUNDS)]
    return Rate(median(rates), min(rates), max(rates))


def products(make: Callable[[int], Work], seconds: float) -> Iterator[tuple[int, Rate]]:
    """The side of the matrices, and operations a second, of larger and larger ones until no more is
    gained; ``make`` gives a product of two square matrices of such a side.

    A product of matrices of side n takes n multiplications and n additions for each of its n * n
    numbers.
    """
    best = 0.0
    for side in SIDES:
        work = make(side)
        rate = rate_of(work, 2.0 * side**3, seconds)
        yield side, rate
        if rate.value < GAIN * best or 8 * 2.0 * side**3 / rate.value > TOO_LONG * seconds:
            return
        best = max(best, rate.value)


def _timed(work: Work, count: int) -> float:
    start = time.perf_counter()
    work(count)
    return time.perf_counter() - start
