"""Hands the runs of a sweep to a scheduler as arrays of jobs, each queued once."""

import math
import os
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hpcbench.cluster.schedulers import SCHEDULERS, ArrayJob
from hpcbench.cluster.site import Site
from hpcbench.errors import EnvironmentLacks
from hpcbench.records.writer import ensure_writable, write_atomically
from hpcbench.sweeps.arrays import Array, Design
from hpcbench.sweeps.commands import plotting
from hpcbench.sweeps.plan import PlannedRun
from hpcbench.sweeps.submission import FOLDER, Submission, submissions_folder
from hpcbench.terminal import warn


@dataclass(frozen=True)
class Queueing:
    """Hands runs of a sweep to a site's scheduler, printing each command; or only prints them."""

    sweep: str
    site: Site
    # As it was named on the command line, so that a job finds it again.
    name_of_site: str
    results: Path
    data_dir: Path | None
    dry_run: bool

    def submit(
        self,
        runs: Sequence[PlannedRun],
        design: Design,
        room: float = math.inf,
        behind: Sequence[str] = (),
    ) -> int:
        """Queue ``runs``, then the analysis for when all are over; where there is ``room`` for so
        many jobs only, what comes first. None begins before the jobs ``behind`` which they stand
        are over. How many are left for later. Raises EnvironmentLacks.
        """
        scheduler, folder = SCHEDULERS[self.site.scheduler], self.results / self.sweep
        if not self.dry_run:
            ensure_writable(folder / "logs")
        jobs: list[str] = []
        now = "TIME" if self.dry_run else f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
        setup = self._written_setup(folder / FOLDER / f"{now}-setup.sh")
        left = len(runs)
        arrays = design(runs, self.site)
        for place, array in enumerate(arrays, 1):
            room -= len(array.tasks)
            # The analysis goes with the last of them, which waits for room for both if it can.
            last_of_others = place == len(arrays) and room < 1 and bool(jobs or behind)
            if room < 0 or last_of_others:
                return left
            after = [jobs[place] for place in array.after] or list(behind)
            try:
                jobs.append(self._submit(array, after, len(jobs), now, setup))
            except EnvironmentLacks as error:
                if not jobs:
                    raise
                raise EnvironmentLacks(
                    f"{error}; {left} of {len(runs)} runs are not queued: hpcbench sweep watch "
                    f"tries again while jobs are in the queue"
                ) from error
            left -= sum(len(task) for task in array.tasks)
        if jobs and room < 1:
            print(f"no room in the queue for the analysis; when all are over: {plotting(folder)}")
        elif jobs:
            request = self.site.analysis_request()
            self._submit_analysis(
                scheduler.analysis_command([*behind, *jobs], folder, request, setup), folder
            )
        return left

    def _submit_analysis(self, command: Sequence[str], folder: Path) -> None:
        print(shlex.join(command))
        if self.dry_run:
            return
        try:
            number = SCHEDULERS[self.site.scheduler].submit(command)
        except EnvironmentLacks as error:
            # That the queue is full must not cost the runs.
            warn(f"{error}; when all are over: {plotting(folder)}")
            return
        print(f"  job {number}: the analysis, when all are over")

    def _written_setup(self, path: Path) -> Path | None:
        """The file of the site's shell lines, which jobs read first; None where it has none."""
        script = self.site.setup_script
        if any(option.startswith("--export=") for option in self.site.sbatch_options):
            # Jobs are not told of this Python by their environment then.
            script = f"HPCBENCH_PYTHON={shlex.quote(sys.executable)}\n{script}"
        if not script:
            return None
        if not self.dry_run:
            submissions_folder(self.results, self.sweep)
            write_atomically(path, script.encode())
        return path

    def _submit(
        self, array: Array, after: Sequence[str], number: int, now: str, setup: Path | None
    ) -> str:
        """Queue one array, the ``number``-th, after the jobs ``after``; its job's number."""
        scheduler, folder = SCHEDULERS[self.site.scheduler], self.results / self.sweep
        configs = {str(i): [run.config for run in task] for i, task in enumerate(array.tasks)}
        submission = Submission(self.sweep, self.name_of_site, self.results, self.data_dir, configs)
        name = f"{now}-{number}-{array.devices}-devices.json"
        path = folder / FOLDER / name
        command = scheduler.array_command(
            ArrayJob(
                name=f"hpcbench-{self.sweep}-{array.devices}",
                tasks=len(array.tasks),
                request=self.site.request(array.devices),
                record=path,
                logs=folder / "logs",
                signal_seconds=self.site.signal_seconds,
                throttle=array.throttle,
                after=after,
                setup=setup,
            )
        )
        print(shlex.join(command))
        if self.dry_run:
            return f"JOB{number}"
        submission.write(submissions_folder(self.results, self.sweep) / name)
        try:
            submission.array_job = scheduler.submit(command)
        except EnvironmentLacks:
            path.unlink()
            raise
        submission.write(path)
        print(f"  job {submission.array_job}: {array}")
        return submission.array_job
