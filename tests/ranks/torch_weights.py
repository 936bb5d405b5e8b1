"""Trains PyTorch's network without dropout as one rank, and keeps the weights: one file a rank.

torch_weights.py FOLDER ACCUMULATE STRATEGY
"""

import sys
from pathlib import Path

import numpy as np
import torch

from hpcbench.config import RunConfig
from hpcbench.datasets import DATASETS, synthetic
from rank import connected, train, training_of

BATCH, SAMPLES = 32, 10 * 32 + 5

folder, parts, name = sys.argv[1:]
strategy = connected(name, framework="torch")
config = RunConfig(
    model="cnn-pytorch",
    framework="torch",
    precision="float64",
    optimizer="sgd",
    momentum=0.9,
    learning_rate=0.01,
    scaling="strong",
    batch=BATCH,
    accumulate=int(parts),
    epochs=1,
    train_samples=SAMPLES,
)
spec = DATASETS["mnist"]
training = training_of(config, spec, synthetic.arrays(spec, seed=0).first(SAMPLES, 100), strategy)
for module in training.backend.model.modules():
    if isinstance(module, torch.nn.Dropout):
        module.p = 0.0
train(training)
training.backend.gather()
# Of what is in parts rank 0 alone has the whole.
if strategy.rank == 0 or not strategy.shards:
    np.savez(Path(folder) / f"rank{strategy.rank}.npz", *training.backend.state())
strategy.all_gather([0.0])
