"""A training in PyTorch that knows of this project its network alone, and prints its own rate.

    python benchmarks/plain_program.py {mlp,cnn-pytorch} EPOCHS

Images are made up and in memory; a core. Printed is the rate of all epochs but the first. The small
network's come from a DataLoader, as most have them, the other's as this project's trainer has them.
"""

import os
import random
import statistics
import sys
import time
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset

SAMPLES, BATCH = 6400, 64
# Epochs before the probe's cost is measured.
FIRST = 7
# So many times the images make an epoch of the small network.
TIMES = 10


def network(name: str) -> nn.Module:
    """A small one of about a millisecond a step, or PyTorch's MNIST example as it is built here."""
    if name == "mlp":
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))
    from hpcbench.models import MODELS

    model: nn.Module = MODELS[name].builders["torch"]((28, 28, 1), 10)
    return model


class Repeated(Dataset[Tensor]):
    """The images ``TIMES`` over, a batch at a time."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return TIMES * SAMPLES

    def __getitems__(self, places: list[int]) -> tuple[Tensor, Tensor]:
        chosen = torch.tensor(places) % SAMPLES
        return self.images[chosen].float() / 255, self.labels[chosen]


def batches(name: str, images: Tensor, labels: Tensor) -> Iterable[tuple[Tensor, Tensor]]:
    if name == "mlp":
        data = Repeated(images, labels)
        return DataLoader(data, BATCH, shuffle=True, collate_fn=lambda batch: batch)
    each = torch.randperm(SAMPLES).split(BATCH)
    return ((images[chosen].float() / 255, labels[chosen]) for chosen in each)


def part(name: str) -> Any:
    """What the probe has for PyTorch under this name."""
    return getattr(sys.modules[f"hpcbench_probe.pytorch.{name}"], name)


def take_out(probe: Any) -> None:
    """Leave PyTorch as it is without the probe."""
    probe.recorder.pause(True)
    part("sparing").take_out()
    part("steps").unhook()


def put_back(probe: Any) -> None:
    probe.recorder.pause(False)
    part("sparing").put_back()


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
    # With the probe there, it is taken out for one of each two epochs after the first ones, by when
    # it has come to count most short steps only.
    probe = sys.modules.get("hpcbench_probe") if "ALTERNATE" in os.environ else None
    pairs = [random.sample([True, False], 2) for _ in range(epochs)]
    counting = [True] * FIRST + [one for pair in pairs for one in pair]
    took: dict[bool, list[float]] = {True: [], False: []}
    start, right, seen = 0.0, torch.zeros((), dtype=torch.int64), 0
    for epoch in range(epochs):
        if epoch == 1:
            start, seen = time.perf_counter(), 0
        if probe and epoch and counting[epoch] != counting[epoch - 1]:
            (put_back if counting[epoch] else take_out)(probe)
        model.train()
        began = time.perf_counter()
        iterator = iter(batches(name, images, labels))
        if probe and not counting[epoch] and hasattr(iterator, "_hpcbench"):
            iterator._hpcbench.watch(False)
        for inputs, targets in iterator:
            outputs = model(inputs)
            loss = cross_entropy(outputs, targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            right += (outputs.detach().argmax(1) == targets).sum()
            seen += len(targets)
        if epoch >= FIRST:
            took[counting[epoch]].append(time.perf_counter() - began)
    if probe:
        ratio = statistics.median(
            one / other for one, other in zip(took[True], took[False], strict=False)
        )
        print(f"with the probe / without: {ratio:.5f}")
    print(f"own clock: {seen / (time.perf_counter() - start):.2f} samples/s")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
