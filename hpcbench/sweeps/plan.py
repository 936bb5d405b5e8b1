"""Turns a sweep file into runs: all combinations, in an order that drift cannot mimic."""

import random
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from hpcbench.config import DEFAULT_FRAMEWORK, NAME_PATTERN, RunConfig, parse, schedule
from hpcbench.datasets.sources import locate_for
from hpcbench.errors import ConfigError
from hpcbench.frameworks import check_framework
from hpcbench.models import MODELS
from hpcbench.strategies import STRATEGIES

# Loading TensorFlow, compiling, the first collective.
STARTUP_SECONDS = 20.0

Names = Annotated[list[str], Field(min_length=1)]


class SweepFile(BaseModel):
    """A sweep: all combinations of models, data sets, strategies, device counts and repeats.

    Device counts are ``devices``, or the powers of two up to ``max_devices``, or to what there
    is. ``settings`` holds for all models, a model's own entry before it.
    """

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    repeats: Annotated[int, Field(ge=1, le=1000)] = 3
    devices: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)] | None = None
    max_devices: Annotated[int, Field(ge=1)] | None = None
    datasets: Names = ["auto"]
    strategies: Names
    scaling: Annotated[list[Literal["weak", "strong"]], Field(min_length=1)] = ["weak"]
    settings: dict[str, Any] = {}
    models: Annotated[list[dict[str, Any]], Field(min_length=1)]

    def device_counts(self, there: int) -> list[int]:
        """The device counts of the sweep where there are ``there`` devices."""
        if self.devices:
            return sorted(set(self.devices))
        last = min(self.max_devices or there, there)
        return [1 << power for power in range(last.bit_length())]


@dataclass(frozen=True)
class Machine:
    """What runs are planned for; ``cores_per_device`` None leaves it to each run."""

    name: str
    devices_per_node: int
    max_devices: int
    cores_per_device: int | None

    def nodes(self, devices: int) -> int:
        """How many nodes so many devices need."""
        return -(-devices // self.devices_per_node)


@dataclass(frozen=True)
class PlannedRun:
    """One run of a sweep and the folder that its files go to."""

    config: RunConfig
    folder: Path
    # Of the data found here; 0 where it was not looked for.
    train_samples: int = 0

    def __str__(self) -> str:
        config = self.config
        scaling = " strong" if config.scaling == "strong" else ""
        return f"{config.model} {config.strategy} x{config.devices}{scaling} repeat {config.repeat}"

    @property
    def devices(self) -> int:
        return self.config.devices or 1


@dataclass(frozen=True)
class Plan:
    """The runs in the order in which they are run, and what was left out and why."""

    runs: list[PlannedRun]
    left_out: list[str]


def read_sweep(path: Path) -> SweepFile:
    """Read and check a sweep file; raises ConfigError with the file's name."""
    sweep: SweepFile = read_toml(SweepFile, path, "sweep file")
    return sweep


def read_toml(model: type[BaseModel], path: Path, kind: str) -> Any:
    """A TOML file as ``model``; raises ConfigError with the file's name."""
    try:
        values = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{kind} {path}: {error}") from error
    try:
        return parse(model, values, flag="")
    except ConfigError as error:
        raise ConfigError(f"{kind} {path}: {error}") from error


def plan(
    sweep: SweepFile,
    results: Path,
    machine: Machine,
    data_dir: Path | None = None,
    devices: Sequence[int] | None = None,
) -> Plan:
    """All runs of ``sweep`` on ``machine``; ``devices`` stands in for the sweep's own counts.

    Within a repeat the order is drawn at random (from a fixed seed), so that a machine that
    drifts does not look like one that scales. Raises ConfigError for a bad setting.
    """
    find = cache(
        lambda model, name, size, made_up: locate_for(MODELS[model], name, data_dir, size, made_up)
    )
    left_out: dict[str, None] = {}
    runs: dict[str, PlannedRun] = {}
    for repeat in range(sweep.repeats):
        block = []
        for values in _combinations(sweep, devices or sweep.device_counts(machine.max_devices)):
            kind, count = STRATEGIES[values["strategy"]], values["devices"]
            if not kind.fits(count, machine.devices_per_node):
                place = "one node" if kind.fits(2, 2) else "one device"
                left_out[f"{kind.name} on {count} devices: it runs on {place}"] = None
                continue
            values |= {"repeat": repeat}
            values.setdefault("exchange", kind.default_exchange())
            per_replica = MODELS[values["model"]].devices_per_replica
            if kind.devices_per_replica not in per_replica:
                left_out[f"{kind.name} with {values['model']}: it cannot be split"] = None
                continue
            framework = values.get("framework", DEFAULT_FRAMEWORK)
            if framework not in kind.frameworks:
                left_out[f"{kind.name} with {framework}: it is for {kind.frameworks[0]}"] = None
                continue
            if machine.cores_per_device:
                values.setdefault("cores_per_device", machine.cores_per_device)
            config: RunConfig = parse(RunConfig, values)
            check_framework(config)
            source = find(
                config.model, config.dataset, config.image_size, config.input == "synthetic"
            )
            config = config.model_copy(update={"dataset": source.spec.name})
            schedule(config, count // kind.devices_per_replica, source.train_samples)
            folder = results / sweep.name / config.run_id
            block.append(PlannedRun(config, folder, source.train_samples))
        random.Random(repeat).shuffle(block)
        runs |= {run.config.run_id: run for run in block}
    return Plan(list(runs.values()), list(left_out))


def _combinations(sweep: SweepFile, devices: Sequence[int]) -> list[dict[str, Any]]:
    return [
        {"dataset": dataset, "scaling": scaling}
        | sweep.settings
        | model
        | {"strategy": strategy, "devices": count}
        for model in sweep.models
        for dataset in sweep.datasets
        for scaling in sweep.scaling
        for strategy in sweep.strategies
        for count in devices
    ]


def estimated_seconds(run: PlannedRun) -> float:
    """A run's duration if its device were as fast as the workshop's and scaling were ideal.

    Of a model that the workshop did not time, the start-up alone.
    """
    workshop = MODELS[run.config.model].workshop
    replicas = run.devices // STRATEGIES[run.config.strategy].devices_per_replica
    planned = schedule(run.config, replicas, run.train_samples)
    work = planned.epochs * planned.samples * (workshop.microseconds if workshop else 0)
    return STARTUP_SECONDS + work * 1e-6 / run.devices
