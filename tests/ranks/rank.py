"""What the programs of this folder share: each is one rank, without the trainer around it."""

import os

# Before a framework loads.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from hpcbench.cluster.launchers import detect
from hpcbench.config import RunConfig
from hpcbench.datasets import Arrays, DatasetSpec
from hpcbench.frameworks import FRAMEWORKS
from hpcbench.frameworks.backend import Workload
from hpcbench.schedule import make_schedule
from hpcbench.strategies import STRATEGIES, Strategy
from hpcbench.training.beside import Beside
from hpcbench.training.checkpoint import Progress
from hpcbench.training.loop import NOTHING_BESIDE, Training

SIZE = detect(os.environ).size


def connected(
    name: str, exchange: str = "", devices: int = SIZE, framework: str = "tensorflow"
) -> Strategy:
    """This rank under the strategy ``name``, on one core a device."""
    launch, kind = detect(os.environ), STRATEGIES[name]
    FRAMEWORKS[framework].prepare(1, kind.devices_of_process(devices), launch.local_rank)
    return kind(launch, devices, exchange or kind.default_exchange(gpus=False) or "none")


def training_of(
    config: RunConfig,
    spec: DatasetSpec,
    data: Arrays,
    strategy: Strategy,
    seed: int = 0,
    beside: Beside = NOTHING_BESIDE,
) -> Training:
    """A model ready to train on ``data``."""
    schedule = make_schedule(config, strategy.world_size, len(data.train_targets))
    data = data.first(schedule.samples)
    return Training(Workload(config, schedule, seed, spec, data, strategy), beside=beside)


def train(training: Training) -> list:
    """All rows of a training from its first step to its last."""
    return [row for row, _ in training.run(Progress())]
