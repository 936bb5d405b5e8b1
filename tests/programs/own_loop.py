"""A loop of one's own, which says itself where its steps are."""

import time

import numpy as np

import hpcbench


def batches():
    random = np.random.default_rng(0)
    for _ in range(600):
        time.sleep(0.002)
        yield random.random((32, 100))


weights = np.zeros(100)
for number, batch in enumerate(hpcbench.steps(batches())):
    weights += batch.mean(axis=0)
    time.sleep(0.003)
    if number == 400:
        with hpcbench.phase("evaluation"):
            time.sleep(0.4)
print(weights.sum())
