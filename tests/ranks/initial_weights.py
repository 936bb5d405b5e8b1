"""Saves what models start from, in float32 and float64, of a small one where it is large.

initial_weights.py FRAMEWORK FILE MODEL...
"""

import sys
from dataclasses import replace

import numpy as np

from hpcbench.config import RunConfig
from hpcbench.datasets import synthetic
from hpcbench.models import MODELS
from rank import connected, training_of
from small_models import add_small, small, small_data

framework, file, *names = sys.argv[1:]
strategy = connected("single", devices=1, framework=framework)
add_small()
found = {}
for precision in ("float32", "float64"):
    for name in names:
        spec = replace(small_data(MODELS[name]), train_samples=4, test_samples=2)
        chosen = {"model": small(name).name, "framework": framework, "precision": precision}
        training = training_of(
            RunConfig(**chosen, batch=2), spec, synthetic.arrays(spec, seed=0), strategy, seed=1
        )
        weights = training.backend.model.get_weights()
        found[f"{name} {precision}"] = np.concatenate([weight.ravel() for weight in weights])
np.savez(file, **found)
