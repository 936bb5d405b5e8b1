"""Trains a few steps on made-up data as one rank, by exchange; prints a hash of its weights."""

import hashlib
import sys

from hpcbench.config import RunConfig
from hpcbench.datasets import DATASETS, synthetic
from rank import connected, train, training_of

name, *exchanges = sys.argv[1:]
spec = DATASETS["mnist"]
for exchange in exchanges:
    strategy = connected(name, exchange)
    config = RunConfig(strategy=name, exchange=exchange, epochs=1, train_samples=2600)
    training = training_of(config, spec, synthetic.arrays(spec, seed=0), strategy)
    train(training)
    digest = hashlib.sha256()
    for value in training.backend.state():
        digest.update(value.tobytes())
    strategy.all_gather([0.0])
    print(f"\nrank {strategy.rank} {exchange} weights {digest.hexdigest()}", flush=True)
