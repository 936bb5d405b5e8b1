"""Trains a few steps on made-up data as one rank, and prints a hash of its weights."""

import hashlib
import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"

from hpcbench.config import RunConfig, schedule
from hpcbench.datasets import DATASETS, synthetic
from hpcbench.engine.checkpoint import Progress
from hpcbench.engine.training import Training
from hpcbench.frameworks import FRAMEWORKS
from hpcbench.launch import detect
from hpcbench.strategies import STRATEGIES

strategy_name, exchange = sys.argv[1:]
launch = detect(os.environ)
config = RunConfig(strategy=strategy_name, exchange=exchange, epochs=1, train_samples=2600)
spec = DATASETS["mnist"]
plan = schedule(config, launch.size, spec.train_samples)
FRAMEWORKS["tensorflow"].prepare(1, 1, launch.local_rank)
strategy = STRATEGIES[strategy_name](launch, launch.size, exchange)
data = synthetic.arrays(spec, seed=0).first(plan.samples)
training = Training(config, plan, 0, spec, data, strategy, lambda: False)
for _ in training.run(Progress()):
    pass
digest = hashlib.sha256()
for value in training.backend.state():
    digest.update(value.tobytes())
strategy.gather([0.0])
print(f"\nrank {strategy.rank} weights {digest.hexdigest()}", flush=True)
