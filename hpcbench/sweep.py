"""python -m hpcbench.sweep: plan a sweep, run it here or hand it to Slurm, follow and resume it."""

import argparse
import os
import shlex
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from hpcbench.cli import Parser
from hpcbench.config import OutputConfig
from hpcbench.errors import ConfigError, EnvironmentLacks, HpcbenchError
from hpcbench.launch import available_cores, visible_gpus
from hpcbench.models import MODELS
from hpcbench.records.reader import is_complete
from hpcbench.records.writer import ensure_writable
from hpcbench.report import warn
from hpcbench.sweeps import slurm
from hpcbench.sweeps.containers import check_image
from hpcbench.sweeps.plan import (
    Machine,
    Plan,
    PlannedRun,
    SweepFile,
    estimated_seconds,
    plan,
    read_sweep,
)
from hpcbench.sweeps.record import Record, all_records, records_folder
from hpcbench.sweeps.running import Runner
from hpcbench.sweeps.sites import local_command, read_site
from hpcbench.sweeps.status import Fate, State, counts, fates


def this_machine(sweep: SweepFile) -> Machine:
    """Its GPUs, or its cores shared by the largest device count; EnvironmentLacks if too few."""
    gpus, cores = visible_gpus(os.environ), len(available_cores())
    there = gpus or cores
    largest = max(sweep.device_counts(there))
    if largest > there:
        raise EnvironmentLacks(
            f"sweep {sweep.name} asks for {largest} devices, and this machine has "
            + (f"{gpus} GPUs" if gpus else f"{cores} CPU cores, each a device")
        )
    return Machine("this machine", there, there, max(1, cores // largest))


def planned(given: argparse.Namespace) -> tuple[SweepFile, Plan, Machine]:
    """The sweep of the command line, for its site or for this machine.

    Raises ConfigError where nothing is left to run.
    """
    sweep = read_sweep(given.file)
    machine = read_site(given.site).machine if given.site else this_machine(sweep)
    found = plan(sweep, given.results, machine, given.data_dir)
    if not found.runs:
        raise ConfigError(f"sweep {sweep.name} has no run left: {'; '.join(found.left_out)}")
    return sweep, found, machine


def show_plan(given: argparse.Namespace) -> int:
    """Runs, allocations and estimated device-hours, before anything is queued."""
    sweep, found, machine = planned(given)
    table = Table("model", "data", "strategy", "scaling", "devices", "nodes", "runs", "done",
                  "device-hours")  # fmt: skip
    rows: dict[tuple[tuple[str, ...], int], list[PlannedRun]] = {}
    for run in found.runs:
        c = run.config
        kind: tuple[str, ...] = (c.model, c.dataset, c.strategy, c.scaling)
        rows.setdefault((kind, run.devices), []).append(run)
    total = left = 0.0
    for (kind, devices), runs in sorted(rows.items()):
        hours = [estimated_seconds(run) * run.devices / 3600 for run in runs]
        done = [is_complete(run.folder) for run in runs]
        total += sum(hours)
        left += sum(hour for hour, behind in zip(hours, done, strict=True) if not behind)
        count = (devices, machine.nodes(devices), len(runs), sum(done))
        table.add_row(*kind, *map(str, count), f"{sum(hours):.2f}")
    _console().print(table)
    for sentence in found.left_out:
        print(f"left out: {sentence}")
    print(
        f"sweep {sweep.name} on {machine.name}: {len(found.runs)} runs, about {total:.2f} "
        f"device-hours, {left:.2f} of them not done yet (at the workshop's printed speed and "
        f"ideal scaling; start-up included)"
    )
    models = [MODELS[name] for name in sorted({run.config.model for run in found.runs})]
    untimed = [model.name for model in models if not model.workshop]
    if untimed:
        print(f"only start-up is counted of {', '.join(untimed)}: no printed speed to go by")
    return 0


def run_here(given: argparse.Namespace) -> int:
    """Run what is missing of a sweep, telling of each run; exit status 4 if any failed."""
    sweep, found, _ = planned(given)
    missing = [run for run in found.runs if not is_complete(run.folder)]
    for sentence in found.left_out:
        print(f"left out: {sentence}")
    print(
        f"sweep {sweep.name}: {len(found.runs)} runs on {found.runs[0].config.dataset}, "
        f"{len(found.runs) - len(missing)} complete already",
        flush=True,
    )
    output = OutputConfig(results=given.results, sweep=sweep.name, data_dir=given.data_dir)
    logs = given.results / sweep.name / "logs"
    ensure_writable(logs)
    runner = Runner(logs)
    failed = 0
    terminal = sys.stdout.isatty()
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        disable=not terminal,
    )  # fmt: skip
    with bar:
        task = bar.add_task("runs", total=len(missing))
        for number, run in enumerate(missing, 1):
            outcome = runner.run(run, local_command(run, output))
            failed += outcome.status != 0
            line = f"[{number}/{len(missing)}] {outcome}"
            bar.update(task, advance=1)
            if terminal:
                bar.console.print(line, highlight=False, markup=False)
            else:
                print(line, flush=True)
    print(f"results: {given.results / sweep.name}")
    return 4 if failed else 0


def known_runs(given: argparse.Namespace, records: Sequence[Record]) -> list[PlannedRun]:
    """All runs that were ever handed to Slurm, and those of the site or, without any, of here."""
    runs = {
        run.config.run_id: run
        for record in records
        for index in record.tasks
        for run in record.runs(index)
    }
    if given.site or not runs:
        runs |= {run.config.run_id: run for run in planned(given)[1].runs}
    return list(runs.values())


def show_status(given: argparse.Namespace) -> int:
    """A line a kind of run, then each failed one with its reason."""
    sweep = read_sweep(given.file)
    records = all_records(given.results, sweep.name)
    try:
        queue = slurm.queue() if records else {}
    except EnvironmentLacks as error:
        warn(f"the queue is not known, so what waits there counts as missing: {error}")
        queue = {}
    found = fates(known_runs(given, records), records, queue)
    rows: dict[tuple[tuple[str, ...], int], list[Fate]] = {}
    for fate in found:
        c = fate.run.config
        rows.setdefault(((c.model, c.strategy, c.scaling), fate.run.devices), []).append(fate)
    table = Table("model", "strategy", "scaling", "devices", *State)
    for (kind, devices), of_kind in sorted(rows.items(), key=lambda row: row[0]):
        count = Counter(fate.state for fate in of_kind)
        table.add_row(*kind, str(devices), *(str(count[state] or "") for state in State))
    console = _console()
    console.print(table)
    for fate in found:
        if fate.state == State.FAILED:
            console.print(f"failed: {fate.run}: {fate.why}", markup=False, highlight=False)
    print(f"sweep {sweep.name}: {counts(found)}")
    return 0


def submit(given: argparse.Namespace) -> int:
    """Queue the runs that nobody has tried yet."""
    return _submit(given, (State.MISSING,))


def resume(given: argparse.Namespace) -> int:
    """Queue the runs that are missing or failed, on the site of the last submission."""
    return _submit(given, (State.MISSING, State.FAILED))


def _submit(given: argparse.Namespace, states: tuple[State, ...]) -> int:
    sweep = read_sweep(given.file)
    records = all_records(given.results, sweep.name)
    name_of_site = given.site or (records[-1].site if records else "")
    if not name_of_site:
        raise ConfigError(f"sweep {sweep.name} was not submitted to a site before; say --site")
    site = read_site(name_of_site)
    if site.container:
        check_image(site)
    found = fates(known_runs(given, records), records, slurm.queue() if records else {})
    print(f"sweep {sweep.name}: {counts(found)}")
    wanted = [fate.run for fate in found if fate.state in states]
    folder = given.results / sweep.name
    if not given.dry_run:
        ensure_writable(folder / "logs")
    jobs: list[str] = []
    for array in slurm.arrays(wanted, site):
        configs = {str(i): [run.config] for i, run in enumerate(array.runs)}
        record = Record(sweep.name, name_of_site, given.results, given.data_dir, configs)
        now = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
        stamp = "TIME" if given.dry_run else now
        name = f"{stamp}-{array.devices}-devices-{array.part}.json"
        path = folder / "submissions" / name
        line = slurm.array_line(array, site, sweep.name, folder / "logs", path)
        print(shlex.join(line))
        if given.dry_run:
            jobs.append(f"JOB{len(jobs)}")
            continue
        record.write(records_folder(given.results, sweep.name) / name)
        try:
            record.array_job = slurm.submit(line)
        except EnvironmentLacks:
            path.unlink()
            raise
        record.write(path)
        jobs.append(record.array_job)
        print(f"  job {record.array_job}: {len(array.runs)} tasks on {array.devices} devices")
    if jobs:
        line = slurm.analysis_line(jobs, site, folder)
        print(shlex.join(line))
        if not given.dry_run:
            print(f"  job {slurm.submit(line)}: the analysis, when all are over")
    return 0


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else 120, highlight=False)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = Parser(prog="python -m hpcbench.sweep", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, action, text in (
        ("plan", show_plan, "print runs, allocations and estimated device-hours"),
        ("run", run_here, "run here what is missing of a sweep"),
        ("submit", submit, "queue what nobody has tried yet"),
        ("status", show_status, "print what is done, running, queued, failed, missing"),
        ("resume", resume, "queue what is missing or failed"),
    ):
        command = commands.add_parser(name, help=text, description=action.__doc__)
        command.set_defaults(action=action)
        command.add_argument("file", type=Path, help="for example jobs/sweeps/default.toml")
        command.add_argument("--results", type=Path, default=Path("results"))
        command.add_argument("--data-dir", type=Path)
        command.set_defaults(site=None)
        if name != "run":
            command.add_argument("--site", help="a file of jobs/sites, without its .toml")
        if name in ("submit", "resume"):
            command.add_argument(
                "--dry-run", action="store_true", help="print the sbatch lines, queue nothing"
            )
    try:
        given = parser.parse(arguments)
        status: int = given.action(given)
        return status
    except HpcbenchError as error:
        print(f"hpcbench: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("hpcbench: interrupted; run it again to go on", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
