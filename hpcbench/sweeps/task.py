"""python -m hpcbench.sweeps.task: one task of an array of jobs; the job scripts call it."""

import argparse
import os
import platform
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from hpcbench.cli import Parser, reports_errors
from hpcbench.cluster.container import check_image
from hpcbench.cluster.launchers import LAUNCHERS
from hpcbench.cluster.schedulers import Job, current_job, scheduler_of
from hpcbench.cluster.site import Site, read_site, site_of_cluster, site_of_job
from hpcbench.devices.cores import available_cores, by_core
from hpcbench.errors import ConfigError, EnvironmentLacks
from hpcbench.records.reader import is_complete
from hpcbench.records.writer import ensure_writable
from hpcbench.resources import job_file
from hpcbench.sweeps.commands import folders_of_a_run, job_command, plotting
from hpcbench.sweeps.failures import Attempt
from hpcbench.sweeps.plan import make_plan, read_sweep
from hpcbench.sweeps.runner import Runner
from hpcbench.sweeps.submission import Submission, read_submission, submissions_folder
from hpcbench.terminal import warn
from hpcbench.words import count

DEFAULT_SWEEP = "sweeps/default.toml"


@reports_errors
def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0, 2, 3 as everywhere; 4 if a run failed, 75 if stopped with runs left."""
    parser = Parser(prog="sbatch jobs/scale_sweep.sh", description=__doc__)
    launchers = [launcher.name for launcher in LAUNCHERS if launcher.starts]
    parser.add_argument("--sweep", type=Path, help="the sweep's file; default: the default sweep")
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--launcher", choices=launchers, help="default: the site's, or srun")
    parser.add_argument("--container", type=Path, help="an image to train in: containers/build")
    parser.add_argument("--record", type=Path, help="as written by hpcbench sweep submit")
    args = parser.parse(arguments)
    job = current_job(os.environ)
    if args.record:
        submission = read_submission(args.record)
        if job.index not in submission.tasks:
            raise ConfigError(f"{args.record} has no task {job.index or 'without an index'}")
        return run_task(submission, job, read_site(submission.site))
    return run_repeat(args, job)


def run_repeat(args: argparse.Namespace, job: Job) -> int:
    """The sweep's repeat whose number, from 1, is the task's index, on the nodes of this job: the
    device counts that it has devices for, of the default sweep all powers of two."""
    like = site_of_cluster(os.environ, job.cluster)
    site = site_of_job(job, len(available_cores()), like, args.launcher, args.container)
    if like:
        print(f"as site {like.name} says, with the devices of this job", flush=True)
    if not job.index:
        raise ConfigError("no array index: submit with --array=1-3%1, a task a repeat")
    results, repeat = args.results, int(job.index)
    sweep = read_sweep(args.sweep or job_file(DEFAULT_SWEEP))
    submit_analysis_once(results, sweep.name, job)
    if not 1 <= repeat <= sweep.repeats:
        print(f"sweep {sweep.name} has {sweep.repeats} repeats, so there is no repeat {repeat}")
        return 0
    if not args.sweep:
        sweep = sweep.model_copy(update={"devices": None})
    asked = sweep.device_counts(site.max_devices)
    counts = [devices for devices in asked if devices <= site.max_devices]
    beyond = ", ".join(str(devices) for devices in asked if devices not in counts)
    has = f"this job has {count(site.max_devices, 'device')}, so nothing is run on {beyond}"
    if not counts:
        raise ConfigError(has)
    plan = make_plan(sweep, results, site.machine, args.data_dir, counts, may_download=False)
    for sentence in [*([has] if beyond else []), *plan.left_out]:
        print(f"left out: {sentence}")
    configs = [run.config for run in plan.runs if run.config.repeat == repeat - 1]
    submission = Submission(sweep.name, "", results, args.data_dir, {job.index: configs}, job.array)
    submission.write(submissions_folder(results, sweep.name) / f"job-{job.array}-{job.index}.json")
    if scheduler_of(job).has_whole_nodes(job) is False:
        print("others' jobs may run on this job's nodes: sbatch --exclusive keeps them to itself")
    return run_task(submission, job, site)


def run_task(submission: Submission, job: Job, site: Site) -> int:
    """Run what is not complete of the task's runs, printing how each ended."""
    logs = submission.results / submission.sweep / "logs"
    ensure_writable(logs)
    _check_gpus(submission, job, site)
    tell_of_threads(site)
    if site.container:
        mpi = check_image(site, folders_of_a_run(submission.output))
        print(f"image {site.container} with {mpi}", flush=True)
    scheduler = scheduler_of(job)
    attempt = Attempt(job.task, job.restart)
    runner = Runner(logs, site.variables, lambda said: scheduler.ending(job, said), attempt)
    stops = [signal.SIGUSR1, signal.SIGTERM]
    runner.stop_on(stops, lambda: scheduler.signal_ranks(job, "USR1"))
    where = f"{platform.node()}, restart {job.restart}"
    print(f"{submission.sweep} task {job.index} on {where}", flush=True)
    failed = 0
    for run in submission.runs(job.index):
        if is_complete(run.folder):
            print(f"{run}: complete already", flush=True)
            continue
        if runner.stopped:
            return 75
        outcome = runner.run(run, job_command(run, submission.output, site))
        print(outcome, flush=True)
        if outcome.status == 75:
            return 75
        failed += outcome.status != 0
    return 4 if failed else 0


def _check_gpus(submission: Submission, job: Job, site: Site) -> None:
    """Raise EnvironmentLacks where the job was granted fewer GPUs than its runs need; schedulers
    that do not say how many are believed."""
    granted = job.allocation.gpus_per_node if job.allocation else 0
    runs = submission.runs(job.index)
    wanted = min(max(run.devices for run in runs), site.devices_per_node) if runs else 0
    if site.device == "gpu" and 0 < granted < wanted:
        raise EnvironmentLacks(
            f"{platform.node()} gives this job {count(granted, 'GPU')}, and its runs need {wanted} "
            f"there: ask for as many on each node (gpu_request of site {site.name} is "
            f"{site.gpu_request!r}; with 'total' they may come from any)"
        )


def tell_of_threads(site: Site) -> None:
    """Say where the job's CPUs are hardware threads that share cores, and the site does not ask for
    one of each."""
    threads = available_cores()
    cores = by_core(threads)
    if len(cores) < len(threads) and site.threads_per_core != 1:
        print(
            f"the {len(threads)} CPUs of this job on {platform.node()} are hardware threads of "
            f"{count(len(cores), 'core')}; sbatch --threads-per-core=1, or threads_per_core = 1 in "
            f"a site's file, asks for whole cores",
            flush=True,
        )


def submit_analysis_once(results: Path, sweep: str, job: Job) -> None:
    """The first task of an array to come here queues the analysis for when all are over."""
    try:
        (submissions_folder(results, sweep) / f"analysis-of-{job.array}").mkdir()
    except FileExistsError:
        return
    scheduler = scheduler_of(job)
    try:
        command = scheduler.analysis_command([job.array], results / sweep, None)
        number = scheduler.submit(command)
    except EnvironmentLacks as error:
        # Some clusters take no job from inside a job; that must not cost the runs.
        warn(f"{error}; when the array is over: {plotting(results / sweep)}")
        return
    print(f"analysis: job {number}, when the array is over", flush=True)


if __name__ == "__main__":
    sys.exit(main())
