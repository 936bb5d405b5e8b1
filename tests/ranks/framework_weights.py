"""Trains a network in float64 as one rank from given weights; what they become is in a file a rank.

framework_weights.py FRAMEWORK STRATEGY DEVICES ROUNDS FOLDER [MODEL [OPTIMIZER]]

The global batch is 32 for any number of devices, and the last step has 5 samples, so that all
frameworks and strategies compute the same; ROUNDS are those of phases timed beside training. MODEL
is fc-64 or bert-base at its small size, whose weights stand in another order in PyTorch.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from hpcbench.config import RunConfig
from hpcbench.datasets import DATASETS, synthetic
from hpcbench.datasets.masking import MASK
from hpcbench.training.beside import Beside
from rank import connected, train, training_of
from small_models import add_small

BATCH, SAMPLES = 32, 10 * 32 + 5

arguments = [*sys.argv[1:], *("fc-64", "sgd")[len(sys.argv) - 6 :]]
framework, name, devices, rounds, folder, model = arguments[:6]
strategy = connected(name, devices=int(devices), framework=framework)
add_small()
spec = DATASETS["mnist"]
if model == "bert-base":
    of_tokens = {"input_shape": (16,), "words": MASK + 1, "outputs": MASK + 1}
    spec = replace(DATASETS["masked-tokens"], **of_tokens)
config = RunConfig(
    model=model if model == "fc-64" else f"small-{model}",
    framework=framework,
    precision="float64",
    optimizer=arguments[6],
    momentum=0.5,
    # Exact in float32, to which TensorFlow's side rounds it.
    learning_rate=0.125,
    scaling="strong",
    batch=BATCH,
    epochs=2,
    train_samples=SAMPLES,
    interval_steps=3,
)
data = synthetic.arrays(spec, seed=0).first(SAMPLES, 100)
beside = Beside(int(rounds), strategy.rank == 0)
training = training_of(config, spec, data, strategy, beside=beside)
generator = np.random.default_rng(0)
# Weights, then what the optimizer keeps of each, or of all in one.
training.backend.gather()
state = training.backend.state()
count = len(state) - 1 if name == "zero-1" else len(state) // 2
given = [generator.normal(0, 0.05, value.shape) for value in state[:count]]
training.backend.restore([*given, *state[count:]])
training.backend.broadcast_state()
training.warm_up()
train(training)
training.backend.gather()
np.savez(Path(folder) / f"rank{strategy.rank}.npz", *training.backend.state())
strategy.all_gather([0.0])
