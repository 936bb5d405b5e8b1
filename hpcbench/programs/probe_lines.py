"""What the probe in a program's processes wrote: a file a process, a JSON object a line."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Below a run's folder.
RANKS = "ranks"
LINES, STACKS = "*.jsonl", "*.stack"


@dataclass(frozen=True)
class Mark:
    """What a process had done at a moment: ``at`` in seconds since the epoch; ``samples`` None
    where it is not known on how many it trained; ``waited`` for data (None where another thread
    does), ``paused`` for evaluation and checkpoints, and in the model's ``forward`` and within the
    ``backward`` pass (0 where those are not seen), in seconds since it began, of those steps that
    were ``looked`` into (None: all); the ``longest`` step since the mark before; ``exposed``, the
    numbers of some iterations since that, and for how many seconds of each gradients were under way
    when nothing was left to compute."""

    steps: int
    at: float
    samples: int | None
    waited: float | None
    paused: float
    longest: float = 0.0
    forward: float = 0.0
    backward: float = 0.0
    exposed: tuple[tuple[int, float], ...] = ()
    looked: float | None = None


@dataclass(frozen=True)
class Process:
    """A process that trained: its ``facts``, its ``marks`` in order, whether it got to its end.

    Of the facts, ``batch`` is how many samples most steps trained on, ``batch_share`` of all steps,
    and ``fetched`` how many most
    batches had, fewer where a step takes several.
    """

    facts: dict[str, Any]
    marks: list[Mark] = field(default_factory=list)
    ended: bool = False
    # At its end, by its own word, which lines may lack.
    steps_at_end: int | None = None

    @property
    def steps(self) -> int:
        """How many it took, as far as that is known."""
        return self.marks[-1].steps if self.steps_at_end is None else self.steps_at_end

    @property
    def rank(self) -> int:
        return int(self.facts.get("rank", 0))

    @property
    def replicas(self) -> int:
        """How many devices it trained on at once."""
        return int(self.facts.get("replicas") or 1)

    def __str__(self) -> str:
        return f"rank {self.rank} on {self.facts.get('host')} (process {self.facts.get('pid')})"


def read(folder: Path) -> list[Process]:
    """The processes that wrote into ``folder``, by rank; a line that is not whole is left out, and
    a process whose steps were over when those that it forked took theirs."""
    each = (process(path.read_bytes().splitlines()) for path in sorted(folder.glob(LINES)))
    found = [one for one in each if one]
    forked = {one.facts["forked_from"]: one for one in found if one.facts.get("forked_from")}
    return sorted((one for one in found if not _passed_on(one, forked)), key=lambda one: one.rank)


def _passed_on(one: Process, forked: dict[object, Process]) -> bool:
    child = forked.get(one.facts.get("pid"))
    if child is None or child.facts.get("host") != one.facts.get("host"):
        return False
    return one.marks[-1].at <= child.marks[0].at


def process(lines: Iterable[bytes]) -> Process | None:
    """What the lines of a file say; None where no step is told of."""
    facts: dict[str, Any] = {}
    marks: list[Mark] = []
    ended, steps_at_end = False, None
    for text in lines:
        try:
            line = json.loads(text)
        except ValueError:
            continue
        kind = line.pop("kind", None)
        if kind == "facts":
            facts = line
        elif kind == "steps" and (not marks or line["steps"] > marks[-1].steps):
            facts |= {name: line.pop(name, None) for name in ("batch", "batch_share", "fetched")}
            exposed = tuple(map(tuple, line.pop("exposed", ())))
            marks.append(Mark(**line, exposed=exposed))
        elif kind == "also":
            facts |= line
        elif kind == "end":
            ended, steps_at_end = True, line.get("steps")
    return Process(facts, marks, ended, steps_at_end) if marks else None
