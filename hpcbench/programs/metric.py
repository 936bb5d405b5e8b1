"""Rates that a program prints, found by a regular expression."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from hpcbench.programs.printed import UNTOLD, Unclear, number, otherwise, unit


@dataclass(frozen=True)
class Match:
    """A number that was printed: ``at`` in seconds since the program began; its ``step`` and
    ``rank`` where the expression has groups of these names."""

    value: float
    at: float
    step: int | None = None
    rank: int | None = None


class Metric:
    """Finds rates in the lines of a program as they come, in ``counted`` a second.

    The number is the group ``value``, else the first group that is not called step or rank. A line
    that matches with something else than a finite number above zero is counted in ``unreadable``;
    ``unclear`` tells of the first number of which nobody knows what rate it is, and is empty where
    there is none.
    """

    def __init__(self, expression: str, counted: str = "samples") -> None:
        self._pattern = re.compile(expression)
        names = self._pattern.groupindex
        others = {names[name] for name in ("step", "rank") if name in names}
        groups = range(1, self._pattern.groups + 1)
        self._value = names.get("value") or next(g for g in groups if g not in others)
        self._counted = counted
        self._unit = UNTOLD
        self.matches: list[Match] = []
        self.unreadable = 0
        self.unclear = ""

    def line(self, text: str, at: float) -> bool:
        """Whether a line, printed ``at`` that time, has a number; all of a line count."""
        before = len(self.matches)
        for found in self._found(text):
            try:
                rate = self._rate(text, found)
                step, rank = self._integer(found, "step"), self._integer(found, "rank")
            except Unclear as error:
                self.unclear = self.unclear or str(error)
                continue
            except ValueError:
                rate = None
            if rate is None:
                self.unreadable += 1
            else:
                self.matches.append(Match(rate, at, step, rank))
        return len(self.matches) > before

    def _found(self, text: str) -> list[re.Match[str]]:
        """Where the expression matches, or would if the line were in the unit of others: tqdm's are
        in it/s or, where it is slow, in s/it."""
        found = {match.span(self._value): match for match in self._pattern.finditer(text)}
        for line, start, end in otherwise(text):
            for match in self._pattern.finditer(line):
                if match.span(self._value) == (start, end):
                    found.setdefault((start, end), match)
        return [found[where] for where in sorted(found)]

    def _rate(self, text: str, found: re.Match[str]) -> float | None:
        where = found.span(self._value)
        if where[0] < 0 or (value := number(text, *where)) is None:
            return None
        told = unit(text, *where, self._counted)
        if told.thing and self._unit.thing and told.thing != self._unit.thing:
            raise Unclear(f"numbers of {self._unit.text!r} and of {told.text!r}: let it take one")
        self._unit = self._unit if self._unit.thing else told
        return told.rate(value)

    def _integer(self, found: re.Match[str], name: str) -> int | None:
        text = found[name] if name in self._pattern.groupindex else None
        return None if text is None else int(text)


@dataclass(frozen=True)
class Rated:
    """An interval that a printed rate stands for, in the metric's unit. ``of_ranks``: each rank
    printed its own, so ``rate`` is that of all."""

    steps: int
    seconds: float
    rate: float
    of_ranks: bool = False


def rated(matches: Iterable[Match], take: str) -> list[Rated]:
    """The intervals of ``matches``. ``take`` "each": one a number that was printed, as long as the
    time since the one before, the first (warm-up) left out where others follow; "last": one, by the
    last number; "mean": one, by their mean through time. Of several ranks each number stands for
    its rank alone: the slowest one counts, times their number; numbers without a rank do not.
    """
    every = list(matches)
    of_one = [match for match in every if match.rank is not None]
    of_ranks = bool(of_one)
    together = _over_ranks(of_one or every)
    if not together:
        return []
    if take == "last" or len(together) == 1:
        return [Rated(1, max(together[-1].at, 1e-9), together[-1].value, of_ranks)]
    each = [
        Rated(_steps(before, after), max(after.at - before.at, 1e-9), after.value, of_ranks)
        for before, after in pairwise(together)
    ]
    if take == "each":
        return each
    steps, seconds = sum(one.steps for one in each), sum(one.seconds for one in each)
    return [Rated(steps, seconds, mean_rate(each), of_ranks)]


def mean_rate(of: Sequence[Rated]) -> float:
    """Through time."""
    return sum(one.seconds * one.rate for one in of) / sum(one.seconds for one in of)


def _steps(before: Match, after: Match) -> int:
    if before.step is None or after.step is None or after.step <= before.step:
        return 1
    return after.step - before.step


def _over_ranks(matches: list[Match]) -> list[Match]:
    """The n-th number of each rank together, as one of all ranks."""
    by_rank: dict[int | None, list[Match]] = {}
    for match in matches:
        by_rank.setdefault(match.rank, []).append(match)
    if len(by_rank) == 1:
        return matches
    return [
        Match(
            min(match.value for match in of_all) * len(by_rank),
            max(match.at for match in of_all),
            of_all[0].step,
        )
        for of_all in zip(*by_rank.values(), strict=False)
    ]
