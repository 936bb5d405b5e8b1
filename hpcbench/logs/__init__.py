"""What other benchmarks and training programs print, read as runs: one file a tool.

A tool's reader takes the lines of a log, in which other programs' lines and other tools' may stand
between its own, and gives each print-out that it recognizes: a run, or why that is none.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from hpcbench.records.identity import UNKNOWN
from hpcbench.words import count

# The kind of device as far as a print tells it.
GPU, CPU = "GPU", "CPU"


@dataclass(frozen=True)
class Printed:
    """One printed run of training; what it does not say is UNKNOWN.

    ``intervals`` holds steps and samples a second over all devices; ``read`` of ``expected``
    intervals could be read. ``complete``: it got to its end; ``until`` says where it ends, where
    that is before what was planned, as people stop what need not be trained out. ``options`` are
    further settings that were printed, ``software`` versions by package. ``text`` is all that it
    was read from, ``origin`` where that is from if not from what it printed.
    """

    tool: str
    model: str
    strategy: str
    devices: int
    batch_per_device: int
    intervals: list[tuple[int, float]]
    text: str
    complete: bool = True
    expected: int = 0
    until: str = ""
    dataset: str = UNKNOWN
    input: str = UNKNOWN
    precision: str = UNKNOWN
    xla: bool = False
    device: str = UNKNOWN
    options: dict[str, str] = field(default_factory=dict)
    software: dict[str, str] = field(default_factory=dict)
    origin: str = ""

    @property
    def doubt(self) -> str:
        """What is missing of it, in words; empty where nothing is."""
        read, expected = len(self.intervals), max(self.expected, len(self.intervals))
        told = f"{read} of {expected} lines with a rate could be read"
        if not self.complete:
            return joined(f"it ends before its end: {told}", self.until)
        return joined(told if read < expected else "", self.until)


@dataclass(frozen=True)
class LeftOut:
    """A print-out that was recognized and is no run of training, and ``why``."""

    tool: str
    why: str


@dataclass(frozen=True)
class PrintedCollective:
    """A printed measurement of one collective operation; ``nodes`` is 0 and ``device`` empty where
    the print does not tell.

    ``times`` holds bytes of the buffer, as :class:`hpcbench.collective.Operation` counts them, and
    seconds of an operation: of the slowest rank, on average over ranks and of the fastest, all the
    average where only that is printed; ``unread`` lines of its table are missing. ``text`` is all
    that it was read from.
    """

    tool: str
    library: str
    operation: str
    ranks: int
    times: list[tuple[int, float, float, float]]
    text: str
    complete: bool = True
    unread: int = 0
    nodes: int = 0
    device: str = ""

    @property
    def doubt(self) -> str:
        """What is missing of it, in words; empty where nothing is."""
        lost = f"{count(self.unread, 'line')} of its table could not be read" if self.unread else ""
        return joined("" if self.complete else "it ends before its end", lost)


# What is to be known of a print whose lines cannot be told from those of one before it.
AFTER_ANOTHER = (
    "the print before it, of other settings, shows no end: if both wrote at once, its lines may be "
    "that one's"
)

Found = Printed | PrintedCollective | LeftOut


def per_line(rows: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """From the step at which each line was printed and the rate since the line before, steps and
    rate of each line that could be read. The first is warm-up; a line that was lost takes no steps
    to the next."""
    gaps = [after - before for (before, _), (after, _) in pairwise(rows) if after > before]
    return [(min(gaps), rate) for _, rate in rows[1:] if rate and gaps]


def mixed_steps(steps: Sequence[int], name: str, other: int) -> str:
    """Why lines that tell of ``steps`` are not of one print: a step comes again or before an
    earlier one, or they may be of the print before, which stopped at step ``other`` and was on
    another number of devices (0 for none). Empty where they are of one."""
    if other and steps and steps[0] > other:
        return (
            f"{name} {steps[0]} goes on where a print on other devices stopped, so both stand in "
            f"one log; give each its own"
        )
    for before, after in pairwise(steps):
        if after <= before:
            again = "comes again" if after == before else f"follows {before}"
            return (
                f"{name} {after} {again}, so several ranks, several prints or one and its restart "
                f"stand in one log; give each its own, and of ranks one"
            )
    return ""


def joined(*doubts: str) -> str:
    """Those of ``doubts`` that there are, in a sentence."""
    return "; ".join(filter(None, doubts))


def ends_early(steps: Sequence[int], planned: int, name: str) -> str:
    """Where a print ends, if another line at least should follow of those at ``steps``; else ""."""
    gaps = [after - before for before, after in pairwise(steps) if after > before]
    early = bool(gaps) and steps[-1] + min(gaps) <= planned
    return f"it ends at {name} {steps[-1]} of {planned}" if early else ""


Reader = Callable[[Sequence[str]], Iterator[Found]]
