"""Turns a sweep file into runs: all combinations, repeat by repeat."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from hpcbench.cluster.site import Machine
from hpcbench.config import DEFAULT_FRAMEWORK, RunConfig
from hpcbench.datasets.sources import locate_for
from hpcbench.errors import ConfigError, unknown_name
from hpcbench.frameworks import FRAMEWORKS
from hpcbench.models import MODELS
from hpcbench.programs.config import Program, ProgramConfig
from hpcbench.records.identity import PROGRAM
from hpcbench.resources import job_files
from hpcbench.runs.resolve import with_digest, with_input
from hpcbench.schedule import batches, make_schedule
from hpcbench.strategies import STRATEGIES
from hpcbench.validation import NAME_PATTERN, parse, read_toml

Names = Annotated[list[str], Field(min_length=1)]
Item = TypeVar("Item")


Counts = Annotated[list[Annotated[int, Field(ge=1, strict=True)]], Field(min_length=1)]
# What a sweep or a model in it sets for its runs as a list, and by what.
_BY_LISTS = {"strategy": "strategies", "repeat": "repeats"}


class ModelOfSweep(BaseModel):
    """A model's own entry: options of its runs, and the ``strategies`` and ``devices`` that are its
    own instead of the sweep's."""

    model_config = ConfigDict(extra="allow")

    strategies: Names | None = None
    devices: Counts | None = None

    @property
    def options(self) -> dict[str, Any]:
        return self.model_extra or {}


class SweepFile(BaseModel):
    """A sweep: all combinations of models, data sets, strategies, device counts and repeats; or, of
    a ``program`` of one's own, device counts and repeats.

    Device counts are ``devices``, or the powers of two up to ``max_devices``, or to what there
    is. ``settings`` holds for all models, a model's own entry before it, which may have strategies
    and device counts of its own too. Without ``repeats`` there are as many as the analysis wants
    for a 95 % interval without assumptions.
    """

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    repeats: Annotated[int, Field(ge=1, le=1000)] = 6
    devices: Counts | None = None
    max_devices: Annotated[int, Field(ge=1, strict=True)] | None = None
    datasets: Names = ["auto"]
    strategies: list[str] = []
    scaling: Annotated[list[Literal["weak", "strong"]], Field(min_length=1)] = ["weak"]
    settings: dict[str, Any] = {}
    models: list[ModelOfSweep] = []
    program: Program | None = None

    @model_validator(mode="after")
    def _of_models_or_a_program(self) -> "SweepFile":
        of_models = {"datasets", "strategies", "settings", "models"}
        if self.program:
            for name in sorted(of_models & self.model_fields_set):
                raise ValueError(f"{name} is of the models of this project, and a program has none")
        else:
            if not self.models:
                raise ValueError("models is missing or empty")
            if not self.strategies and not all(model.strategies for model in self.models):
                raise ValueError("strategies is missing or empty")
        if "devices" in self.settings:
            raise ValueError("devices is set for the whole sweep, at the top of the file")
        for values in (self.settings, *(model.options for model in self.models)):
            for name in _BY_LISTS.keys() & values.keys():
                raise ValueError(
                    f"{name} is set by {_BY_LISTS[name]}, a list, not among settings or a model's"
                )
        return self

    def device_counts(self, there: int) -> list[int]:
        """All device counts of the sweep where there are ``there`` devices."""
        own = [count for model in self.models for count in model.devices or ()]
        all_own = bool(self.models) and all(model.devices for model in self.models)
        return sorted({*own, *(() if all_own else self._shared_counts(there))})

    def counts_of(self, model: ModelOfSweep, there: int, only: Sequence[int] = ()) -> list[int]:
        """Those of one of its models; ``only`` are those of a part of the sweep, if not empty."""
        counts = sorted(set(model.devices)) if model.devices else self._shared_counts(there)
        if not only:
            return counts
        # Whoever asks for other counts means all models that have none of their own.
        return [n for n in only if n in counts] if model.devices else list(only)

    def _shared_counts(self, there: int) -> list[int]:
        if self.devices:
            return sorted(set(self.devices))
        last = min(self.max_devices or there, there)
        return [1 << power for power in range(last.bit_length())]


@dataclass(frozen=True)
class PlannedRun:
    """One run of a sweep and the folder that its files go to."""

    config: RunConfig | ProgramConfig
    folder: Path
    # Of the data found here; 0 where it was not looked for.
    train_samples: int = 0

    def __str__(self) -> str:
        kind = self.kind
        framework = "" if kind.framework == DEFAULT_FRAMEWORK else f" {kind.framework}"
        scaling = " strong" if kind.scaling == "strong" else ""
        count = f"x{self.devices}{scaling} repeat {self.config.repeat}"
        return f"{kind.model}{framework} {kind.strategy} {count}"

    @property
    def devices(self) -> int:
        return self.config.devices or 1

    @property
    def kind(self) -> "Kind":
        config = self.config
        if isinstance(config, ProgramConfig):
            return Kind(config.name, config.data, PROGRAM, PROGRAM, config.scaling)
        return Kind(
            MODELS[config.model].name,
            config.dataset,
            config.framework,
            config.strategy,
            config.scaling,
        )


@dataclass(frozen=True, order=True)
class Kind:
    """What the runs of one row of a sweep's tables have in common, beside the device count."""

    model: str
    dataset: str
    framework: str
    strategy: str
    scaling: str


