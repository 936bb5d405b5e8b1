"""Rates that a program prints, found by a regular expression."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

# What belongs to a number that stands before or behind it: digits, an exponent, a factor. A comma
# does with three digits behind it; else it stands between two numbers.
_BEFORE = re.compile(r"[0-9]+\.?$|(?:^|[^0-9.,])([0-9]{1,3},)+$")
_AFTER = re.compile(r"\.?[0-9]+|(?:,[0-9]{3})+(?![0-9])(?:\.[0-9]+)?|[eE][-+]?[0-9]+")
_FACTOR = re.compile(r"[kKMGT](?![A-Za-z])")


@dataclass(frozen=True)
class Match:
    """A number that was printed: ``at`` in seconds since the program began; its ``step`` and
    ``rank`` where the expression has groups of these names."""

    value: float
    at: float
    step: int | None = None
    rank: int | None = None


class Metric:
    """Finds numbers in the lines of a program as they come.

    The number is the group ``value``, else the first group that is not called step or rank. A line
    that matches with something else than a finite number above zero is counted in ``unreadable``;
    ``cut`` tells of the first number of which only a part was taken, and is empty where none was.
    """

    def __init__(self, expression: str) -> None:
        self._pattern = re.compile(expression)
        names = self._pattern.groupindex
        others = {names[name] for name in ("step", "rank") if name in names}
        groups = range(1, self._pattern.groups + 1)
        self._value = names.get("value") or next(g for g in groups if g not in others)
        self.matches: list[Match] = []
        self.unreadable = 0
        self.cut = ""

    def line(self, text: str, at: float) -> bool:
        """Whether a line, printed ``at`` that time, has a number; all of a line count."""
        before = len(self.matches)
        for found in self._pattern.finditer(text):
            try:
                value = float(found[self._value].replace(",", ""))
                match = Match(value, at, self._integer(found, "step"), self._integer(found, "rank"))
            except (ValueError, AttributeError):
                self.unreadable += 1
                continue
            self._look_around(text, found)
            if not 0 < value < float("inf"):
                self.unreadable += 1
                continue
            self.matches.append(match)
        return len(self.matches) > before

    def _look_around(self, text: str, found: re.Match[str]) -> None:
        number, rest = found[self._value], text[found.end(self._value) :]
        if number is None or self.cut:
            return
        before = _BEFORE.search(text[: found.start(self._value)])
        if before and before[0].endswith(",") and not re.match(r"[0-9]{3}(?![0-9])", number):
            before = None
        after, factor = _AFTER.match(rest), _FACTOR.match(rest)
        whole = (before[0].lstrip(" =:") if before else "") + number + (after[0] if after else "")
        if whole != number:
            self.cut = f"{number!r} of {whole!r}: let the expression take all of it"
        elif factor:
            self.cut = f"{number!r} of {number + factor[0]!r}: such a factor is not read"

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
    seconds = sum(one.seconds for one in each)
    done = sum(one.seconds * one.rate for one in each)
    return [Rated(sum(one.steps for one in each), seconds, done / seconds, of_ranks)]


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
