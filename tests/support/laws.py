"""What devices cost by known laws, and counts made with them."""

import numpy as np

from hpcbench.analysis.fitting import Counts

SEVEN = (1, 2, 4, 8, 16, 32, 64)


def amdahl(n, serial):
    """What N devices take of the work, times N, over what one takes; the others likewise."""
    return 1 + serial * (n - 1)


def gustafson(n, serial):
    return n / (serial + (1 - serial) * n)


def usl(n, contention, coherency):
    return 1 + contention * (n - 1) + coherency * n * (n - 1)


def counts(cost, devices, noise, seed=0, repeats=6, devices_a_node=1.0):
    """Of runs at 100 samples a second and device that ``cost(devices, nodes)``."""
    n = np.array(devices, float)
    nodes = np.ceil(n / devices_a_node)
    generator = np.random.default_rng(seed)
    logs = np.log(100 * n / cost(n, nodes))[:, None]
    logs = logs + noise * generator.standard_normal((len(n), repeats))
    freedom = len(n) * (repeats - 1)
    return Counts(
        devices=n,
        nodes=nodes,
        logs=logs.mean(axis=1),
        medians=np.exp(np.median(logs, axis=1)),
        runs=np.full(len(n), float(repeats)),
        variance=logs.var(axis=1, ddof=1).mean(),
        freedom=freedom,
        level=0.0,
    )
