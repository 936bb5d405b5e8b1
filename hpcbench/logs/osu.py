"""The OSU micro-benchmarks of collective operations (osu_allreduce and its siblings)."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from hpcbench.logs import GPU, Found, LeftOut, PrintedCollective, Reader
from hpcbench.logs.text import CUT, number

TOOL = "OSU micro-benchmarks"
TITLE = re.compile(r"# OSU (\w+)(-\w+)? +(\S.*?) Test\b")
# By the title; whether its sizes are of one rank's part.
OPERATIONS = {
    "Allreduce Latency": ("all_reduce", False),
    "Reduce_scatter Latency": ("reduce_scatter", False),
    "Allgather Latency": ("all_gather", True),
    "Broadcast Latency": ("broadcast", False),
}
KNOWN = ("Avg", "Min", "Max", "Iterations")
HEADER = re.compile(r"# Size +(.*?)\s*$")
LIKE_A_ROW = re.compile(r"(?:^|[\s>:|])(\d+) +\S*\d")
ROW = re.compile(r"(?:^|[\s>:|])(\d+)((?: +\d+(?:\.\d+)?)+)\s*$")
COLUMN = re.compile(r"(Avg|Min|Max) Latency\(us\)|Iterations|\S+")


@dataclass
class _Open:
    """``rows``: bytes as printed, and microseconds by column."""

    library: str
    kind: str
    title: str
    columns: list[str] = field(default_factory=list)
    rows: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    complete: bool = True
    unread: int = 0
    other_lines: int = 0

    def over(self, size: int) -> bool:
        """Whether a line of numbers is of another program: a print's sizes double, again and again
        where some are left out."""
        if not self.rows:
            return False
        return not _doubles(self.rows[-1][0], size) or size <= self.rows[-1][0]

    def passed_over(self, size: int) -> None:
        """A line of numbers was taken for another program's: the row before it may be that, where
        this one would have followed the one before that."""
        self.other_lines += 1
        self.unread += len(self.rows) > 1 and _doubles(self.rows[-2][0], size)


def _doubles(size: int, other: int) -> bool:
    times, left = divmod(other, size or 1)
    return left == 0 and times.bit_count() == 1


def reader(ranks: int | None) -> Reader:
    """Reads prints of a measurement on so many ranks, which no print of OSU's tells."""

    def read(lines: Sequence[str]) -> Iterator[Found]:
        now: _Open | None = None
        for line in lines:
            if found := TITLE.search(line):
                if now:
                    yield _closed(now, ranks)
                now = _Open(found[1], found[2] or "", found[3])
            elif now and (found := HEADER.search(line)):
                now.columns = [match[0].partition(" ")[0] for match in COLUMN.finditer(found[1])]
            elif now and now.columns and (found := ROW.search(line)):
                if now.over(int(found[1])):
                    now.passed_over(int(found[1]))
                    continue
                values = [number(value) for value in found[2].split()]
                now.complete = len(values) == len(now.columns)
                if not now.complete:
                    now.unread += 1
                if now.complete:
                    now.rows.append((int(found[1]), dict(zip(now.columns, values, strict=True))))
                    now.text.append(found[1] + found[2])
            elif now and now.columns and line.endswith(CUT):
                now.complete = False
            elif now and now.columns and (found := LIKE_A_ROW.search(line)):
                now.unread += not now.over(int(found[1]))
        if now:
            yield _closed(now, ranks)

    return read


def _closed(now: _Open, ranks: int | None) -> Found:
    if now.title not in OPERATIONS:
        known = ", ".join(OPERATIONS)
        return LeftOut(TOOL, f"it is its {now.title} Test; only {known} are read")
    if ranks is None:
        return LeftOut(TOOL, "it does not print on how many ranks it ran; say so with --ranks")
    if now.other_lines > len(now.rows):
        return LeftOut(TOOL, f"of its {now.title} Test most lines do not follow the first row")
    operation, of_part = OPERATIONS[now.title]
    times = []
    for size, row in now.rows:
        mean = 1e-6 * row.get("Avg", 0.0)
        if mean and size:
            slowest, fastest = (1e-6 * row.get(name, 0.0) or mean for name in ("Max", "Min"))
            times.append((size * (ranks if of_part else 1), slowest, mean, fastest))
    if not times:
        unknown = [name for name in now.columns if name not in KNOWN]
        why = f": its column {unknown[0]} is not known" if unknown else ""
        return LeftOut(TOOL, f"of its {now.title} Test no line could be read{why}")
    return PrintedCollective(
        TOOL,
        now.library,
        operation,
        ranks,
        times,
        "\n".join([now.title, str(ranks), *now.text]),
        now.complete,
        unread=now.unread,
        device=GPU if now.kind in ("-CUDA", "-ROCM") or now.library == "NCCL" else "",
    )
