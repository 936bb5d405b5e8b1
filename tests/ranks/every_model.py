"""Trains every model that a framework has for three epochs as one rank, and prints their losses.

every_model.py STRATEGY DEVICES [FRAMEWORK [MODEL...]]

A model that cannot be trained is a line with its error; the others are trained all the same. Of
large ones a small one of the same layers is trained.
"""

import json
import sys
from typing import Any

import numpy as np

from hpcbench.config import RunConfig
from hpcbench.datasets import Arrays, DatasetSpec
from hpcbench.datasets.masking import TRAIN as TRAIN_PART
from hpcbench.datasets.masking import masked_rows
from hpcbench.models import MASKED_TOKENS, MODELS, ModelSpec
from hpcbench.records.schema import AccuracyRow
from rank import connected, train, training_of
from small_models import add_small, family, small, small_data

TRAIN, TEST, BATCH = 384, 64, 32
# Of the networks that take long: few samples, and no partial step, which is one more graph to make.
FEW = {"fields": (8, 4), "inception": (64, 8)}
# Some steps are too few for the rates of long trainings, or too large at their start.
RATES = {"unet": 1e-3, "gpt": 1e-2, "bert": 1e-2, "inception": 1e-4}


def learnable(spec: DatasetSpec) -> Arrays:
    """Samples of which a network can learn the answer, in the shape of ``spec``."""
    if spec.kind == "fields":
        storms = spec.read([])
        inputs, targets = storms.test_inputs[:4], storms.test_targets[:4]
        return Arrays(storms.train_inputs[:TRAIN], storms.train_targets[:TRAIN], inputs, targets)
    generator = np.random.default_rng(0)
    count = TRAIN + TEST
    if spec.kind == "tokens":
        # Each token is the one before it and one more.
        first = generator.integers(0, spec.words, (count, 1))
        tokens = (first + np.arange(spec.input_shape[0] + 1)) % spec.words
        inputs, targets = tokens[:, :-1].astype(np.int32), tokens[:, 1:].astype(np.int32)
        return Arrays(inputs[:TRAIN], targets[:TRAIN], inputs[TRAIN:], targets[TRAIN:])
    if spec.kind == MASKED_TOKENS:
        # A sample is the same word over and over.
        words = generator.integers(1, spec.words, (count, 1), np.int32)
        rows = np.broadcast_to(words, (count, *spec.input_shape))
        inputs, targets = masked_rows(rows, spec.words, 0, TRAIN_PART)
        return Arrays(inputs[:TRAIN], targets[:TRAIN], inputs[TRAIN:], targets[TRAIN:])
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


name, devices, framework, *only = [*sys.argv[1:], "tensorflow"][: max(3, len(sys.argv) - 1)]
strategy = connected(name, devices=int(devices), framework=framework)


def losses_of(model: ModelSpec) -> dict[str, Any]:
    """The training loss after each epoch, and the metric's name."""
    spec = small_data(model)
    samples, batch = FEW.get(family(model), (TRAIN, BATCH))
    config = RunConfig(
        model=small(model.name).name,
        framework=framework,
        strategy=name,
        epochs=3,
        train_samples=samples,
        batch=batch,
        learning_rate=RATES.get(family(model)),
        # Steps without exchange are a graph of their own, whose making takes long.
        no_exchange_intervals=0,
        warmup_steps=1,
    )
    training = training_of(config, spec, learnable(spec), strategy, seed=1)
    rows = [row for row in train(training) if isinstance(row, AccuracyRow)]
    return {"losses": [row.train_loss for row in rows], "metric": rows[0].metric}


every = list(MODELS)
add_small()
for model in every:
    if framework not in model.frameworks or (only and model.name not in only):
        continue
    try:
        found = losses_of(model)
    except Exception as error:
        found = {"error": f"{type(error).__name__}: {error}"[:500]}
    if strategy.rank == 0:
        print("\n" + json.dumps({"model": model.name} | found))
    sys.stdout.flush()
strategy.all_gather([0.0])
