"""A training in PyTorch that knows of this project its network alone, and prints its own rate.

    python benchmarks/plain_program.py {mlp,cnn-pytorch} EPOCHS

Images are made up and in memory; a core. Printed is the rate of all epochs but the first.
"""

import os
import random
import statistics
import sys
import time

import torch
from torch import nn
from torch.nn.functional import cross_entropy

SAMPLES, BATCH = 6400, 64


def network(name: str) -> nn.Module:
    """A small one of about a millisecond a step, or PyTorch's MNIST example as it is built here."""
    if name == "mlp":
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))
    from hpcbench.models import MODELS

    model: nn.Module = MODELS[name].builders["torch"]((28, 28, 1), 10)
    return model


def main(name: str, epochs: int) -> None:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    torch.set_num_threads(1)
    torch.manual_seed(0)
    # As this project's trainer has them: bytes.
    images = torch.randint(0, 256, (SAMPLES, 1, 28, 28), dtype=torch.uint8)
    labels = torch.randint(0, 10, (SAMPLES,))
    model = network(name)
    optimizer: torch.optim.Optimizer = torch.optim.Adadelta(model.parameters(), 1.0)
    if name == "mlp":
        # Of labels at random the other's sums become numbers so small that processors are slow.
        optimizer = torch.optim.SGD(model.parameters(), 0.001)
    # With the probe there, it is kept from counting in every second epoch, in random order.
    probe = sys.modules.get("hpcbench_probe") if "ALTERNATE" in os.environ else None
    counting = [epoch % 2 == 0 for epoch in range(epochs)]
    random.Random(0).shuffle(counting)
    took: dict[bool, list[float]] = {True: [], False: []}
    start, right = 0.0, torch.zeros((), dtype=torch.int64)
    for epoch in range(epochs):
        if epoch == 1:
            start = time.perf_counter()
        began = time.perf_counter()
        if probe:
            probe.recorder.by_steps = not counting[epoch]
        for chosen in torch.randperm(SAMPLES).split(BATCH):
            outputs = model(images[chosen].float() / 255)
            loss = cross_entropy(outputs, labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            right += (outputs.detach().argmax(1) == labels[chosen]).sum()
        took[counting[epoch]].append(time.perf_counter() - began)
    if probe:
        ratio = statistics.median(took[True][1:]) / statistics.median(took[False][1:])
        print(f"step counted / not: {ratio:.5f}")
    print(f"own clock: {(epochs - 1) * SAMPLES / (time.perf_counter() - start):.2f} samples/s")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
