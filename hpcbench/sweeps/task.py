"""python -m hpcbench.sweeps.task: one task of a Slurm array. jobs/scale_sweep.sh calls it."""

import os
import platform
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from hpcbench.cli import Parser
from hpcbench.errors import ConfigError, EnvironmentLacks, HpcbenchError
from hpcbench.records.reader import is_complete
from hpcbench.records.writer import ensure_writable
from hpcbench.report import warn
from hpcbench.sweeps.containers import check_image
from hpcbench.sweeps.plan import plan, read_sweep
from hpcbench.sweeps.record import Record, read_record, records_folder
from hpcbench.sweeps.running import Runner
from hpcbench.sweeps.sites import Site, folders_of_a_run, job_command, read_site, site_of_job
from hpcbench.sweeps.slurm import analysis_line, give_back_nodes, signal_steps, submit

DEFAULT_SWEEP = Path("jobs/sweeps/default.toml")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0, 2, 3 as everywhere; 4 if a run failed, 75 if stopped with runs left."""
    parser = Parser(prog="sbatch jobs/scale_sweep.sh", description=__doc__)
    parser.add_argument("--sweep", type=Path, default=DEFAULT_SWEEP, help="the sweep's file")
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--launcher", choices=("srun", "mpirun", "horovodrun"), default="srun")
    parser.add_argument("--container", type=Path, help="an image to train in: containers/build")
    parser.add_argument("--record", type=Path, help="as written by hpcbench.sweep submit")
    try:
        given = parser.parse(arguments)
        index = os.environ.get("SLURM_ARRAY_TASK_ID", "")
        if given.record:
            record = read_record(given.record)
            if index not in record.tasks:
                raise ConfigError(f"{given.record} has no task {index or 'without an index'}")
            return run_task(record, index, read_site(record.site))
        site = site_of_job(os.environ, given.launcher, given.container)
        if not index:
            raise ConfigError("no array index: submit with --array=1,2,4, the device counts")
        return run_count(given.sweep, int(index), given.results, given.data_dir, site)
    except HpcbenchError as error:
        print(f"hpcbench: {error}", file=sys.stderr)
        return error.exit_status


def run_count(file: Path, devices: int, results: Path, data_dir: Path | None, site: Site) -> int:
    """The sweep's runs on so many devices, in a job that got as many or more."""
    sweep = read_sweep(file)
    submit_analysis_once(results, sweep.name)
    if devices > site.max_devices:
        print(f"this job has {site.max_devices} devices, so nothing is run on {devices}")
        return 0
    planned = plan(sweep, results, site.machine, data_dir, [devices])
    for sentence in planned.left_out:
        print(f"left out: {sentence}")
    job = os.environ.get("SLURM_ARRAY_JOB_ID", "")
    configs = [run.config for run in planned.runs]
    record = Record(sweep.name, "", results, data_dir, {str(devices): configs}, job)
    record.write(records_folder(results, sweep.name) / f"job-{job}-{devices}.json")
    needed = site.machine.nodes(devices)
    if needed < int(os.environ["SLURM_JOB_NUM_NODES"]):
        give_back_nodes(needed)
    return run_task(record, str(devices), site)


def run_task(record: Record, index: str, site: Site) -> int:
    """Run what is not complete of the task's runs, telling of each."""
    logs = record.results / record.sweep / "logs"
    ensure_writable(logs)
    if site.container:
        mpi = check_image(site, folders_of_a_run(record.output))
        print(f"image {site.container} with {mpi}", flush=True)
    named = {"HPCBENCH_IMAGE": str(site.container)} if site.container else {}
    runner = Runner(logs, site.environment | named)
    runner.stop_on([signal.SIGUSR1, signal.SIGTERM], lambda: signal_steps("USR1"))
    where = f"{platform.node()}, restart {os.environ.get('SLURM_RESTART_COUNT', '0')}"
    print(f"{record.sweep} task {index} on {where}", flush=True)
    failed = 0
    for run in record.runs(index):
        if is_complete(run.folder):
            print(f"{run}: complete already", flush=True)
            continue
        if runner.stopped:
            return 75
        outcome = runner.run(run, job_command(run, record.output, site))
        print(outcome, flush=True)
        if outcome.status == 75:
            return 75
        failed += outcome.status != 0
    return 4 if failed else 0


def submit_analysis_once(results: Path, sweep: str) -> None:
    """The first task of an array to come here queues the analysis for when all are over."""
    job = os.environ.get("SLURM_ARRAY_JOB_ID", "")
    try:
        (records_folder(results, sweep) / f"analysis-of-{job}").mkdir()
    except FileExistsError:
        return
    try:
        number = submit(analysis_line([job], None, results / sweep))
    except EnvironmentLacks as error:
        # Some clusters take no job from inside a job; that must not cost the runs.
        warn(f"{error}; when the array is over: sbatch jobs/analyse.sh {results / sweep}")
        return
    print(f"analysis: job {number}, when the array is over", flush=True)


if __name__ == "__main__":
    sys.exit(main())
