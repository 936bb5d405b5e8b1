"""A training as people write it, in PyTorch: under torchrun several ranks, else one."""

import os
import signal
import sys
import time
from contextlib import nullcontext

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset


class Late(TensorDataset):
    """Whose batches take 5 ms to fetch."""

    def __getitems__(self, indices):
        time.sleep(0.005)
        return [self[index] for index in indices]


class Slow(nn.Module):
    """Takes 5 ms longer where there are two ranks: on rank 1, or on all."""

    def forward(self, x):
        if several and dist.get_world_size() == 2 and ("slower" in how or rank == 1):
            time.sleep(0.005)
        return x


how = set(sys.argv[1:])
batch = next((int(word) for word in how if word.isdecimal()), 64)
torch.manual_seed(0)
torch.set_num_threads(1)
several = "WORLD_SIZE" in os.environ
if several:
    dist.init_process_group("gloo")
inputs, targets = torch.randn(12800, 784), torch.randint(0, 10, (12800,))
rank = dist.get_rank() if several else 0
if "shared" in how and several:
    # As where it is of all ranks together.
    batch //= dist.get_world_size()
if "uneven" in how and rank == 1:
    batch //= 2
data = (Late if "late" in how and rank == 1 else TensorDataset)(inputs, targets)
sampler = DistributedSampler(data) if several and "same" not in how else None
loader = DataLoader(data, batch_size=batch, sampler=sampler)
check = DataLoader(TensorDataset(inputs[:1280], targets[:1280]), batch_size=640)
net = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))
if how & {"slow", "slower"}:
    net = nn.Sequential(Slow(), *net)
if "compiled" in how:
    # By nothing that takes its time.
    net = torch.compile(net, backend="eager")
model = DistributedDataParallel(net) if several and "apart" not in how else net
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
accumulate = 4 if "accumulate" in how else 1
for epoch in range(1 if "short" in how else 400 if "long" in how else 8):
    model.train()
    if "frozen" in how:
        net[0].eval()
    for number, (x, y) in enumerate(loader):
        with model.no_sync() if "unsynced" in how else nullcontext():
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
        if (number + 1) % accumulate == 0:
            optimizer.step()
            optimizer.zero_grad()
        if "dumps" in how and number % 50 == 49:
            # A checkpoint that is no torch.save.
            time.sleep(0.3)
        if "raise" in how and epoch == 2:
            raise ValueError("no such layer")
        if "killed" in how and epoch == 4 and rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if "leaves" in how and epoch == 4 and rank == 1:
            os._exit(0)
        if "hang" in how and epoch == 2 and rank == 0:
            time.sleep(600)
        if "die" in how and epoch == 6:
            os._exit(0)
    if "evaluate" in how and rank == 0:
        model.eval()
        with torch.no_grad():
            for x, _ in check:
                net(x)
        time.sleep(0.2)
        model.train()
    if rank == 0:
        print(f"epoch {epoch}: loss {float(loss):.3f}")
if "fork" in how:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
if several:
    # As PyTorch's documentation has it: without, its threads may abort the process as it ends.
    dist.destroy_process_group()
