"""From what was asked for to a run of which all is known that the framework need not tell."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hpcbench.cluster.launchers import Launch, detect
from hpcbench.cluster.schedulers import Job, current_job
from hpcbench.config import OutputConfig, RunConfig
from hpcbench.datasets.sources import Source, locate_for, obtainable
from hpcbench.devices.cores import available_cores
from hpcbench.devices.gpus import visible_gpus
from hpcbench.errors import ConfigError
from hpcbench.frameworks import FRAMEWORKS, Framework
from hpcbench.models import MODELS, OF_TOKENS
from hpcbench.schedule import Schedule, batches, make_schedule
from hpcbench.strategies import STRATEGIES, Strategy
from hpcbench.terminal import warn


@dataclass(frozen=True)
class ResolvedRun:
    """All that is known before the framework loads."""

    config: RunConfig
    output: OutputConfig
    launch: Launch
    job: Job
    framework: Framework
    strategy: type[Strategy]
    schedule: Schedule
    source: Source

    @property
    def devices_of_process(self) -> int:
        return self.strategy.devices_of_process(self.schedule.world_size)


def resolve(config: RunConfig, output: OutputConfig, environment: Mapping[str, str]) -> ResolvedRun:
    """Check everything that can be checked before the framework loads; raises HpcbenchError."""
    asked, config = config, with_input(with_digest(config), output.data_dir)
    model = MODELS[config.model]
    if output.mllog and (config.target is None or output.resume):
        raise ConfigError(
            "--mllog times training to a --target in one piece: give one, and no --resume"
        )
    if output.mllog and config.seconds:
        raise ConfigError("--mllog times training to a --target, not for --seconds")
    framework = FRAMEWORKS[config.framework]
    framework.check(config, output)
    launch, gpus = detect(environment), visible_gpus(environment)
    strategy = choose(config, launch, gpus)
    world_size = strategy.check(config, launch, gpus, len(available_cores()))
    job = current_job(environment)
    source = locate_for(
        model,
        config.dataset,
        output.data_dir,
        config.sample_size,
        made_up=config.input == "synthetic",
        may_download=not job.task,
        least=batches(config, world_size)[1],
    )
    if source.spec.remark and launch.rank == 0:
        warn(source.spec.remark)
    if config.input != asked.input and launch.rank == 0:
        shape = " x ".join(map(str, source.spec.input_shape))
        warn(
            f"{source.spec.name} is not on this machine, so samples of {shape} are made up: rates "
            f"are measured, accuracies mean nothing"
        )
    if config.augmentations and source.spec.kind != "images":
        raise ConfigError(f"--augment changes images, and {source.spec.name} holds none")
    if config.accumulate > 1 and config.batchnorm == "sync":
        raise ConfigError(
            "--batchnorm sync is over the global batch, of which --accumulate sees a part at a "
            "time; choose one of them"
        )
    schedule = make_schedule(config, world_size, source.train_samples)
    # What "auto" came to is part of what is measured.
    settled = {
        "dataset": source.spec.name,
        "strategy": strategy.name,
        "devices": world_size * strategy.devices_per_replica,
        "exchange": config.exchange or strategy.default_exchange(gpus > 0),
    }
    return ResolvedRun(
        config.model_copy(update=settled),
        output,
        launch,
        job,
        framework,
        strategy,
        schedule,
        source,
    )


def choose(config: RunConfig, launch: Launch, gpus: int) -> type[Strategy]:
    """The strategy asked for; ``auto`` is Horovod (or DDP) where a launcher started several
    processes, mirrored where one process sees several devices, single otherwise."""
    if config.strategy != "auto":
        return STRATEGIES[config.strategy]
    framework = FRAMEWORKS[config.framework]
    if launch.size > 1:
        return STRATEGIES[framework.over_processes]
    several = gpus > 1 or (config.devices or 1) > 1
    return STRATEGIES[framework.over_devices if several else "single"]


def with_input(config: RunConfig, data_dir: Path | None) -> RunConfig:
    """``config`` with made-up samples where the model's data are nowhere on this machine and can
    only be asked for by hand, unless data or a way to read them were named. ConfigError for a size
    that is not of what the model takes."""
    wrong = "image_size" if MODELS[config.model].kind in OF_TOKENS else "sequence_length"
    if getattr(config, wrong):
        raise ConfigError(
            f"--{wrong.replace('_', '-')} is not for model {config.model}, which takes "
            f"{MODELS[config.model].kind}"
        )
    named = config.dataset != "auto" or data_dir or "input" in config.model_fields_set
    if named or any(obtainable(name) for name in MODELS[config.model].datasets):
        return config
    return config.model_copy(update={"input": "synthetic"})


def with_digest(config: RunConfig) -> RunConfig:
    """``config`` with the digest of the file that defines its model, where a file does.

    Raises ConfigError where it has another digest than the configuration says.
    """
    source = MODELS.source(config.model)
    if source is None:
        return config
    if config.model_digest not in (None, source.digest):
        raise ConfigError(
            f"{source.file} has changed since this run was planned; plan and submit it anew"
        )
    return config.model_copy(update={"model_digest": source.digest})
