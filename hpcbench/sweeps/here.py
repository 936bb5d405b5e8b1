"""A sweep on this machine: run after run, with its report drawn as it goes."""

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from hpcbench.config import OutputConfig
from hpcbench.errors import EnvironmentLacks, Preempted
from hpcbench.programs.config import ProgramConfig
from hpcbench.records.reader import is_complete
from hpcbench.records.writer import ensure_writable
from hpcbench.sweeps.commands import local_command
from hpcbench.sweeps.durations import Durations
from hpcbench.sweeps.plan import PlannedRun
from hpcbench.sweeps.runner import Runner
from hpcbench.terminal import warn
from hpcbench.words import count

# Runs after which there is something to look at for the first time.
FIRST_LOOK = 2
COLUMNS = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())


def minutes_of(runs: Sequence[PlannedRun], results: Path) -> str:
    """About how long ``runs`` take, one after another, in words, and whether that is guessed."""
    durations = Durations.below(results, None)
    minutes = round(sum(map(durations.seconds, runs)) / 60)
    about = f"about {count(minutes, 'minute')}" if minutes else "less than a minute"
    return about if all(map(durations.known, runs)) else f"{about} (a guess)"


def run_all(runs: Sequence[PlannedRun], output: OutputConfig, figures: Path | None) -> int:
    """Run them, a line a run; the exit status: 0, 4 if any failed, 75 if told to stop, which is
    passed on to the run under way.

    The report of the whole sweep is drawn into ``figures``, where that is given: after the first
    runs, after each repeat, and at the end, whatever that is.
    """
    logs = output.results / output.sweep / "logs"
    for folder in (logs, *([figures] if figures else [])):
        ensure_writable(folder)
    runner = Runner(logs)
    runner.stop_on([signal.SIGTERM, signal.SIGUSR1], lambda: None)
    failed = 0
    terminal = sys.stdout.isatty()
    try:
        with Progress(*COLUMNS, disable=not terminal) as bar:
            task = bar.add_task("runs", total=len(runs))

            def say(line: str) -> None:
                if terminal:
                    bar.console.print(line, highlight=False, markup=False)
                else:
                    print(line, flush=True)

            for number, run in enumerate(runs, 1):
                outcome = runner.run(run, local_command(run, output))
                failed += outcome.status != 0
                bar.update(task, advance=1)
                say(f"[{number}/{len(runs)}] {outcome}")
                if runner.stopped:
                    return Preempted.exit_status
                left = runs[number:]
                if left and outcome.status == EnvironmentLacks.exit_status and _is_program(run):
                    say(f"{count(len(left), 'run')} of the same command not tried")
                    break
                repeat_ends = bool(left) and left[0].config.repeat != run.config.repeat
                if repeat_ends or (left and number == FIRST_LOOK):
                    drawn = figures and _drawn_so_far(output, figures, len(left))
                    report = f"; {drawn}" if drawn else ""
                    say(f"{minutes_of(left, output.results)} left{report}")
    finally:
        if figures:
            left = [run for run in runs if not is_complete(run.folder)]
            subprocess.run(_drawing(output, figures, len(left)), check=False)
    return 4 if failed else 0


def _is_program(run: PlannedRun) -> bool:
    """Whether it is of a program of one's own, all runs of which are started alike."""
    return isinstance(run.config, ProgramConfig)


def _drawn_so_far(output: OutputConfig, figures: Path, left: int) -> str:
    """Draw without a word of its own; what is there to look at."""
    done = subprocess.run(
        _drawing(output, figures, left), check=False, capture_output=True, text=True
    )
    if done.returncode:
        warn(f"no report yet: {(done.stderr.strip() or 'it was not drawn').splitlines()[-1]}")
        return ""
    return f"what is known so far: {figures / 'report.html'}"


def _drawing(output: OutputConfig, figures: Path, left: int) -> list[str]:
    """In a process of its own: nothing of it is in this one while a run measures."""
    results = output.results / output.sweep
    command = [sys.executable, "-m", "hpcbench.plot", str(results), f"--output={figures}"]
    return [*command, f"--left={left}"]
