"""hpcbench sweep: plan a sweep, run it here or hand it to a scheduler, follow and resume it."""

import argparse
import math
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from hpcbench.cli import Parser, at_least_one, reports_errors
from hpcbench.cluster.container import check_image
from hpcbench.cluster.schedulers import SCHEDULERS
from hpcbench.cluster.site import NAMED_BY, Machine, Site, read_site
from hpcbench.config import OutputConfig
from hpcbench.datasets import DATASETS
from hpcbench.datasets.sources import find
from hpcbench.devices.cores import available_cores, by_core
from hpcbench.devices.gpus import visible_gpus
from hpcbench.errors import ConfigError, EnvironmentLacks, Preempted
from hpcbench.frameworks import FRAMEWORKS
from hpcbench.records.identity import PROGRAM
from hpcbench.records.reader import is_complete
from hpcbench.resources import OWN, PACKAGED
from hpcbench.sweeps.arrays import one_allocation, right_sized
from hpcbench.sweeps.durations import Durations
from hpcbench.sweeps.feeding import Feeder, feed
from hpcbench.sweeps.here import minutes_of, run_all
from hpcbench.sweeps.plan import (
    Plan,
    PlannedRun,
    SweepFile,
    make_plan,
    read_sweep,
)
from hpcbench.sweeps.queueing import Queueing
from hpcbench.sweeps.status import State, counts, reasons, statuses
from hpcbench.sweeps.submission import Submission, all_submissions
from hpcbench.sweeps.tables import designs, how_known, plan_table, status_table
from hpcbench.terminal import console, warn
from hpcbench.words import count

# Node-hours that jobs may add up to, by their time limits, before somebody has to say yes.
ASKED_ABOVE = 100
# Jobs that left nothing of their runs, of which the status tells why.
NAMED_LOST = 6


