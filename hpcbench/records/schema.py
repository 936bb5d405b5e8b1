"""The columns of the result files and the fields of run.json: the only place that names them.

History of ``SCHEMA_VERSION``, which :mod:`hpcbench.records.upgrade` bridges:

1. The first.
2. Column ``cpu_math``; field ``identity`` of run.json; a run may have no ``accuracy.csv``.
3. Column ``evaluation_seconds``.
4. File ``ranks.csv``; before, steps without the exchange were rows of ``throughput.csv``.
5. Column ``background_seconds`` of it; phase ``one_batch``, with which ``alone`` is one batch too;
   runs on one device have the file, and those of programs, with phase ``forward``.
6. Phases ``data``, ``backward``, ``exposed`` and ``own`` of programs.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cache
from itertools import zip_longest
from typing import Any, get_type_hints

from hpcbench.records.identity import Identity

SCHEMA_VERSION = 6

THROUGHPUT_FILE = "throughput.csv"
ACCURACY_FILE = "accuracy.csv"
ENERGY_FILE = "energy.csv"
RANKS_FILE = "ranks.csv"
RUN_FILE = "run.json"

# What an interval timed: training; or, between intervals of it, the same steps without the exchange
# of gradients, with one of a single element in its place, without it on one batch that is at hand,
# and so on one rank a host while the others sleep; and exchanges without a step, of a single
# element and of all gradients. Of programs what of training was waiting for data, their model's
# forward pass, their backward pass without the exchange, the exchange that was not hidden behind
# it, and all but that and waiting for other ranks.
PHASE_TRAIN, PHASE_NO_EXCHANGE, PHASE_ONE_ELEMENT = "train", "no_exchange", "one_element"
PHASE_ONE_BATCH, PHASE_ALONE = "one_batch", "alone"
PHASE_LATENCY, PHASE_EXCHANGE, PHASE_FORWARD = "latency", "exchange", "forward"
PHASE_DATA, PHASE_BACKWARD = "data", "backward"
PHASE_EXPOSED, PHASE_OWN = "exposed", "own"
# Of these there may be none at all.
MAY_TAKE_NO_TIME = frozenset({PHASE_DATA, PHASE_BACKWARD, PHASE_EXPOSED, PHASE_OWN})
PHASES = (
    *(PHASE_TRAIN, PHASE_NO_EXCHANGE, PHASE_ONE_ELEMENT, PHASE_ONE_BATCH),
    *(PHASE_ALONE, PHASE_LATENCY, PHASE_EXCHANGE, PHASE_FORWARD),
    *(PHASE_DATA, PHASE_BACKWARD, PHASE_EXPOSED, PHASE_OWN),
)

ACCURACY, MEAN_ABSOLUTE_ERROR, MEAN_IOU = "accuracy", "mean_absolute_error", "mean_iou"
LOWER_IS_BETTER = frozenset({MEAN_ABSOLUTE_ERROR})

STATUS_RUNNING, STATUS_COMPLETE, STATUS_FAILED = "running", "complete", "failed"


@dataclass(frozen=True)
class ThroughputRow:
    """One interval; times in seconds, the rate by the slowest rank."""

    phase: str
    interval: int
    steps: int
    samples: int
    seconds: float
    fastest_rank_seconds: float
    mean_rank_seconds: float
    samples_per_second: float


@dataclass(frozen=True)
class AccuracyRow:
    """One epoch; ``elapsed_seconds`` is training time since the first measured step, without the
    ``evaluation_seconds`` after this and earlier epochs."""

    epoch: int
    learning_rate: float
    train_loss: float
    train_metric: float
    test_loss: float
    test_metric: float
    metric: str
    train_seconds: float
    elapsed_seconds: float
    evaluation_seconds: float

    def reaches(self, target: float | None) -> bool:
        """Whether the test metric is as good as ``target``, if there is one."""
        if target is None:
            return False
        lower = self.metric in LOWER_IS_BETTER
        return self.test_metric <= target if lower else self.test_metric >= target


@dataclass(frozen=True)
class EnergyRow:
    """What the devices drew in an interval of training, where it is counted.

    ``counted`` says what: all the run's GPUs, or the CPU packages of its hosts with all that others
    ran on them. ``utilization`` (0 to 1), ``memory_bytes`` and ``clock_mhz`` are means over GPUs.
    """

    interval: int
    samples: int
    seconds: float
    joules: float
    samples_per_joule: float
    watts: float
    counted: str
    counters: int
    utilization: float
    memory_bytes: float
    clock_mhz: float

    @classmethod
    def of(
        cls, interval: ThroughputRow, counted: str, readings: Sequence[float], of_gpus: bool
    ) -> "EnergyRow | None":
        """The row of an interval from all processes' meter ``readings``, added up; None where
        nothing was counted."""
        joules, counters, *activity = readings
        if joules <= 0:
            return None
        means = [value / counters if of_gpus else math.nan for value in activity]
        return cls(
            interval=interval.interval,
            samples=interval.samples,
            seconds=interval.seconds,
            joules=joules,
            samples_per_joule=interval.samples / joules,
            watts=joules / interval.seconds,
            counted=counted,
            counters=int(counters),
            utilization=means[0],
            memory_bytes=means[1],
            clock_mhz=means[2],
        )


@dataclass(frozen=True)
class RankRow:
    """One rank's ``seconds`` for the ``steps`` of an interval; ``interval`` is the number of the
    training interval, or of the one after which another phase was timed. ``background_seconds`` of
    them are its own threads' that work though nothing is asked of them
    (:mod:`hpcbench.devices.background`); missing where not known, as on GPUs."""

    phase: str
    interval: int
    steps: int
    rank: int
    seconds: float
    background_seconds: float = math.nan


@dataclass(frozen=True)
class RankTimes:
    """The times of all ranks in one interval, to be a :class:`RankRow` each; NaN of a rank that did
    not take part."""

    phase: str
    interval: int
    steps: int
    seconds: tuple[float, ...]
    background_seconds: tuple[float, ...] = ()

    def rows(self) -> Iterator[RankRow]:
        times = zip_longest(self.seconds, self.background_seconds, fillvalue=math.nan)
        for rank, (seconds, background) in enumerate(times):
            if not math.isnan(seconds):
                yield RankRow(self.phase, self.interval, self.steps, rank, seconds, background)


Row = ThroughputRow | AccuracyRow | EnergyRow | RankTimes

# Counters are read ten times a second, so what a shorter run drew is mostly interpolated.
LEAST_COUNTED_SECONDS = 0.5
# Empty where the driver does not tell, or an earlier version did not time it.
MAY_BE_EMPTY = frozenset(
    {"utilization", "memory_bytes", "clock_mhz", "evaluation_seconds", "background_seconds"}
)


@cache
def columns(row: type) -> list[str]:
    """The header of a file of ``row``s."""
    return [*_of_identity(row), *(field.name for field in fields(row))]


def _of_identity(row: type) -> list[str]:
    """Ranks are many, and their run is known."""
    return ["run_id", "sweep"] if row is RankRow else [field.name for field in fields(Identity)]


def types(row: type) -> dict[str, type]:
    """The type of each column of a file of ``row``s."""
    of_identity = get_type_hints(Identity)
    return {name: of_identity[name] for name in _of_identity(row)} | get_type_hints(row)


def values(
    identity: Identity, row: ThroughputRow | AccuracyRow | EnergyRow | RankRow
) -> dict[str, Any]:
    """The columns of ``row``; those that are not known are left out."""
    of_run = {name: getattr(identity, name) for name in _of_identity(type(row))}
    # Rows hold no rows: asdict, which looks for some, takes three times as long.
    known = {n: v for n, v in vars(row).items() if n not in MAY_BE_EMPTY or not math.isnan(v)}
    return of_run | known