@dataclass(frozen=True)
class Plan:
    """The runs in the order in which they are run, and what was left out and why."""

    runs: list[PlannedRun]
    left_out: list[str]


def read_sweep(path: Path) -> SweepFile:
    """The sweep of a TOML file, or of a name in ``jobs/sweeps`` (one's own, or ours).

    Raises ConfigError with the file's name.
    """
    known = {sweep.stem: sweep for sweep in job_files("sweeps")}
    if path.suffix != ".toml":
        if str(path) not in known:
            raise unknown_name("sweep", str(path), list(known))
        path = known[str(path)]
    elif not path.exists():
        raise ConfigError(
            f"there is no sweep file {path}; by name there are {', '.join(known)}, of which "
            f"hpcbench sweep init makes copies to edit"
        )
    return read_toml(SweepFile, path, "sweep file")


def make_plan(
    sweep: SweepFile,
    results: Path,
    machine: Machine,
    data_dir: Path | None = None,
    devices: Sequence[int] | None = None,
    may_download: bool = True,
) -> Plan:
    """All runs of ``sweep`` on ``machine``; ``devices`` stands in for the sweep's own counts. Data
    that are not here are downloaded where that ``may`` be.

    Repeats are blocks, each in the order of :func:`in_order`. Raises ConfigError for a bad setting.
    """
    find = cache(
        lambda model, name, size, made_up, least: locate_for(
            MODELS[model], name, data_dir, size, made_up, may_download, least
        )
    )
    left_out: dict[str, None] = {}
    runs: dict[str, PlannedRun] = {}
    if sweep.program:
        counts = devices or sweep.device_counts(machine.max_devices)
        return Plan(_of_program(sweep.program, sweep, counts, results, machine), [])
    for repeat in range(sweep.repeats):
        block = []
        for values in _combinations(sweep, machine.max_devices, devices or ()):
            reason = _unfit(values, machine)
            if reason:
                left_out[reason] = None
                continue
            strategy = STRATEGIES[values["strategy"]]
            values |= {"repeat": repeat}
            values.setdefault("exchange", strategy.default_exchange(machine.gpus))
            if machine.cores_per_device:
                values.setdefault("cores_per_device", machine.cores_per_device)
            config = with_input(with_digest(parse(RunConfig, values)), data_dir)
            FRAMEWORKS[config.framework].check_model(config.model)
            made_up = config.input == "synthetic"
            replicas = (config.devices or 1) // strategy.devices_per_replica
            least = batches(config, replicas)[1] if made_up else 1
            source = find(config.model, config.dataset, config.sample_size, made_up, least)
            config = config.model_copy(update={"dataset": source.spec.name})
            make_schedule(config, replicas, source.train_samples)
            folder = results / sweep.name / config.run_id
            block.append(PlannedRun(config, folder, source.train_samples))
        runs |= {run.config.run_id: run for run in in_order(block, repeat)}
    return Plan(list(runs.values()), list(left_out))


def _of_program(
    program: Program, sweep: SweepFile, counts: Sequence[int], results: Path, machine: Machine
) -> list[PlannedRun]:
    """The runs of a program, repeat by repeat."""
    runs: dict[str, PlannedRun] = {}
    for repeat in range(sweep.repeats):
        block = []
        for scaling in sweep.scaling:
            for count in counts:
                of_run: dict[str, Any] = {"devices": count, "scaling": scaling, "repeat": repeat}
                of_run |= {"cores_per_device": machine.cores_per_device}
                config = parse(ProgramConfig, program.model_dump() | of_run)
                # Whether such a batch can be shared is known before anything is started.
                _ = config.batches
                block.append(PlannedRun(config, results / sweep.name / config.run_id))
        runs |= {run.config.run_id: run for run in in_order(block, repeat)}
    return list(runs.values())


def in_order(block: Sequence[Item], repeat: int) -> list[Item]:
    """What a repeat holds, in random order; each second repeat goes backwards through the order of
    the one before it. A machine that drifts then does not look like one that scales, and what a
    steady drift adds in one repeat of such a pair it takes away in the other.

    The order is drawn from fixed seeds, so that a plan is the same wherever it is made.
    """
    order = list(block)
    random.Random(repeat // 2).shuffle(order)
    return order[::-1] if repeat % 2 else order


def _unfit(values: dict[str, Any], machine: Machine) -> str:
    """Why there is no such run; empty where there is one."""
    strategy, count = STRATEGIES[values["strategy"]], values["devices"]
    if not strategy.fits(count, machine.devices_per_node):
        where = "one node" if strategy.fits(2, 2) else "one device"
        return f"{strategy.name} on {count} devices: it runs on {where}"
    model = MODELS[values["model"]]
    if strategy.devices_per_replica not in model.devices_per_replica:
        return f"{strategy.name} with {model.name}: it cannot be split"
    framework = values.get("framework", DEFAULT_FRAMEWORK)
    if not strategy.supports(framework):
        of = " or ".join(strategy.frameworks or ())
        return f"{strategy.name} with {framework}: it is for {of}"
    return ""


def _combinations(sweep: SweepFile, there: int, only: Sequence[int]) -> list[dict[str, Any]]:
    return [
        {"dataset": dataset, "scaling": scaling}
        | sweep.settings
        | model.options
        | {"strategy": strategy, "devices": count}
        for model in sweep.models
        for dataset in sweep.datasets
        for scaling in sweep.scaling
        for strategy in model.strategies or sweep.strategies
        for count in sweep.counts_of(model, there, only)
    ]
