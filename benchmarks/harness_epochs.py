"""Epochs under this harness, one after the other, for benchmarks that hold it against others."""

import time
from collections.abc import Iterator

from hpcbench.cluster.launchers import Launch
from hpcbench.config import RunConfig
from hpcbench.datasets.sources import locate
from hpcbench.frameworks.backend import Workload
from hpcbench.records.schema import AccuracyRow, ThroughputRow
from hpcbench.runs.observers.console import TrainingProgress
from hpcbench.schedule import make_schedule
from hpcbench.strategies.single import Single
from hpcbench.training.checkpoint import Progress
from hpcbench.training.loop import Training

ENDLESS = 1_000_000


def harness(config: RunConfig) -> Iterator[float]:
    """Seconds of one epoch after the other, with what happens between its steps but without its
    evaluation; the framework has to be prepared."""
    config = config.model_copy(update={"epochs": ENDLESS})
    source, strategy = locate("auto"), Single(Launch(), 1, "none")
    schedule = make_schedule(config, 1, source.spec.train_samples)
    data = source.read().first(config.train_samples)
    training = Training(Workload(config, schedule, 0, source.spec, data, strategy))
    training.warm_up()
    shown = TrainingProgress(ENDLESS)
    shown.start(ENDLESS, 0)
    last = start = time.perf_counter()
    for row, _ in training.run(Progress()):
        if isinstance(row, AccuracyRow):
            shown.epoch(row)
            yield last - start
            start = time.perf_counter()
        elif isinstance(row, ThroughputRow):
            shown.interval(row)
            last = time.perf_counter()
