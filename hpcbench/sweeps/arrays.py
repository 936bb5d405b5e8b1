"""Which jobs the runs of a sweep become: repeat after repeat, so that repeats are blocks.

A cluster drifts, and no two allocations are alike. So no repeat begins before the one before it is
over, each holds all device counts, and speedup and efficiency can be taken within repeats. There
are two ways: jobs of exactly the devices that their runs need, each with nodes of its own; or one
job a repeat of as many devices as the largest count, within which all runs share the nodes.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

from hpcbench.cluster.site import Site
from hpcbench.sweeps.plan import PlannedRun, in_order
from hpcbench.words import count


@dataclass(frozen=True)
class Array:
    """An array of jobs of ``devices`` each, one for each of ``tasks``: runs, one after another.

    At most ``throttle`` of its jobs run at once (None: all), and none before those of the arrays
    ``after``, places in the same list, are over.
    """

    label: str
    devices: int
    tasks: list[list[PlannedRun]]
    throttle: int | None
    after: list[int]

    def __str__(self) -> str:
        jobs, devices = count(len(self.tasks), "job"), count(self.devices, "device")
        return f"{self.label}, {jobs} of {devices}"


# How a sweep's runs become arrays on a site.
Design = Callable[[Sequence[PlannedRun], Site], list[Array]]


def right_sized(runs: Sequence[PlannedRun], site: Site) -> list[Array]:
    """A job a run. Jobs that do not hold whole nodes run one at a time within a repeat, since two
    on one node would slow each other down.

    Arrays are split where they have more tasks than the site's may have.
    """
    found: list[Array] = []
    before: list[int] = []
    for repeat, block in _by_repeat(runs):
        first = len(found)
        shares: int | None = None
        for devices in in_order(sorted({run.devices for run in block}), repeat):
            whole = site.holds_whole_nodes(devices)
            tasks = [[run] for run in block if run.devices == devices]
            for part in _parts(tasks, site):
                alone = [] if whole or shares is None else [shares]
                throttle = site.throttle if whole else 1
                after = [*before, *alone]
                found.append(Array(f"repeat {repeat}", devices, part, throttle, after))
                if not whole:
                    shares = len(found) - 1
        before = list(range(first, len(found)))
    return found


def one_allocation(runs: Sequence[PlannedRun], site: Site) -> list[Array]:
    """A job a repeat, of the largest count's devices; smaller counts leave some of them idle."""
    devices = max((run.devices for run in runs), default=0)
    found: list[Array] = []
    for part in _parts([block for _, block in _by_repeat(runs)], site):
        after = [len(found) - 1] if found else []
        found.append(Array(count(len(part), "repeat"), devices, part, 1, after))
    return found


def _by_repeat(runs: Iterable[PlannedRun]) -> list[tuple[int, list[PlannedRun]]]:
    """The runs of each repeat, in the order in which they were given."""
    repeat = attrgetter("config.repeat")
    return [(number, list(block)) for number, block in groupby(sorted(runs, key=repeat), repeat)]


def _parts(tasks: list[list[PlannedRun]], site: Site) -> list[list[list[PlannedRun]]]:
    """Slurm's ``MaxArraySize`` caps an array's index, so the largest index is one less."""
    size = site.max_array_size
    return [tasks[first : first + size] for first in range(0, len(tasks), size)]


@dataclass(frozen=True)
class Cost:
    """What a design costs beside waiting: jobs, device-hours held, and minutes, from all jobs that
    may run at once doing so to one at a time."""

    jobs: int
    device_hours: float
    least_minutes: float
    most_minutes: float

    def __str__(self) -> str:
        least, most = (f"{minutes:.0f}" for minutes in (self.least_minutes, self.most_minutes))
        minutes = most if least == most else f"{least} to {most}"
        return f"{count(self.jobs, 'job')}, {self.device_hours:.2f} device-hours, {minutes} minutes"


def cost(arrays: Sequence[Array], site: Site, seconds: Callable[[PlannedRun], float]) -> Cost:
    """The cost of ``arrays`` where a run takes ``seconds``."""
    held = most = 0.0
    ends: list[float] = []
    for array in arrays:
        of_tasks = [sum(map(seconds, task)) for task in array.tasks]
        whole = site.holds_whole_nodes(array.devices)
        nodes = site.machine.nodes(array.devices)
        held += sum(of_tasks) * (nodes * site.devices_per_node if whole else array.devices)
        most += sum(of_tasks)
        lanes = array.throttle or len(of_tasks)
        longest = max(*of_tasks, sum(of_tasks) / lanes)
        ends.append(max((ends[place] for place in array.after), default=0.0) + longest)
    jobs = sum(len(array.tasks) for array in arrays)
    return Cost(jobs, held / 3600, max(ends, default=0.0) / 60, most / 60)
