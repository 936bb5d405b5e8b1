"""python -m hpcbench.sweep: run a sweep file's runs on this machine, skipping finished ones."""

import os
import random
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from hpcbench.cli import Parser
from hpcbench.config import NAME_PATTERN, RunConfig, parse
from hpcbench.datasets.sources import locate
from hpcbench.errors import ConfigError, EnvironmentLacks, HpcbenchError
from hpcbench.launch import available_cores, visible_gpus
from hpcbench.models import MODELS
from hpcbench.records.reader import is_complete
from hpcbench.records.writer import ensure_writable
from hpcbench.strategies import STRATEGIES


class SweepFile(BaseModel):
    """A sweep: all combinations of models, strategies, device counts and repeats."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    repeats: Annotated[int, Field(ge=1)] = 3
    devices: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)]
    strategies: Annotated[list[str], Field(min_length=1)]
    settings: dict[str, Any] = {}
    models: Annotated[list[dict[str, Any]], Field(min_length=1)]


@dataclass(frozen=True)
class PlannedRun:
    """One run of a sweep and the folder that its files go to."""

    config: RunConfig
    folder: Path

    def __str__(self) -> str:
        config = self.config
        return f"{config.model} {config.strategy} x{config.devices} repeat {config.repeat}"


def read_sweep(path: Path) -> SweepFile:
    """Read and check a sweep file; raises ConfigError with the file's name."""
    try:
        values = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"sweep file {path}: {error}") from error
    try:
        sweep: SweepFile = parse(SweepFile, values, flag="")
    except ConfigError as error:
        raise ConfigError(f"sweep file {path}: {error}") from error
    return sweep


def plan(sweep: SweepFile, results: Path, data_dir: Path | None = None) -> list[PlannedRun]:
    """All runs of ``sweep``, in the order in which they are run.

    Within a repeat the order is drawn at random (from a fixed seed), so that a machine that
    drifts does not look like one that scales. Raises ConfigError for a bad setting.
    """
    cores_per_device = max(1, len(available_cores()) // max(sweep.devices))
    runs = []
    for repeat in range(sweep.repeats):
        block = [
            _planned(sweep, model, strategy, devices, repeat, cores_per_device, results, data_dir)
            for model in sweep.models
            for strategy in sweep.strategies
            for devices in sweep.devices
        ]
        random.Random(repeat).shuffle(block)
        runs += block
    return runs


def _planned(
    sweep: SweepFile,
    model: dict[str, Any],
    strategy: str,
    devices: int,
    repeat: int,
    cores_per_device: int,
    results: Path,
    data_dir: Path | None,
) -> PlannedRun:
    values = {"cores_per_device": cores_per_device} | sweep.settings | model
    values |= {"strategy": strategy, "devices": devices, "repeat": repeat}
    values.setdefault("exchange", STRATEGIES[strategy].exchanges[0])
    config: RunConfig = parse(RunConfig, values)
    MODELS[config.model]
    config = config.model_copy(update={"dataset": locate(config.dataset, data_dir).spec.name})
    return PlannedRun(config, results / sweep.name / config.run_id)


def command(run: PlannedRun, results: Path, sweep: str, data_dir: Path | None) -> list[str]:
    """The command line of one run; raises EnvironmentLacks where nothing can launch its ranks."""
    settings = run.config.model_dump(exclude_none=True, exclude_defaults=True)
    train = [sys.executable, "-m", "hpcbench.train"]
    for name, value in (settings | {"results": results, "sweep": sweep}).items():
        flag = name.replace("_", "-")
        train += (
            [f"--{'' if value else 'no-'}{flag}"]
            if isinstance(value, bool)
            else [f"--{flag}={value}"]
        )
    if data_dir:
        train.append(f"--data-dir={data_dir}")
    if not STRATEGIES[run.config.strategy].needs_launcher:
        return train
    devices = str(run.config.devices)
    beside = Path(sys.executable).parent
    horovodrun = beside / "horovodrun"
    if shutil.which("mpirun"):
        return ["mpirun", "-np", devices, "--bind-to", "none", "--oversubscribe", *train]
    if horovodrun.exists():
        return [str(horovodrun), "--gloo", "-np", devices, *train]
    raise EnvironmentLacks("neither mpirun nor horovodrun is here to start several processes")


def environment() -> dict[str, str]:
    """This process' environment; Open MPI refuses to run as root unless told twice."""
    more = {}
    if os.geteuid() == 0:
        more = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    return os.environ | more


@dataclass(frozen=True)
class Outcome:
    run: PlannedRun
    status: int
    seconds: float
    log: Path


def execute(
    runs: Sequence[PlannedRun], results: Path, sweep: str, data_dir: Path | None
) -> Iterator[Outcome]:
    """Run one after the other, each with its output in a log beside the run's folder."""
    logs = results / sweep / "logs"
    ensure_writable(logs)
    for run in runs:
        log = logs / f"{run.config.run_id}.log"
        start = time.monotonic()
        with open(log, "w") as output:
            status = subprocess.run(
                command(run, results, sweep, data_dir), stdout=output, stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL, env=environment(), check=False,
            ).returncode  # fmt: skip
        yield Outcome(run, status, time.monotonic() - start, log)


def run_sweep(path: Path, results: Path, data_dir: Path | None) -> int:
    """Run what is missing of a sweep, telling of each run; exit status 4 if any failed."""
    sweep = read_sweep(path)
    gpus, cores = visible_gpus(os.environ), len(available_cores())
    if max(sweep.devices) > (gpus or cores):
        raise EnvironmentLacks(
            f"sweep {sweep.name} asks for {max(sweep.devices)} devices, and this machine has "
            + (f"{gpus} GPUs" if gpus else f"{cores} CPU cores, each a device")
        )
    runs = plan(sweep, results, data_dir)
    missing = [run for run in runs if not is_complete(run.folder)]
    print(
        f"sweep {sweep.name}: {len(runs)} runs on {runs[0].config.dataset}, "
        f"{len(runs) - len(missing)} complete already",
        flush=True,
    )
    failed = 0
    terminal = sys.stdout.isatty()
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        disable=not terminal,
    )  # fmt: skip
    with bar:
        task = bar.add_task("runs", total=len(missing))
        for number, outcome in enumerate(execute(missing, results, sweep.name, data_dir), 1):
            failed += outcome.status != 0
            end = "done" if outcome.status == 0 else f"FAILED ({outcome.status}), see {outcome.log}"
            line = f"[{number}/{len(missing)}] {outcome.run}: {end}, {outcome.seconds:.0f} s"
            bar.update(task, advance=1)
            if terminal:
                bar.console.print(line, highlight=False)
            else:
                print(line, flush=True)
    print(f"results: {results / sweep.name}")
    return 4 if failed else 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = Parser(prog="python -m hpcbench.sweep", description="Run a sweep on this machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run here what is missing of a sweep")
    run.add_argument("file", type=Path, help="for example jobs/sweeps/default.toml")
    run.add_argument("--results", type=Path, default=Path("results"))
    run.add_argument("--data-dir", type=Path)
    try:
        given = parser.parse(arguments)
        return run_sweep(given.file, given.results, given.data_dir)
    except HpcbenchError as error:
        print(f"hpcbench: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("hpcbench: interrupted; run it again to go on", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
