"""Marks of all processes as intervals of training: the same steps on each, by the slowest one."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from statistics import mean, median

from hpcbench.programs.probe_lines import Mark, Process
from hpcbench.words import significant

# Below this share of what follows, an interval at the beginning is warm-up.
STEADY = 0.9
# Ranks whose pauses differ by more than this share of an interval did not pause together.
TOGETHER = 0.1
# A gap this many times the median step, and no shorter than this, holds something else than steps.
GAP, LEAST_GAP = 20.0, 1.0
# A step of so many times the median is not one as the others are.
LONG_STEP = 10.0
FEWEST = 3


@dataclass(frozen=True)
class Interval:
    """So many steps of each process, taking these ``seconds`` of each, pauses left out; ``samples``
    of all, None where not known; ``waited`` for data, in the ``forward`` and within the
    ``backward`` pass, each of them, in seconds; ``exposed``, for how long gradients were under way
    when it had nothing left to compute, of which the ``exchange`` is what the rank that came last
    had (both empty where not seen). The first three are empty where not each step was looked into,
    ``waited`` also where another thread waits. ``excess`` seconds, at least, are what steps much
    longer than usual took more than that.

    ``broken`` says why it is not training alone; empty where it is.
    """

    steps: int
    samples: int | None
    seconds: tuple[float, ...]
    waited: tuple[float, ...]
    forward: tuple[float, ...] = ()
    backward: tuple[float, ...] = ()
    exposed: tuple[float, ...] = ()
    exchange: float = 0.0
    excess: float = 0.0
    broken: str = ""

    @property
    def slowest(self) -> float:
        return max(self.seconds)


@dataclass(frozen=True)
class Measured:
    """``intervals`` to be counted, in order; how many were left out as ``warmup``, and those that
    were ``broken`` by something else than training."""

    intervals: list[Interval]
    warmup: int
    broken: list[Interval]


def measured(processes: Sequence[Process], seconds: float) -> Measured:
    """The intervals of about so many ``seconds`` that all processes have in common."""
    found = list(_intervals(processes, seconds))
    whole = [one for one in found if not one.broken]
    # The first step compiles, allocates and connects, whatever its rate looks like.
    cut = 1
    while cut < len(whole) - FEWEST and _rate(whole[cut]) < STEADY * median(
        _rate(one) for one in whole[cut + 1 :]
    ):
        cut += 1
    return Measured(whole[cut:], min(cut, len(whole)), [one for one in found if one.broken])


def _rate(interval: Interval) -> float:
    return interval.steps / interval.slowest


def _intervals(processes: Sequence[Process], seconds: float) -> Iterator[Interval]:
    grid = _grid(processes)
    usual = _usual_step(processes)
    start: list[Mark] = []
    for steps in grid:
        here = [_at(process.marks, steps) for process in processes]
        if not start:
            start = here
            continue
        took = [b.at - a.at for a, b in zip(start, here, strict=True)]
        if max(took) >= seconds:
            yield _interval(processes, start, here, usual)
            start = here


def _grid(processes: Sequence[Process]) -> list[int]:
    """Numbers of steps at which intervals may begin and end: where all processes have a mark, or,
    where they have none in common, where the first one has."""
    common = set.intersection(*({mark.steps for mark in one.marks} for one in processes))
    if len(common) >= min(len(process.marks) for process in processes) / 2:
        return sorted(common)
    last = min(process.marks[-1].steps for process in processes)
    first = max(process.marks[0].steps for process in processes)
    return [mark.steps for mark in processes[0].marks if first <= mark.steps <= last]


def _usual_step(processes: Sequence[Process]) -> float:
    """The median seconds of a step, by what lies between marks but for the longest step there,
    which may be another thing each time."""
    times = []
    for process in processes:
        for a, b in pairwise(process.marks):
            others = b.steps - a.steps - 1
            whole = b.at - a.at
            times.append(
                (whole - b.longest) / others if others and b.longest else whole / (others + 1)
            )
    return median(times) if times else math.inf


def _at(marks: Sequence[Mark], steps: int) -> Mark:
    """The mark at so many steps, or what it would be between its neighbours."""
    place = bisect_left(marks, steps, key=lambda mark: mark.steps)
    after = marks[min(place, len(marks) - 1)]
    if after.steps == steps or place == 0:
        return after
    before = marks[place - 1]
    share = (steps - before.steps) / (after.steps - before.steps)

    def between(one: float, other: float) -> float:
        return one + share * (other - one)

    def if_known(one: float | None, other: float | None) -> float | None:
        return None if one is None or other is None else between(one, other)

    samples = if_known(before.samples, after.samples)
    return Mark(
        steps,
        between(before.at, after.at),
        None if samples is None else round(samples),
        if_known(before.waited, after.waited),
        between(before.paused, after.paused),
        after.longest,
        between(before.forward, after.forward),
        between(before.backward, after.backward),
        looked=if_known(before.looked, after.looked),
    )


def _interval(
    processes: Sequence[Process], start: Sequence[Mark], end: Sequence[Mark], usual: float
) -> Interval:
    pairs = list(zip(start, end, strict=True))
    paused = [b.paused - a.paused for a, b in pairs]
    seconds = [b.at - a.at - pause for (a, b), pause in zip(pairs, paused, strict=True)]
    known = all(a.samples is not None and b.samples is not None for a, b in pairs)
    samples = sum((b.samples or 0) - (a.samples or 0) for a, b in pairs) if known else None
    steps = end[0].steps - start[0].steps
    exposed, exchange = _exposed(processes, pairs)
    seen = pairs if all(_looked_into(a, b) for a, b in pairs) else []
    waits = [_waited(a, b) for a, b in seen]
    return Interval(
        steps,
        samples,
        tuple(seconds),
        () if None in waits else tuple(wait for wait in waits if wait is not None),
        tuple(b.forward - a.forward for a, b in seen),
        tuple(b.backward - a.backward for a, b in seen),
        tuple(steps * each for each in exposed),
        steps * exchange,
        max(
            _excess(process.marks, a, b, usual)
            for process, (a, b) in zip(processes, pairs, strict=True)
        ),
        _broken(processes, pairs, paused, usual),
    )


def _excess(marks: Sequence[Mark], start: Mark, end: Mark, usual: float) -> float:
    """Of the longest step before each mark, which is all that marks tell of."""
    first, last = (
        bisect_right(marks, one.steps, key=lambda mark: mark.steps) for one in (start, end)
    )
    found = 0.0
    for before, after in pairwise(marks[max(first - 1, 0) : last]):
        known = after.paused - before.paused + (_waited(before, after) or 0.0)
        excess = after.longest - known - usual
        found += excess if excess > LONG_STEP * usual else 0.0
    return found


def _waited(start: Mark, end: Mark) -> float | None:
    return None if start.waited is None or end.waited is None else end.waited - start.waited


def _looked_into(start: Mark, end: Mark) -> bool:
    """Whether each step between them was."""
    if start.looked is None or end.looked is None:
        return True
    # Between marks these are no whole numbers.
    return math.isclose(end.looked - start.looked, end.steps - start.steps, abs_tol=1e-6)


def _exposed(
    processes: Sequence[Process], pairs: Sequence[tuple[Mark, Mark]]
) -> tuple[list[float], float]:
    """Seconds a step, of each rank and of the one that came last, on average over the iterations
    that all ranks tell of; none where there is no such."""
    told = [
        dict(chain.from_iterable(m.exposed for m in process.marks if a.steps < m.steps <= b.steps))
        for process, (a, b) in zip(processes, pairs, strict=True)
    ]
    common = sorted(set.intersection(*map(set, told)))
    if not common:
        return [], 0.0
    of_ranks = [mean(of_rank[iteration] for iteration in common) for of_rank in told]
    # Who comes last may change from step to step, so it is looked for in each.
    return of_ranks, mean(min(of_rank[n] for of_rank in told) for n in common)


def _broken(
    processes: Sequence[Process],
    pairs: Sequence[tuple[Mark, Mark]],
    paused: Sequence[float],
    usual: float,
) -> str:
    """What an interval holds beside training that cannot be taken out of it."""
    length = max(b.at - a.at for a, b in pairs)
    if max(paused) - min(paused) > TOGETHER * length:
        which = processes[max(range(len(paused)), key=paused.__getitem__)]
        pause = significant(max(paused), 2)
        return f"{which} paused for {pause} s (evaluation, a checkpoint) and others did not"
    inside = [
        mark
        for process, (a, b) in zip(processes, pairs, strict=True)
        for mark in process.marks
        if a.steps < mark.steps <= b.steps
    ]
    longest = max((mark.longest for mark in inside), default=0.0) - max(paused)
    explained = max(_waited(a, b) or 0.0 for a, b in pairs)
    if longest > max(GAP * usual, LEAST_GAP) and longest > 2 * explained:
        gap, step = significant(longest, 2), significant(usual, 2)
        return f"a gap of {gap} s without a step, where one takes {step} s"
    return ""
