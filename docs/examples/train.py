"""A training in PyTorch that knows nothing of hpcbench: alone, or a rank under torchrun."""

import argparse
import os

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

parser = argparse.ArgumentParser()
parser.add_argument("--batch-size", type=int, default=64)
parser.add_argument("--epochs", type=int, default=6)
args = parser.parse_args()
torch.manual_seed(0)
torch.set_num_threads(1)
several = "WORLD_SIZE" in os.environ
if several:
    dist.init_process_group("gloo")
digits = TensorDataset(torch.rand(6400, 1, 28, 28), torch.randint(0, 10, (6400,)))
loader = DataLoader(
    digits, args.batch_size, sampler=DistributedSampler(digits) if several else None
)
model = nn.Sequential(
    nn.Conv2d(1, 16, 5, padding=2),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Flatten(),
    nn.Linear(3136, 10),
)
if several:
    model = DistributedDataParallel(model)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for epoch in range(args.epochs):
    for images, labels in loader:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch}: loss {float(loss):.3f}")
