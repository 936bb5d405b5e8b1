"""Trains networks in float64 on real digits as one rank, and keeps their weights in a file each.

    same_weights.py STRATEGY DEVICES FOLDER SAMPLES...

The global batch is 128 for any number of devices, so that all strategies compute the same.
"""

import sys
from pathlib import Path

import numpy as np

from hpcbench.config import RunConfig
from hpcbench.datasets.sources import locate
from rank import connected, train, training_of

# Rounding decides which side of ReLU's bend the many equal background pixels fall on, and Adam
# turns the rounding of a gradient near zero into a whole step: float32 paths soon part.
NETWORKS = {
    "fc-64": RunConfig(model="fc-64", precision="float64"),
    "cnn-strided-bn": RunConfig(model="cnn-strided-bn", precision="float64", batchnorm="sync"),
}

name, devices, folder, *samples = sys.argv[1:]
strategy = connected(name, devices=int(devices))
source = locate("auto")
data = source.read()
# Nobody looks at the accuracy, and in float64 to evaluate takes longer than these few steps.
data = data.first(None, 100)
for (network, config), count in zip(NETWORKS.items(), map(int, samples), strict=True):
    shared = {"strategy": name, "scaling": "strong", "batch": 128, "epochs": 1, "seed": 3}
    asked = config.model_copy(update=shared | {"train_samples": count})
    training = training_of(asked, source.spec, data, strategy, seed=3)
    train(training)
    if strategy.rank == 0:
        np.savez(Path(folder) / network, *training.backend.state())
strategy.all_gather([0.0])