def this_machine(sweep: SweepFile) -> Machine:
    """Its GPUs, or its cores shared by the largest device count; EnvironmentLacks if too few."""
    gpus, cores = visible_gpus(os.environ), len(by_core(available_cores()))
    there = gpus or cores
    largest = max(sweep.device_counts(there))
    if largest > there:
        raise EnvironmentLacks(
            f"sweep {sweep.name} asks for {largest} devices, and this machine has "
            + (f"{gpus} GPUs" if gpus else f"{cores} CPU cores, each a device")
            + "; --site NAME is for a cluster"
        )
    return Machine("this machine", there, there, max(1, cores // largest), gpus > 0)


def planned(args: argparse.Namespace, site: str | None = None) -> tuple[SweepFile, Plan, Machine]:
    """The sweep of the command line, for a site or for this machine.

    Raises ConfigError where nothing is left to run.
    """
    sweep = read_sweep(args.file)
    machine = read_site(site).machine if site else this_machine(sweep)
    found = make_plan(sweep, args.results, machine, args.data_dir)
    if not found.runs:
        raise ConfigError(f"sweep {sweep.name} has no run left: {'; '.join(found.left_out)}")
    return sweep, found, machine


def show_plan(args: argparse.Namespace) -> int:
    """Runs, allocations and estimated device-hours, before anything is queued."""
    sweep, found, machine = planned(args, args.site)
    durations = Durations.below(args.results, machine.name if args.site else None)
    table, total, left = plan_table(found, machine, durations)
    console().print(table)
    for sentence in found.left_out:
        print(f"left out: {sentence}")
    minutes = sum(map(durations.seconds, (r for r in found.runs if not is_complete(r.folder)))) / 60
    print(
        f"sweep {sweep.name} on {machine.name}: {count(len(found.runs), 'run')}, about {total:.2f} "
        f"device-hours, {left:.2f} of them not done yet: {count(round(minutes), 'minute')} one "
        f"after another"
    )
    print(how_known(found, durations))
    if args.site:
        for sentence in designs(found, read_site(args.site), durations):
            print(sentence)
    return 0


def run_here(args: argparse.Namespace) -> int:
    """Run what is missing of a sweep; exit status 4 if a run failed, 75 if it was told to stop."""
    sweep, found, _ = planned(args)
    missing = [run for run in found.runs if not is_complete(run.folder)]
    for name in {run.kind.framework for run in missing} - {PROGRAM}:
        FRAMEWORKS[name].check_installed()
    for sentence in found.left_out:
        print(f"left out: {sentence}")
    print(
        f"sweep {sweep.name}: {count(len(found.runs), 'run')} on {found.runs[0].kind.dataset}, "
        f"{len(found.runs) - len(missing)} complete already"
        + (f", {minutes_of(missing, args.results)} for the others" if missing else ""),
        flush=True,
    )
    output = OutputConfig(results=args.results, sweep=sweep.name, data_dir=args.data_dir)
    status = run_all(missing, output, args.plot)
    if status == Preempted.exit_status:
        warn(f"stopped; hpcbench sweep run {args.file} does what is missing")
    else:
        print(f"results: {args.results / sweep.name}")
    return status


def known_runs(args: argparse.Namespace, submissions: Sequence[Submission]) -> list[PlannedRun]:
    """All runs that were ever submitted, and those of the site that is named, or was the last time;
    without any submission, of here."""
    runs = {
        run.config.run_id: run
        for submission in submissions
        for index in submission.tasks
        for run in submission.runs(index)
    }
    site = args.site or (submissions[-1].site if submissions else None)
    if site or not runs:
        runs |= {run.config.run_id: run for run in planned(args, site)[1].runs}
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
        queue: dict[str, str] | None = queue_of(site, submissions)
    except EnvironmentLacks as error:
        warn(f"the queue is not known, so what waits there counts as missing: {error}")
        queue = None
    found = statuses(known_runs(args, submissions), submissions, queue)
    out = console()
    out.print(status_table(found))
    for status in found:
        if status.state == State.FAILED:
            print(f"failed: {status.run}: {status.reason}")
    for reason, number in reasons(found, State.QUEUED).items():
        print(f"queued: {count(number, 'run')}: {reason}")
    lost = reasons(found, State.MISSING)
    for reason, number in list(lost.items())[:NAMED_LOST]:
        print(f"missing: {count(number, 'run')}: {reason}")
    if len(lost) > NAMED_LOST:
        further = list(lost.values())[NAMED_LOST:]
        print(f"missing: {count(sum(further), 'run')} of {count(len(further), 'more job')}")
    print(f"sweep {sweep.name}: {counts(found)}")
    return 0


def submit(args: argparse.Namespace) -> int:
    """Queue the runs that nobody has tried yet."""
    return _submit(args, (State.MISSING,))


def resume(args: argparse.Namespace) -> int:
    """Queue the runs that are missing or failed, on the site of the last submission."""
    return _submit(args, (State.MISSING, State.FAILED))


def _submit(args: argparse.Namespace, states: tuple[State, ...]) -> int:
    feeder, known = _feeder(args)
    found = feeder.states(known)
    print(f"sweep {feeder.queueing.sweep}: {counts(found)}")
    runs = [status.run for status in found if status.state in states]
    if not args.dry_run:
        _confirm(feeder, runs, args.yes)
    waiting = feeder.queue(runs)
    if waiting:
        print(
            f"{waiting} of {len(runs)} runs wait for room in the queue: hpcbench sweep watch "
            f"{args.file} --max-queued {args.max_queued} queues them as it empties"
        )
    return 0


def watch(args: argparse.Namespace) -> int:
    """Queue what is missing as the queue empties, and print what changes, until all is over; exit
    status 4 if a run failed."""
    feeder, known = _feeder(args)
    _confirm(feeder, [s.run for s in feeder.states(known) if s.state == State.MISSING], args.yes)
    found = feed(feeder, known, args.seconds)
    failed = [status for status in found if status.state != State.DONE]
    for status in failed:
        print(f"{status.state}: {status.run}: {status.reason}")
    return 4 if failed else 0


def _feeder(args: argparse.Namespace) -> tuple[Feeder, Callable[[], list[PlannedRun]]]:
    """What queues the runs of the command line's sweep, and what knows them."""
    sweep = read_sweep(args.file)
    submissions = all_submissions(args.results, sweep.name)
    before = submissions[-1].site if submissions else ""
    name_of_site = args.site or before or os.environ.get(NAMED_BY, "")
    if not name_of_site:
        raise ConfigError(f"sweep {sweep.name} was not submitted to a site before; say --site")
    site = read_site(name_of_site)
    if site.container:
        check_image(site)
    if args.max_queued:
        # No array is larger than the queue may be.
        smaller = min(site.max_array_size, args.max_queued)
        site = site.model_copy(update={"max_array_size": smaller})
    dry_run = getattr(args, "dry_run", False)
    queueing = Queueing(sweep.name, site, name_of_site, args.results, args.data_dir, dry_run)
    design = one_allocation if args.one_allocation else right_sized
    feeder = Feeder(queueing, design, args.max_queued or math.inf)
    return feeder, lambda: known_runs(args, all_submissions(args.results, sweep.name))


def _confirm(feeder: Feeder, runs: Sequence[PlannedRun], yes: bool) -> None:
    """Ask whether jobs that may cost much shall be queued; ConfigError where nobody says so."""
    hours = feeder.node_hours(runs)
    if yes or hours <= ASKED_ABOVE:
        return
    costs = f"the time limits of these jobs add up to {hours:,.0f} node-hours"
    if not sys.stdin.isatty():
        raise ConfigError(
            f"{costs}: --yes queues them, a shorter time in the site's file costs less"
        )
    if input(f"{costs}; queue them? [y/N] ").strip().lower() not in ("y", "yes"):
        raise ConfigError("nothing was queued")


def fetch(args: argparse.Namespace) -> int:
    """Make sure that all data of a sweep are here, downloading what is not."""
    sweep = read_sweep(args.file)
    machine = Machine("any", max_devices := max(sweep.device_counts(1)), max_devices, None)
    runs = make_plan(sweep, args.results, machine, args.data_dir).runs
    for name in sorted({run.kind.dataset for run in runs} & {spec.name for spec in DATASETS}):
        source = find(DATASETS[name], args.data_dir)
        if source:
            print(f"{name}: {', '.join(str(path) for path in source.files[:1])}")
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
        ("watch", watch, "queue what is missing as the queue empties, print what changes"),
        ("fetch", fetch, "download what a sweep trains on, for nodes without internet"),
    ):
        command = commands.add_parser(name, help=text, description=action.__doc__)
        command.set_defaults(action=action, site=None)
        command.add_argument("file", type=Path, help="as jobs/sweeps/default.toml, or default")
        command.add_argument("--results", type=Path, default=Path("results"))
        command.add_argument("--data-dir", type=Path)
        if name not in ("run", "fetch"):
            # A sweep goes on where it began.
            command.add_argument(
                "--site",
                default=None if name in ("resume", "watch") else os.environ.get(NAMED_BY),
                help=f"a file of jobs/sites, without its .toml; default: {NAMED_BY}; for resume "
                "and watch, where it was submitted",
            )
        if name == "run":
            command.add_argument(
                "--plot",
                type=Path,
                metavar="DIR",
                help="draw the report into DIR: after two runs, after each repeat, and at the end",
            )
        if name in ("submit", "resume"):
            command.add_argument(
                "--dry-run", action="store_true", help="print the commands, queue nothing"
            )
        if name == "watch":
            command.add_argument(
                "--seconds", type=float, default=60, help="between updates (default: %(default)s)"
            )
        if name in ("submit", "resume", "watch"):
            command.add_argument(
                "--max-queued",
                type=at_least_one,
                metavar="N",
                help="as many jobs as you may have in the queue; watch queues the rest later",
            )
            command.add_argument(
                "--yes",
                action="store_true",
                help=f"queue jobs whose time limits add up to more than {ASKED_ABOVE} node-hours",
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


@reports_errors
def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0, 2, 3 as everywhere; 4 if a run failed, 130 if interrupted."""
    parser = Parser(prog="hpcbench sweep")
    add_arguments(parser)
    try:
        args = parser.parse(arguments)
        status: int = args.action(args)
        return status
    except KeyboardInterrupt:
        print("hpcbench: interrupted; run it again to go on", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
