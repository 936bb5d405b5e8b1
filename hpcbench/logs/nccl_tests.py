"""nccl-tests and rccl-tests (all_reduce_perf and its siblings): rank 0 prints a table."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from hpcbench.collective import OPERATIONS
from hpcbench.logs import Found, LeftOut, PrintedCollective
from hpcbench.logs.text import number

TOOL = "nccl-tests"
PROGRAM = re.compile(r"\b([a-z_]+)_perf\b")
# Before a table; of some versions one of these is not there.
BEGINNINGS = (
    "# nccl-tests version",
    "# Collective test starting:",
    "# nThread ",
    "# Using devices",
)
DEVICE = re.compile(r"# +Rank +(\d+) .*? on +(\S+) +device +\d+ +\[[^\]]*\] *(.*?)\s*$")
HEADER = re.compile(r"# +size +count +type( +redop)?( +root)? +time +algbw +busbw")
ROW = (
    r"(?:^|[\s>:|])(?P<size>\d+) +\d+ +(?P<type>[a-z]\w*){redop}{root} +"
    r"(?P<time>\S+) +(?P<algorithm>\S+) +(?P<bus>\S+) +(?P<wrong>\S+)"
)
# Of the types that are named most: a row of any other is read all the same.
LIKE_A_ROW = re.compile(r"(?:^|[\s>:|])\d+ +\d+ +(?:u?int\d+|half|float|double|bfloat16|f8e\w+)\b")
# As NCCL itself is measured where nothing else is asked for.
USUAL = ("float", "sum")
END = re.compile(r"# Out of bounds values *: *(\d+) *(\w*)")
# What rounding of printed bandwidths, to 0.01 GB/s, may hide.
ROUNDING = 0.0051

Row = tuple[int, float, float, float]


@dataclass
class _Open:
    """``rows``, by type and operator: bytes, seconds, algorithm and bus bandwidth in GB/s;
    ``unread`` lines that look like one."""

    begun: bool = False
    library: str = "NCCL"
    program: str = ""
    hosts: dict[int, str] = field(default_factory=dict)
    devices: set[str] = field(default_factory=set)
    row: re.Pattern[str] | None = None
    rows: dict[tuple[str, str], list[Row]] = field(default_factory=dict)
    text: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    root: str = ""
    wrong: int = 0
    failed: bool = False
    unread: int = 0


def read(lines: Sequence[str]) -> Iterator[Found]:
    """A table each."""
    program, now = "", _Open()
    for line in lines:
        if any(word in line for word in BEGINNINGS):
            if now.row:
                yield from _closed(now, complete=False)
                now = _Open()
            now.begun = True
        if "rccl" in line.lower() and now.row is None:
            now.library = "RCCL"
        if found := PROGRAM.search(line):
            program = found[1]
        if found := DEVICE.search(line):
            now.hosts[int(found[1])] = found[2]
            now.devices |= {found[3]} - {""}
        elif found := HEADER.search(line):
            groups = {
                "redop": r" +(?P<redop>\w+)" if found[1] else "",
                "root": r" +(?P<root>-?\d+)" if found[2] else "",
            }
            now.begun, now.program, now.row = True, program, re.compile(ROW.format(**groups))
        elif now.begun and (found := END.search(line)):
            now.failed = found[2] == "FAILED" or int(found[1]) > 0
            yield from _closed(now, complete=True)
            now, program = _Open(), ""
        elif now.row and (row := now.row.search(line)):
            now.unread += not _add(now, row, line[row.start("size") : row.end()])
        elif now.row and LIKE_A_ROW.search(line):
            now.unread += 1
    if now.begun:
        yield from _closed(now, complete=False)


def _add(now: _Open, row: re.Match[str], text: str) -> bool:
    """Whether ``row`` could be read; one of no bytes, as the smallest of some operations are, tells
    nothing."""
    said = row.groupdict(default="")
    kind = said["type"], said.get("redop", "")
    now.root = said.get("root", "")
    now.wrong += said["wrong"].isdigit() and int(said["wrong"]) > 0
    seconds, size = 1e-6 * number(said["time"]), int(said["size"])
    if seconds and size:
        numbers = size, seconds, number(said["algorithm"]), number(said["bus"])
        now.rows.setdefault(kind, []).append(numbers)
        now.text.setdefault(kind, []).append(text)
    return bool(seconds) or not size


def _closed(now: _Open, complete: bool) -> Iterator[Found]:
    """A measurement for each type and operator: they take times of their own."""
    if not now.rows:
        yield LeftOut(TOOL, "there is no table in it with a row that could be read")
    elif now.wrong or now.failed:
        which = f"{now.wrong} of its rows say" if now.wrong else "it says at its end"
        yield LeftOut(TOOL, f"{which} that results were wrong")
    else:
        for kind in now.rows:
            yield _measured(now, kind, complete)


def _measured(now: _Open, kind: tuple[str, str], complete: bool) -> Found:
    rows = now.rows[kind]
    operation = _operation(now, kind)
    if operation not in OPERATIONS:
        known = ", ".join(OPERATIONS)
        said = f"it measures {operation}" if operation else "it does not say what it measures"
        return LeftOut(TOOL, f"{said}; only {known} are read")
    ranks = _ranks(now, rows, operation)
    if ranks is None:
        return LeftOut(TOOL, "how many ranks there were is not printed, or in two ways")
    if ranks == 1:
        return LeftOut(TOOL, "it is of one device, which exchanges nothing")
    whole = len(now.hosts) == ranks
    unusual = [said for said, usual in zip(kind, USUAL, strict=True) if said not in ("none", usual)]
    return PrintedCollective(
        TOOL,
        " ".join([now.library, *filter(None, unusual)]),
        operation,
        ranks,
        [(size, seconds, seconds, seconds) for size, seconds, _, _ in rows],
        "\n".join([operation, str(ranks), *now.text[kind]]),
        complete,
        unread=now.unread,
        nodes=len(set(now.hosts.values())) if whole else 0,
        device=", ".join(sorted(now.devices)),
    )


def _operation(now: _Open, kind: tuple[str, str]) -> str:
    """By the program's name; without that by the operator and root of its rows, and by whether the
    bus carries more or less than the buffer. Empty where that is not enough."""
    if now.program:
        return now.program
    _, _, algorithm, bus = max(now.rows[kind], key=lambda row: row[2])
    _, operator = kind
    if operator not in ("", "none") and now.root == "-1":
        return "all_reduce" if bus > algorithm - ROUNDING else "reduce_scatter"
    return "broadcast" if operator == "none" and now.root not in ("", "-1") else ""


def _ranks(now: _Open, rows: Sequence[Row], operation: str) -> int | None:
    """As many as are listed, if both bandwidths agree with that; where the list is not there or not
    whole, as many as the bandwidths tell, if that is one number."""
    _, _, algorithm, bus = max(rows, key=lambda row: row[2])
    factor = OPERATIONS[operation].bus_factor

    def agrees(ranks: int) -> bool:
        share = factor(ranks)
        return abs(bus - share * algorithm) <= ROUNDING * (1 + share)

    if now.hosts and agrees(len(now.hosts)):
        return len(now.hosts)
    if operation == "broadcast":
        return None
    possible = [ranks for ranks in range(2, 4097) if agrees(ranks)]
    return possible[0] if len(possible) == 1 else None
