"""Hands the missing runs of a sweep over as far as the queue has room, until none is left."""

import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hpcbench.cluster.schedulers import SCHEDULERS
from hpcbench.errors import EnvironmentLacks
from hpcbench.sweeps.arrays import Design
from hpcbench.sweeps.plan import PlannedRun
from hpcbench.sweeps.queueing import Queueing
from hpcbench.sweeps.status import RunStatus, State, counts, reasons, statuses
from hpcbench.sweeps.submission import Submission, all_submissions
from hpcbench.terminal import warn
from hpcbench.words import count

# How often what stays missing is queued.
TRIES = 3


@dataclass(frozen=True)
class Feeder:
    """Keeps at most ``most`` jobs of this user in the queue of a site (infinite: all at once)."""

    queueing: Queueing
    design: Design
    most: float

    def states(self, known: Callable[[], list[PlannedRun]]) -> list[RunStatus]:
        """What has become of the ``known`` runs. Raises EnvironmentLacks without a scheduler."""
        submissions = self._submissions()
        return statuses(known(), submissions, self.jobs() if submissions else {})

    def queue(self, runs: Sequence[PlannedRun]) -> int:
        """Queue ``runs`` as far as there is room; how many wait. Raises EnvironmentLacks."""
        limited = self.most < math.inf
        submissions = self._submissions()
        queue = self.jobs() if limited or submissions else {}
        behind = _still_queued(submissions, queue)
        return self.queueing.submit(runs, self.design, self.most - len(queue), behind)

    def node_hours(self, runs: Sequence[PlannedRun]) -> float:
        """What jobs of ``runs`` would cost if each took all of its time limit."""
        site = self.queueing.site
        minutes = SCHEDULERS[site.scheduler].minutes
        return (
            sum(
                len(array.tasks)
                * site.machine.nodes(array.devices)
                * minutes(site.request(array.devices).time)
                for array in self.design(runs, site)
            )
            / 60
        )

    def times_queued(self) -> Counter[str]:
        """How often each run has been in a job that was queued, by run id."""
        every = (s.tasks.values() for s in self._submissions() if s.array_job)
        return Counter(run.run_id for tasks in every for task in tasks for run in task)

    def _submissions(self) -> Sequence[Submission]:
        return all_submissions(self.queueing.results, self.queueing.sweep)

    def jobs(self) -> dict[str, str]:
        """This user's jobs, by task. Raises EnvironmentLacks."""
        return SCHEDULERS[self.queueing.site.scheduler].queue()


def _still_queued(submissions: Sequence[Submission], queue: dict[str, str]) -> list[str]:
    """The array jobs of a sweep of which something waits or runs."""
    numbers = {name.partition("_")[0] for name in queue}
    return [s.array_job for s in submissions if s.array_job in numbers]


def feed(feeder: Feeder, known: Callable[[], list[PlannedRun]], seconds: float) -> list[RunStatus]:
    """Look every so many ``seconds`` and queue what is missing, until all has been tried and
    nothing waits or runs; prints what changed. The last states.

    What is still missing after its job has been queued so often (``TRIES``) stays so: where jobs
    end at once, as on nodes that do not see the project, they would be queued without end."""
    said = refused = ""
    why: set[str] = set()
    at_first = feeder.times_queued()
    while True:
        found = feeder.states(known)
        now = counts(found)
        if now != said:
            print(f"{time.strftime('%H:%M:%S')} sweep {feeder.queueing.sweep}: {now}", flush=True)
            said = now
        for reason, number in reasons(found, State.QUEUED).items():
            if reason not in why:
                why.add(reason)
                warn(f"{count(number, 'run')} of sweep {feeder.queueing.sweep}: {reason}")
        missing = [status.run for status in found if status.state == State.MISSING]
        tries = feeder.times_queued() - at_first
        again = [run for run in missing if tries[run.config.run_id] < TRIES]
        if not again and not any(status.state in (State.QUEUED, State.RUNNING) for status in found):
            return found
        if again:
            try:
                feeder.queue(again)
            except EnvironmentLacks as error:
                # A full queue empties, while there is something in it.
                if not feeder.jobs():
                    raise
                if str(error) != refused:
                    refused = str(error)
                    warn(f"{refused}; trying again")
        time.sleep(seconds)
