"""One DDP rank of a network whose exchange is long: by how much it makes a step longer, as the
phases beside training say and as PyTorch's profiler sees it. Rank 0 prints both, in seconds."""

import json
from collections.abc import Iterable

import numpy as np
from torch import nn
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile

from hpcbench.config import RunConfig
from hpcbench.datasets import DATASETS, synthetic
from hpcbench.frameworks.backend import Exchange
from hpcbench.models import MODELS, ModelSpec
from hpcbench.records.schema import PHASE_NO_EXCHANGE, PHASE_TRAIN
from hpcbench.training.beside import Beside
from hpcbench.training.checkpoint import Progress
from rank import connected, training_of

BATCH, STEPS = 64, 10
SAMPLES = 2 * BATCH * 40


def build(input_shape, outputs):
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, outputs))


def length(events: Iterable[FunctionEvent]) -> float:
    """Microseconds in which at least one of ``events`` goes on."""
    total, until = 0.0, float("-inf")
    for start, end in sorted((event.time_range.start, event.time_range.end) for event in events):
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return total


def hands_gradients_over(event: FunctionEvent | None) -> bool:
    """Whether it is what DDP does to a gradient, which is below the graph's last nodes."""
    while event is not None and "AccumulateGrad" not in event.name:
        event = event.cpu_parent
    return event is not None


def exposed(exchange: Exchange) -> float:
    """Seconds of a step in which gradients are exchanged and nothing of the model runs."""
    order = np.zeros((STEPS, 1, BATCH), np.int32)
    with training.backend.put_back(), profile(activities=[ProfilerActivity.CPU]) as profiler:
        training.backend.steps(order, np.full(STEPS, 0.01), exchange=exchange)
    events = profiler.events()
    # So the process group names its own work, which is in threads beside the rank's.
    travels = [event for event in events if event.name.startswith("gloo:")]
    operations = [event for event in events if event.name.startswith("aten::")]
    of_model = [event for event in operations if not hands_gradients_over(event)]
    return (length([*travels, *operations]) - length(of_model)) / STEPS / 1e6


strategy = connected("ddp", framework="torch")
network = {"epochs": 1, "optimizer": "sgd", "learning_rate": 0.01, "batch": BATCH}
MODELS.add("long", ModelSpec(name="long", builders={"torch": build}, **network))
config = RunConfig(model="long", framework="torch", epochs=2, train_samples=SAMPLES)
data = synthetic.arrays(DATASETS["mnist"], seed=0).first(SAMPLES, 100)
training = training_of(config, DATASETS["mnist"], data, strategy, beside=Beside(rounds=4))
training.warm_up()
seconds, seen = {PHASE_TRAIN: [], PHASE_NO_EXCHANGE: []}, []
for row, _ in training.run(Progress()):
    # Rows of ranks; those of all ranks together have no steps of each.
    if getattr(row, "phase", None) in seconds and isinstance(row.seconds, tuple):
        seconds[row.phase].append(max(row.seconds) / row.steps)
    if getattr(row, "phase", None) == PHASE_NO_EXCHANGE:
        seen.append([exposed(Exchange.GRADIENTS), exposed(Exchange.NONE)])
with_it, without_it = np.median(seen, axis=0).tolist()
longer = np.median(seconds[PHASE_TRAIN]) - np.median(seconds[PHASE_NO_EXCHANGE])
told = {"phases": longer, "profiler": with_it, "profiler_without": without_it}
if strategy.rank == 0:
    print(json.dumps(told))
strategy.all_gather([0.0])
