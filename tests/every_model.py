"""Trains every model of the registry for three epochs as one rank, and prints their losses."""

import json
import os
import sys
from dataclasses import replace

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"

import numpy as np

from hpcbench.config import RunConfig, schedule
from hpcbench.datasets import DATASETS, Arrays, DatasetSpec
from hpcbench.engine.checkpoint import Progress
from hpcbench.engine.training import Training
from hpcbench.frameworks import FRAMEWORKS
from hpcbench.launch import detect
from hpcbench.models import MODELS
from hpcbench.records.schema import AccuracyRow
from hpcbench.strategies import STRATEGIES

TRAIN, TEST, BATCH = 384, 64, 32


def learnable(spec: DatasetSpec) -> Arrays:
    """Samples of which a network can learn the answer, in the shape of ``spec``."""
    if spec.kind == "fields":
        storms = spec.read([])
        inputs, targets = storms.test_inputs[:TEST], storms.test_targets[:TEST]
        return Arrays(storms.train_inputs[:TRAIN], storms.train_targets[:TRAIN], inputs, targets)
    generator = np.random.default_rng(0)
    count = TRAIN + TEST
    targets = (np.arange(count) % max(2, spec.outputs)).astype(np.int32)
    first = targets.reshape(-1, *[1] * len(spec.input_shape))
    noise = generator.integers(0, 20, (count, *spec.input_shape))
    if spec.kind == "images":
        inputs = (20 * (first % 10) + noise).astype(np.uint8)
    elif spec.kind == "texts":
        inputs = (1 + 20 * first + noise).astype(np.int32)
    else:
        inputs = generator.normal(size=(count, *spec.input_shape)).astype(np.float32)
        targets = (20 + inputs.sum(axis=1)).astype(np.float32)
    return Arrays(inputs[:TRAIN], targets[:TRAIN], inputs[TRAIN:], targets[TRAIN:])


name, devices = sys.argv[1], int(sys.argv[2])
launch = detect(os.environ)
kind = STRATEGIES[name]
FRAMEWORKS["tensorflow"].prepare(1, kind.devices_of_process(devices), launch.local_rank)
strategy = kind(launch, devices, kind.default_exchange() or "none")
for model in MODELS:
    # AlexNet on the least that its strides and pools leave a pixel of.
    spec = DATASETS[model.datasets[-1]]
    if spec.name == "imagenet":
        spec = replace(spec, input_shape=(67, 67, 3), outputs=10)
    samples, batch = TRAIN, BATCH
    if model.kind == "fields":
        # Few storms of few pixels, since the full network takes its time.
        spec = spec.resized(spec, 32)
        samples, batch = TRAIN // 4, BATCH // 4
    config = RunConfig(
        model=model.name, strategy=name, epochs=3, train_samples=samples, batch=batch
    )
    plan = schedule(config, devices, TRAIN)
    training = Training(config, plan, 1, spec, learnable(spec), strategy, lambda: False)
    rows = [row for row, _ in training.run(Progress()) if isinstance(row, AccuracyRow)]
    if strategy.rank == 0:
        losses = [row.train_loss for row in rows]
        print("\n" + json.dumps({"model": model.name, "losses": losses, "metric": rows[0].metric}))
    sys.stdout.flush()
strategy.gather([0.0])
