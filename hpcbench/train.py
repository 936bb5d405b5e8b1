"""hpcbench train: one run, alone or as one rank of horovodrun, mpirun, srun or torchrun."""

import argparse
import os
import sys
from collections.abc import Sequence

from hpcbench.checkup import CheckContext
from hpcbench.checkup.preflight import before_training
from hpcbench.cli import Parser, add_flags, values_of
from hpcbench.config import SHORT_BENCHMARK_EPOCHS, OutputConfig, RunConfig
from hpcbench.datasets import DATASETS
from hpcbench.devices.cores import bind_cores
from hpcbench.errors import HpcbenchError
from hpcbench.frameworks import FRAMEWORKS
from hpcbench.models import MODELS
from hpcbench.packages import named
from hpcbench.records.writer import ensure_writable
from hpcbench.runs.ending import as_rank, refuse
from hpcbench.runs.resolve import ResolvedRun, resolve
from hpcbench.strategies import STRATEGIES
from hpcbench.validation import parse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = "Train one model and measure it. Without arguments: a short benchmark."
    parser.epilog = (
        "exit status: 0 done, 2 bad arguments, 3 the environment lacks something, 4 the training "
        "failed, 75 stopped with a checkpoint to resume from"
    )
    add_flags(
        parser,
        RunConfig,
        model="|".join(MODELS.names()),
        framework="|".join(FRAMEWORKS.names()),
        dataset="auto|" + "|".join(DATASETS.names()),
        strategy="auto|" + "|".join(STRATEGIES.names()),
    )
    add_flags(parser, OutputConfig)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status as the command's help lists them."""
    try:
        parser = Parser(prog="hpcbench train")
        add_arguments(parser)
        with named():
            resolved = _checked(parser.parse(arguments))
    except HpcbenchError as error:
        return refuse(error)

    def work() -> None:
        # The framework's threads inherit the binding.
        config, per_device = resolved.config, resolved.strategy.needs_launcher
        cores = bind_cores(
            resolved.launch, config.cores_per_device, config.devices or 1, per_device
        )
        from hpcbench.runs.session import run

        run(resolved, cores)

    return as_rank(resolved.launch, work)


def asked(args: argparse.Namespace) -> RunConfig:
    """The run that the command line asks for, a short benchmark where it names no model."""
    values = values_of(args, RunConfig)
    if not values.keys() & {"model", "epochs", "seconds"}:
        values["epochs"] = SHORT_BENCHMARK_EPOCHS
    return parse(RunConfig, values)


def _checked(args: argparse.Namespace) -> ResolvedRun:
    """The run, resolved; HpcbenchError where this machine cannot do it."""
    config, output = asked(args), parse(OutputConfig, values_of(args, OutputConfig))
    FRAMEWORKS[config.framework].set_environment()
    resolved = resolve(config, output, os.environ)
    if resolved.launch.rank == 0:
        ensure_writable(output.results)
        horovod, alone = resolved.strategy.name == "horovod", resolved.launch.size == 1
        before_training(CheckContext(config.model, results=output.results), horovod, alone)
    return resolved


if __name__ == "__main__":
    sys.exit(main())
