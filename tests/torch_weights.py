"""Trains PyTorch's network without dropout as one rank, and keeps the weights: one file a rank."""

import os
import sys
from pathlib import Path

import numpy as np
import torch

from hpcbench.config import RunConfig, schedule
from hpcbench.datasets import DATASETS, synthetic
from hpcbench.engine.checkpoint import Progress
from hpcbench.engine.training import Training
from hpcbench.frameworks import FRAMEWORKS
from hpcbench.launch import detect
from hpcbench.strategies import choose

BATCH, SAMPLES = 32, 10 * 32 + 5


def main() -> None:
    launch = detect(os.environ)
    config = RunConfig(
        model="cnn-pytorch", framework="torch", precision="float64", optimizer="sgd", momentum=0.9,
        learning_rate=0.01, scaling="strong", batch=BATCH, epochs=1, train_samples=SAMPLES,
    )  # fmt: skip
    spec = DATASETS["mnist"]
    plan = schedule(config, launch.size, spec.train_samples)
    FRAMEWORKS["torch"].prepare(1, 1, launch.local_rank)
    strategy = choose(config, launch, 0)(launch, launch.size, "buckets")
    data = synthetic.arrays(spec, seed=0).first(SAMPLES)
    training = Training(config, plan, 0, spec, data, strategy, lambda: False)
    for module in training.backend.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    for _ in training.run(Progress()):
        pass
    np.savez(Path(sys.argv[1]) / f"rank{strategy.rank}.npz", *training.backend.state())
    strategy.gather([0.0])


if __name__ == "__main__":
    main()
