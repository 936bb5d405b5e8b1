"""A plain PyTorch loop against this harness, on the same device.

    python benchmarks/torch_loop.py [--rounds 6]

The network of PyTorch's MNIST example, 60,000 images an epoch. A process a side; the sides take
turns, an epoch each, after one that is not counted. The plain loop has its images on the device and
does nothing but train; a second one reads them through a DataLoader of two workers and pinned
memory. An epoch ends when the device has done its last step; no side evaluates within it.
"""

import argparse
import os
import time
from collections.abc import Iterator

import numpy as np
from rich.console import Console
from rich.table import Table

from harness_epochs import harness
from hpcbench.config import RunConfig
from hpcbench.devices.cores import available_cores, cpu_name
from hpcbench.models import MODELS
from spread import spread
from turns import Side, serve, take_turns

SIDES = PLAIN, LOADER, OURS = "plain loop", "DataLoader", "hpcbench"
MODEL = "cnn-pytorch"


def plain(samples: int, batch: int, loaded: bool) -> Iterator[float]:
    """Seconds of one epoch after the other, from a DataLoader or from the device's memory."""
    import torch
    from torch.nn.functional import cross_entropy
    from torch.utils.data import DataLoader, TensorDataset

    from hpcbench.datasets.sources import locate

    spec, source = MODELS[MODEL], locate("auto")
    data = source.read().first(samples)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    bytes_first = np.asarray(data.train_inputs).transpose(0, 3, 1, 2)
    images = torch.from_numpy(bytes_first.astype(np.float32) / 255)
    labels = torch.from_numpy(np.asarray(data.train_targets).astype(np.int64))
    model = spec.builders["torch"](source.spec.input_shape, source.spec.outputs).to(device)
    optimizer = torch.optim.Adadelta(model.parameters(), spec.learning_rate)
    loader = DataLoader(
        TensorDataset(images, labels),
        batch,
        shuffle=True,
        num_workers=2,
        pin_memory=device.type == "cuda",
        drop_last=True,
        persistent_workers=True,
    )
    if not loaded:
        images, labels = images.to(device), labels.to(device)

    def batches() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        if loaded:
            for some, of_some in loader:
                yield some.to(device, non_blocking=True), of_some.to(device, non_blocking=True)
            return
        order = torch.randperm(samples, device=device)
        for chosen in order[: samples - samples % batch].split(batch):
            yield images[chosen], labels[chosen]

    while True:
        start = time.perf_counter()
        total = torch.zeros((), device=device)
        for inputs, targets in batches():
            loss = cross_entropy(model(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach()
        total.item()
        yield time.perf_counter() - start


def measure(side: str, samples: int) -> None:
    """One side's process."""
    from hpcbench.frameworks import FRAMEWORKS

    batch = MODELS[MODEL].batch
    FRAMEWORKS["torch"].prepare(len(available_cores()), 1, 0)
    if side == OURS:
        config = RunConfig(model=MODEL, framework="torch", train_samples=samples)
        serve(harness(config), samples)
    else:
        serve(plain(samples, batch, side == LOADER), samples)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--samples", type=int, default=60_000)
    parser.add_argument("--measure", choices=SIDES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.measure, arguments.samples)
        return
    import torch

    load = os.getloadavg()[0]
    flags = [__file__, f"--samples={arguments.samples}", "--measure"]
    times = take_turns({side: Side(*flags, side) for side in SIDES}, arguments.rounds)
    table = Table("side", "microseconds a sample", "plain loop / side")
    for side in SIDES:
        ratios = [a / b for a, b in zip(times[PLAIN], times[side], strict=True)]
        table.add_row(side, spread(times[side], 2), spread(ratios, 2))
    console = Console(width=100, markup=False)
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    console.print(
        f"{gpu}; {cpu_name()}, {len(available_cores())} cores; PyTorch {torch.__version__}; load "
        f"{load:.2f} at the start; {MODEL}, batch {MODELS[MODEL].batch}: median [lowest, highest] "
        f"of {arguments.rounds} epochs of {arguments.samples:,}"
    )
    console.print(table)


if __name__ == "__main__":
    main()
