"""A printed number with what stands around it, as a rate in so many of something a second."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

SECONDS = {
    **dict.fromkeys(("ns", "nanosecond"), 1e-9),
    **dict.fromkeys(("us", "\u00b5s", "\u03bcs", "usec", "microsecond"), 1e-6),
    **dict.fromkeys(("ms", "msec", "millisecond"), 1e-3),
    **dict.fromkeys(("s", "sec", "second"), 1.0),
    **dict.fromkeys(("min", "minute"), 60.0),
    **dict.fromkeys(("h", "hr", "hour"), 3600.0),
}
FACTORS = {
    **{"k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12},
    **{"thousand": 1e3, "million": 1e6, "billion": 1e9},
}
# Characters to each side of a number.
NEAR = 80
# What is counted often; a factor may stand before it as one word: kimg.
_COUNTED = re.compile(
    r"("
    r"img|image|s|sample|example|ex|it|iter|iteration|step|tok|token|seq|sequence|frame|word|"
    r"row|record|batch|item|b|byte|bit|flop|op|point|pixel|px|atom|edge|node|event|char|query|"
    r"request|voxel|cell|instance|sentence|document|doc|[fsit]ps"
    r")(?:e?s)?",
    re.IGNORECASE,
)
# Others that begin with a letter that may be a factor.
_WORDS = re.compile(
    r"("
    r"text|trace|trajectory|tile|tree|tuple|triple|transition|task|tensor|tick|turn|key|"
    r"keypoint|kernel|molecule|mol|message|mesh|model|minibatch|microbatch|move|match|game|"
    r"graph|group|gene|grid|glyph"
    r")(?:e?s)?",
    re.IGNORECASE,
)
_JOINTS = r".,'_\u00a0\u202f"
# All that may belong to one number, from the first digit to the last.
_RUN = re.compile(
    rf"(?:(?<![\w.,)\]])[-+])?[{_JOINTS}]*[0-9](?:[0-9{_JOINTS}]|[eE][-+]?(?=[0-9]))*"
)
_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_THOUSANDS = re.compile(r"[-+]?[1-9][0-9]{0,2}(?:,[0-9]{3})+(?:\.[0-9]+)?")
# One number in other countries, or in other programs.
_FOREIGN = re.compile(
    r"[-+]?(?:[0-9]+|[0-9]{1,3}(?:[.'_\u00a0\u202f][0-9]{3})+),[0-9]+"
    r"|[-+]?[0-9]{1,3}(?:['_\u00a0\u202f][0-9]{3})+(?:\.[0-9]+)?"
    r"|[-+]?[0-9]{1,3}(?:\.[0-9]{3}){2,}"
)
_SPREAD = re.compile(r"(?:±|\+/?-)\s*$")

_TIME = r"(?:nano|micro|milli)?seconds?|minutes?|hours?|[mu]?secs?|[nu\u00b5\u03bcm]?s|mins?|hrs?|h"
_PER = r"(?:\s*/\s*|[\s_-]*(?<![A-Za-z])per[\s_-]+)"
_THING = r"[A-Za-z]+(?:-[A-Za-z]+)?"
_FACTOR = r"thousand|million|billion|[kKMGT]"
_RATE = (
    rf"(?:(?P<factor>{_FACTOR})(?:\s+|(?=\s*/)))?(?:{_THING} ){{0,2}}?(?P<thing>{_THING})?"
    rf"{_PER}(?P<time>{_TIME})(?![A-Za-z])"
)
_DURATION = rf"(?P<time>{_TIME}|time){_PER}(?P<thing>{_THING})(?![A-Za-z])"
_BARE = r"(?:(?:milli|micro)?seconds?|[mu]?secs?|[nu\u00b5\u03bcm]?s)(?![A-Za-z_/])"
# What may stand between a name and its number, so that a unit is part of the name.
_NAMED = r"(?:/\w+|[ _]per[ _]\w+)?[\"'\])}>]*\s*[:=]*\s*[\"'(\[{]*\s*$"
_OF_NEXT = r"(?!\s*[\])\"']*\s*[:=])"

_RATE_BEHIND = re.compile(rf"[ \t]*{_RATE}{_OF_NEXT}")
_DURATION_BEHIND = re.compile(rf"[ \t]*{_DURATION}{_OF_NEXT}")
_COUNT_BEHIND = re.compile(r"[ \t]*(?P<factor>[kKMGT])[ \t]?(?P<thing>[A-Za-z]+)(?P<time>)\b")
_BARE_BEHIND = re.compile(rf"[ \t]*{_BARE}(?!\s*per\b|\s+[0-9]){_OF_NEXT}")
_RATE_NAMED = re.compile(rf"(?<![A-Za-z]){_RATE}{_NAMED}")
_DURATION_NAMED = re.compile(rf"(?<![A-Za-z/])(?<!per[ _]){_DURATION}{_NAMED}")
_TIME_NAMED = re.compile(
    rf"(?<![A-Za-z])(?:[a-z]*time|latency|elapsed|duration){_NAMED}"
    rf"|(?<![A-Za-z0-9/])(?<![0-9] )(?:{_BARE})[\"']*\s*[:=\])]+\s*[:=\"'(\[]*\s*$",
    re.IGNORECASE,
)
# What a program prints elsewhere as things a second: seconds a thing, or with a factor.
_OTHERWISE = re.compile(
    rf"(?<![0-9.,])(?P<number>[0-9][0-9.,]*)[ \t]*"
    rf"(?:(?P<time>{_TIME})(?P<per>{_PER})(?P<thing>{_THING})"
    rf"|(?P<factor>{_FACTOR})[ \t]?(?P<rest>{_THING}{_PER}(?:{_TIME})))(?![A-Za-z])"
)


class Unclear(Exception):
    """Nobody knows what rate it is; the message says why."""


@dataclass(frozen=True)
class Unit:
    """What a printed number is in: times ``factor`` it is so many of ``thing`` a second; or, where
    ``inverse``, ``factor`` over it is. ``text`` as it was printed."""

    thing: str
    text: str
    factor: float = 1.0
    inverse: bool = False

    def rate(self, value: float) -> float:
        """Of a ``value`` above zero, in things a second."""
        return self.factor / value if self.inverse else self.factor * value


UNTOLD = Unit("", "")


def number(line: str, start: int, end: int) -> float | None:
    """What is printed from ``start`` to ``end``: a number, or None where that is no number above
    zero; raises Unclear where it is a part of one, or may be several."""
    line, start, end = _near(line, start, end)
    text = line[start:end]
    if not re.match(r"[-+]?[.,]?[0-9]", text):
        return None
    plain, whole = text.strip(","), _whole(line, start, end)
    if plain.rstrip(".") != whole.rstrip("."):
        raise Unclear(f"{text!r} of {whole!r}: let the expression take all of it")
    if _SPREAD.search(line[:start]):
        raise Unclear(f"{text!r} behind a ±, which is a deviation: let it take what is before that")
    if _THOUSANDS.fullmatch(plain):
        plain = plain.replace(",", "")
    elif not _NUMBER.fullmatch(plain.rstrip(".")):
        raise Unclear(f"{text!r}, which is not clear: let the program print it as 1234.5")
    value = float(plain.rstrip("."))
    return value if 0 < value < float("inf") else None


def _near(line: str, start: int, end: int) -> tuple[str, int, int]:
    """What is around a number, and where that is there; all of a long line takes long to search."""
    first = max(0, start - NEAR)
    return line[first : end + NEAR], start - first, end - first


def _whole(line: str, start: int, end: int) -> str:
    """The number of which a part or all is from ``start`` to ``end``; without the columns beside
    it that only a comma parts from it."""
    runs = (run for run in _RUN.finditer(line) if run.start() < end and start < run.end())
    run = next(runs, None)
    if run is None or end > run.end():
        return line[start:end].strip(",")
    whole = run[0].strip(",'_\u00a0\u202f").rstrip(".")
    if any(kind.fullmatch(whole) for kind in (_NUMBER, _THOUSANDS, _FOREIGN)):
        return whole
    before, after = line[run.start() : start], line[end : run.end()]
    return before.rpartition(",")[2] + line[start:end].strip(",") + after.partition(",")[0]


def unit(line: str, start: int, end: int, wanted: str) -> Unit:
    """What a number from ``start`` to ``end`` is in, by the text right behind it or, as a part of
    its name, before it; raises Unclear where that is no rate, or may have a factor.

    ``wanted`` is what is asked to be counted: who asks for kimg has no factor in kimg/s.
    """
    line, start, end = _near(line, start, end)
    before, after = line[:start], line[end:]
    behind = _RATE_BEHIND.match(after) or _DURATION_BEHIND.match(after)
    named = _RATE_NAMED.search(before) or _DURATION_NAMED.search(before)
    if named and behind:
        # Where one number's unit stands behind it, the next one's does too.
        attached = not after[0].isspace() or bool(re.search(r"[0-9]\s*$", before[: named.start()]))
        named, behind = (None, behind) if attached else (named, None)
    found = behind or named
    if found:
        return _of(found, wanted)
    text = line[start:end]
    if bare := _BARE_BEHIND.match(after):
        raise Unclear(f"{text!r} of {text + bare[0]!r}, {_A_TIME}")
    counted = _COUNT_BEHIND.match(after)
    if counted and _COUNTED.fullmatch(counted["thing"]):
        return _of(counted, wanted)
    if re.match(r"[kKMGT](?![A-Za-z])", after):
        raise Unclear(f"{text!r} of {text + after[0]!r}: such a factor is not read")
    if timed := _TIME_NAMED.search(before):
        raise Unclear(f"{text!r} of {line[timed.start() : end]!r}, {_A_TIME}")
    return UNTOLD


def _of(found: re.Match[str], wanted: str) -> Unit:
    text = found[0].strip(" \t\"'()[]{}:=")
    thing, parts = found["thing"] or "", found.groupdict()
    seconds = _seconds(parts["time"])
    if found.re in (_DURATION_BEHIND, _DURATION_NAMED):
        if seconds is None:
            raise Unclear(f"a number of {text!r}, {_A_TIME}")
        return Unit(_singular(thing), text, 1 / seconds, inverse=True)
    factor = 1.0
    if parts["factor"]:
        if f"{parts['factor']}{thing}" != wanted and f"{parts['factor']} {thing}" != wanted:
            factor = FACTORS[parts["factor"]]
    elif thing != wanted and thing[:1] in FACTORS and not _noun(thing):
        if not _COUNTED.fullmatch(thing[1:]):
            raise Unclear(
                f"a number of {text!r}, which may have a factor: if {thing} are what is to be "
                f"counted, say --unit {thing}/s"
            )
        factor, thing = FACTORS[thing[0]], thing[1:]
    return Unit(_singular(thing), text, factor / (seconds or 1.0))


_A_TIME = "which is a time and no rate: have it take, or the program print, so many a second"


def _seconds(time: str) -> float | None:
    return SECONDS.get(time) or SECONDS.get(time.rstrip("s")) if time else 1.0


def _noun(thing: str) -> re.Match[str] | None:
    return _COUNTED.fullmatch(thing) or _WORDS.fullmatch(thing)


def _singular(thing: str) -> str:
    noun = _noun(thing)
    return (noun[1] if noun else thing.removesuffix("s") or thing).lower()


def otherwise(line: str) -> Iterator[tuple[str, int, int]]:
    """The line as it would be if one of its numbers, which is in seconds a thing or has a factor,
    were in things a second; and where this number begins and ends."""
    for found in _OTHERWISE.finditer(line):
        where = found.span("number")
        if found["rest"]:
            texts = [found["rest"]]
        else:
            texts = [found["thing"] + found["per"] + time for time in (found["time"], "s", "sec")]
        begin = found.start("factor" if found["rest"] else "time")
        for text in dict.fromkeys(texts):
            yield line[:begin] + text + line[found.end() :], *where
