"""hpcbench sweep: plan a sweep, run it here or hand it to a scheduler, follow and resume it."""

import argparse
import os
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from hpcbench.cli import Parser
from hpcbench.cluster.container import check_image
from hpcbench.cluster.schedulers import SCHEDULERS
from hpcbench.cluster.site import Machine, Site, read_site
from hpcbench.config import OutputConfig
from hpcbench.devices.cores import available_cores
from hpcbench.devices.gpus import visible_gpus
from hpcbench.errors import ConfigError, EnvironmentLacks, HpcbenchError
from hpcbench.frameworks import FRAMEWORKS
from hpcbench.models import MODELS
from hpcbench.records.reader import is_complete
from hpcbench.records.writer import ensure_writable
from hpcbench.resources import OWN, PACKAGED
from hpcbench.sweeps.arrays import cost, one_allocation, right_sized
from hpcbench.sweeps.commands import local_command
from hpcbench.sweeps.plan import (
    Kind,
    Plan,
    PlannedRun,
    SweepFile,
    estimated_seconds,
    make_plan,
    read_sweep,
)
from hpcbench.sweeps.queueing import Queueing
from hpcbench.sweeps.runner import Runner
from hpcbench.sweeps.status import RunStatus, State, counts, statuses
from hpcbench.sweeps.submission import Submission, all_submissions
from hpcbench.terminal import console, warn


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


def planned(args: argparse.Namespace) -> tuple[SweepFile, Plan, Machine]:
    """The sweep of the command line, for its site or for this machine.

    Raises ConfigError where nothing is left to run.
    """
    sweep = read_sweep(args.file)
    machine = read_site(args.site).machine if args.site else this_machine(sweep)
    found = make_plan(sweep, args.results, machine, args.data_dir)
    if not found.runs:
        raise ConfigError(f"sweep {sweep.name} has no run left: {'; '.join(found.left_out)}")
    return sweep, found, machine


def show_plan(args: argparse.Namespace) -> int:
    """Runs, allocations and estimated device-hours, before anything is queued."""
    sweep, found, machine = planned(args)
    table = Table(*Kind.__annotations__, "devices", "nodes", "runs", "done", "device-hours")
    rows: dict[tuple[Kind, int], list[PlannedRun]] = {}
    for run in found.runs:
        rows.setdefault((run.kind, run.devices), []).append(run)
    total = left = 0.0
    for (kind, devices), runs in sorted(rows.items()):
        hours = [estimated_seconds(run) * run.devices / 3600 for run in runs]
        done = [is_complete(run.folder) for run in runs]
        total += sum(hours)
        left += sum(hour for hour, behind in zip(hours, done, strict=True) if not behind)
        numbers = (devices, machine.nodes(devices), len(runs), sum(done))
        table.add_row(*vars(kind).values(), *map(str, numbers), f"{sum(hours):.2f}")
    console().print(table)
    for sentence in found.left_out:
        print(f"left out: {sentence}")
    print(
        f"sweep {sweep.name} on {machine.name}: {len(found.runs)} runs, about {total:.2f} "
        f"device-hours, {left:.2f} of them not done yet (at the workshop's printed speed and "
        f"ideal scaling; start-up included)"
    )
    if args.site:
        _show_designs(found, read_site(args.site))
    models = [MODELS[name] for name in sorted({run.config.model for run in found.runs})]
    untimed = [model.name for model in models if not model.workshop]
    if untimed:
        print(f"only start-up is counted of {', '.join(untimed)}: no printed speed to go by")
    return 0


def _show_designs(found: Plan, site: Site) -> None:
    """What the two ways to queue the runs would cost, and which jobs share nodes."""
    for way, design in (
        ("a job a run, repeat by repeat", right_sized),
        ("one allocation a repeat (--one-allocation)", one_allocation),
    ):
        print(f"{way}: {cost(design(found.runs, site), site, estimated_seconds)}")
    counts = sorted({run.devices for run in found.runs})
    shared = [str(devices) for devices in counts if not site.holds_whole_nodes(devices)]
    if shared:
        print(
            f"jobs of {', '.join(shared)} devices share their nodes with others' jobs; exclusive = "
            f"true in the site's file lets them hold whole nodes"
        )


def run_here(args: argparse.Namespace) -> int:
    """Run what is missing of a sweep, a line a run; exit status 4 if any failed."""
    sweep, found, _ = planned(args)
    missing = [run for run in found.runs if not is_complete(run.folder)]
    for name in {run.kind.framework for run in missing}:
        FRAMEWORKS[name].check_installed()
    for sentence in found.left_out:
        print(f"left out: {sentence}")
    print(
        f"sweep {sweep.name}: {len(found.runs)} runs on {found.runs[0].config.dataset}, "
        f"{len(found.runs) - len(missing)} complete already",
        flush=True,
    )
    output = OutputConfig(results=args.results, sweep=sweep.name, data_dir=args.data_dir)
    logs = args.results / sweep.name / "logs"
    ensure_writable(logs)
    runner = Runner(logs)
    failed = 0
    terminal = sys.stdout.isatty()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, disable=not terminal) as bar:
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
    print(f"results: {args.results / sweep.name}")
    return 4 if failed else 0


def known_runs(args: argparse.Namespace, submissions: Sequence[Submission]) -> list[PlannedRun]:
    """All runs that were ever submitted, and those of the site or, without any, of here."""
    runs = {
        run.config.run_id: run
        for submission in submissions
        for index in submission.tasks
        for run in submission.runs(index)
    }
    if args.site or not runs:
        runs |= {run.config.run_id: run for run in planned(args)[1].runs}
    return list(runs.values())


