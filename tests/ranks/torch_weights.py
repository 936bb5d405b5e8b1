"""Trains PyTorch's network without dropout as one rank, and keeps the weights: one file a rank.

torch_weights.py FOLDER ACCUMULATE
"""

import sys
from pathlib import Path

import numpy as np
import torch

from hpcbench.config import RunConfig
from hpcbench.datasets import DATASETS, synthetic
from rank import SIZE, connected, train, training_of

BATCH, SAMPLES = 32, 10 * 32 + 5

strategy = connected("ddp" if SIZE > 1 else "single", framework="torch")
config = RunConfig(
    model="cnn-pytorch",
    framework="torch",
    precision="float64",
    optimizer="sgd",
    momentum=0.9,
    learning_rate=0.01,
    scaling="strong",
    batch=BATCH,
    accumulate=int(sys.argv[2]),
    epochs=1,
    train_samples=SAMPLES,
)
spec = DATASETS["mnist"]
training = training_of(config, spec, synthetic.arrays(spec, seed=0).first(SAMPLES, 100), strategy)
for module in training.backend.model.modules():
    if isinstance(module, torch.nn.Dropout):
        module.p = 0.0
train(training)
np.savez(Path(sys.argv[1]) / f"rank{strategy.rank}.npz", *training.backend.state())
strategy.all_gather([0.0])
