"""python -m hpcbench.train: one run, alone or as one rank of horovodrun, mpirun or srun."""

import os
import platform
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass

from hpcbench import launch as launching
from hpcbench.binding import bind_cores
from hpcbench.checkup import Asked
from hpcbench.cli import Parser, add_flags, given
from hpcbench.config import (
    SHORT_BENCHMARK_EPOCHS,
    OutputConfig,
    RunConfig,
    Schedule,
    parse,
    schedule,
)
from hpcbench.datasets import DATASETS
from hpcbench.datasets.sources import Source, locate_for
from hpcbench.doctor import before_training
from hpcbench.errors import ConfigError, HpcbenchError
from hpcbench.frameworks import FRAMEWORKS, check_framework
from hpcbench.models import MODELS
from hpcbench.records.writer import ensure_writable
from hpcbench.strategies import STRATEGIES, Strategy, choose


@dataclass(frozen=True)
class Checked:
    """All that is known before the framework loads."""

    config: RunConfig
    output: OutputConfig
    launch: launching.Launch
    strategy: type[Strategy]
    plan: Schedule
    source: Source


def parse_arguments(arguments: Sequence[str] | None) -> tuple[RunConfig, OutputConfig]:
    parser = Parser(
        prog="python -m hpcbench.train",
        description="Train one model and measure it. Without arguments: a short benchmark.",
        epilog="exit status: 0 done, 2 bad arguments, 3 the environment lacks something, "
        "4 the training failed, 75 stopped with a checkpoint to resume from",
    )
    add_flags(
        parser, RunConfig,
        model="|".join(MODELS.names()),
        framework="|".join(FRAMEWORKS.names()),
        dataset="auto|" + "|".join(DATASETS.names()),
        strategy="auto|" + "|".join(STRATEGIES.names()),
    )  # fmt: skip
    add_flags(parser, OutputConfig)
    arguments_given = parser.parse(arguments)
    values = given(arguments_given, RunConfig)
    if "model" not in values and "epochs" not in values:
        values["epochs"] = SHORT_BENCHMARK_EPOCHS
    return parse(RunConfig, values), parse(OutputConfig, given(arguments_given, OutputConfig))


def check(config: RunConfig, output: OutputConfig) -> Checked:
    """Everything that can be checked before the framework loads; raises HpcbenchError."""
    model = MODELS[config.model]
    if output.mllog and (config.target is None or output.resume):
        raise ConfigError(
            "--mllog times training to a --target in one piece: give one, and no --resume"
        )
    check_framework(config).check(config, output)
    launch = launching.detect(os.environ)
    gpus = launching.visible_gpus(os.environ)
    strategy = choose(config, launch, gpus)
    cores = len(launching.available_cores())
    world_size = strategy.check(config, launch, gpus, cores)
    source = locate_for(
        model, config.dataset, output.data_dir, config.image_size, config.input == "synthetic"
    )
    if config.augmentations and source.spec.kind != "images":
        raise ConfigError(f"--augment changes images, and {source.spec.name} holds none")
    plan = schedule(config, world_size, source.train_samples)
    if launch.rank == 0:
        ensure_writable(output.results)
        asked = Asked(config.model, results=output.results)
        before_training(asked, horovod=strategy.name == "horovod", alone=launch.size == 1)
    # What "auto" came to is part of what was measured.
    config = config.model_copy(update={
        "dataset": source.spec.name,
        "strategy": strategy.name,
        "devices": world_size * strategy.devices_per_replica,
        "exchange": config.exchange or strategy.default_exchange(),
    })  # fmt: skip
    return Checked(config, output, launch, strategy, plan, source)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status as the module's help lists them."""
    try:
        checked = check(*parse_arguments(arguments))
    except HpcbenchError as error:
        if launching.detect(os.environ).local_rank == 0:
            print(f"hpcbench: {error}", file=sys.stderr)
        return error.exit_status
    try:
        # The framework's threads inherit the binding.
        cores = bind_cores(checked.launch, checked.config, checked.strategy.needs_launcher)
        from hpcbench.engine.session import run

        run(checked, cores)
    except HpcbenchError as error:
        return _end(checked, error.exit_status, str(error), everywhere=error.on_all_ranks)
    except KeyboardInterrupt:
        return _end(checked, 130, "interrupted; the rows measured so far are kept", True)
    except Exception as error:
        # A fault of the harness itself: the other ranks must not wait for this one for ever.
        traceback.print_exc()
        return _end(checked, 4, f"unexpected {type(error).__name__}: {error}", everywhere=False)
    return 0


def _end(checked: Checked, status: int, message: str, everywhere: bool) -> int:
    """Say why a run failed and leave, without waiting for ranks that may never answer."""
    launch = checked.launch
    if launch.rank == 0 or not everywhere:
        rank = f"rank {launch.rank} on {platform.node()}: " if launch.rank else ""
        print(f"hpcbench: {rank}{message}", file=sys.stderr)
    sys.stderr.flush()
    sys.stdout.flush()
    if launch.size > 1:
        # Python's and MPI's own farewells would meet the other ranks, which may be stuck.
        os._exit(status)
    return status


if __name__ == "__main__":
    sys.exit(main())