def queue_of(site: Site | None, submissions: Sequence[Submission]) -> dict[str, str]:
    """State by task of what is queued; nothing is asked where nothing was submitted.

    Raises EnvironmentLacks where the scheduler does not answer.
    """
    if not submissions:
        return {}
    names = {site.scheduler} if site else {known.name for known in SCHEDULERS if known.is_here()}
    # Where no scheduler is here, one that is says why it does not answer.
    found: dict[str, str] = {}
    for name in names or {known.name for known in SCHEDULERS if known.queues}:
        found |= SCHEDULERS[name].queue()
    return found


def show_status(args: argparse.Namespace) -> int:
    """A line a kind of run, then each failed one with its reason."""
    sweep = read_sweep(args.file)
    submissions = all_submissions(args.results, sweep.name)
    site = read_site(args.site) if args.site else None
    try:
        queue = queue_of(site, submissions)
    except EnvironmentLacks as error:
        warn(f"the queue is not known, so what waits there counts as missing: {error}")
        queue = {}
    found = statuses(known_runs(args, submissions), submissions, queue)
    rows: dict[tuple[Kind, int], list[RunStatus]] = {}
    for status in found:
        rows.setdefault((status.run.kind, status.run.devices), []).append(status)
    table = Table(*Kind.__annotations__, "devices", *State)
    for (kind, devices), of_kind in sorted(rows.items(), key=lambda row: row[0]):
        count = Counter(status.state for status in of_kind)
        numbers = (str(count[state] or "") for state in State)
        table.add_row(*vars(kind).values(), str(devices), *numbers)
    out = console()
    out.print(table)
    for status in found:
        if status.state == State.FAILED:
            out.print(f"failed: {status.run}: {status.reason}", markup=False)
    print(f"sweep {sweep.name}: {counts(found)}")
    return 0


def submit(args: argparse.Namespace) -> int:
    """Queue the runs that nobody has tried yet."""
    return _submit(args, (State.MISSING,))


def resume(args: argparse.Namespace) -> int:
    """Queue the runs that are missing or failed, on the site of the last submission."""
    return _submit(args, (State.MISSING, State.FAILED))


def _submit(args: argparse.Namespace, states: tuple[State, ...]) -> int:
    sweep = read_sweep(args.file)
    submissions = all_submissions(args.results, sweep.name)
    name_of_site = args.site or (submissions[-1].site if submissions else "")
    if not name_of_site:
        raise ConfigError(f"sweep {sweep.name} was not submitted to a site before; say --site")
    site = read_site(name_of_site)
    if site.container:
        check_image(site)
    found = statuses(known_runs(args, submissions), submissions, queue_of(site, submissions))
    print(f"sweep {sweep.name}: {counts(found)}")
    wanted = [status.run for status in found if status.state in states]
    queueing = Queueing(sweep.name, site, name_of_site, args.results, args.data_dir, args.dry_run)
    queueing.submit(wanted, one_allocation if args.one_allocation else right_sized)
    return 0


def init(args: argparse.Namespace) -> int:
    """Copy sites, sweeps and job scripts into ./jobs, to be edited; what is there stays."""
    copied = 0
    for path in sorted(path for path in PACKAGED.rglob("*") if path.is_file()):
        target = args.folder / path.relative_to(PACKAGED)
        if target.exists():
            continue
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
        except OSError as error:
            raise EnvironmentLacks(f"{target} cannot be written: {error.strerror}") from error
        copied += 1
        print(target)
    print(f"{copied} files copied into {args.folder}; what was there already is as it was")
    return 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = "Plan a sweep, run it here or by a scheduler, follow and resume it."
    commands = parser.add_subparsers(dest="command", required=True)
    for name, action, text in (
        ("plan", show_plan, "print runs, allocations and estimated device-hours"),
        ("run", run_here, "run here what is missing of a sweep"),
        ("submit", submit, "queue what nobody has tried yet"),
        ("status", show_status, "print what is done, running, queued, failed, missing"),
        ("resume", resume, "queue what is missing or failed"),
    ):
        command = commands.add_parser(name, help=text, description=action.__doc__)
        command.set_defaults(action=action, site=None)
        command.add_argument("file", type=Path, help="as jobs/sweeps/default.toml, or default")
        command.add_argument("--results", type=Path, default=Path("results"))
        command.add_argument("--data-dir", type=Path)
        if name != "run":
            command.add_argument("--site", help="a file of jobs/sites, without its .toml")
        if name in ("submit", "resume"):
            command.add_argument(
                "--dry-run", action="store_true", help="print the commands, queue nothing"
            )
            command.add_argument(
                "--one-allocation",
                action="store_true",
                help="one job a repeat, as large as its largest run, instead of a job a run: all "
                "runs of a repeat on the same nodes, for more device-hours (plan prints both)",
            )
    copy = commands.add_parser("init", help="copy sites, sweeps and job scripts to edit them")
    copy.set_defaults(action=init)
    copy.add_argument("--folder", type=Path, default=OWN, help="where to; default: jobs")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0, 2, 3 as everywhere; 4 if a run failed, 130 if interrupted."""
    parser = Parser(prog="hpcbench sweep")
    add_arguments(parser)
    try:
        args = parser.parse(arguments)
        status: int = args.action(args)
        return status
    except HpcbenchError as error:
        print(f"hpcbench: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("hpcbench: interrupted; run it again to go on", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
