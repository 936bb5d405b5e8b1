"""Trainings in PyTorch as people write them, each in a child of its own: prints a JSON object a
line, of what it is called, by whom it is done, and what it truly did."""

import json
import os
import pickle
import queue
import sys
import threading
import time
import traceback
from pathlib import Path

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

BATCH, BATCHES, EPOCHS = 64, 40, 6
# Evaluation, at each epoch's end.
PAUSE = 0.2
torch.set_num_threads(1)
inputs, targets = torch.randn(BATCHES * BATCH, 784), torch.randint(0, 10, (BATCHES * BATCH,))
data = TensorDataset(inputs, targets)
check = DataLoader(TensorDataset(inputs[:640], targets[:640]), batch_size=320)
folder = Path(sys.argv[1])


class Late(TensorDataset):
    """Whose batches take a while to fetch."""

    seconds = 0.0

    def __getitems__(self, places):
        time.sleep(self.seconds)
        return [self[place] for place in places]


class Images(Dataset):
    def __len__(self):
        return len(data)

    def __getitem__(self, place):
        return inputs[place].reshape(1, 28, 28), {"label": targets[place]}


class Stream(IterableDataset):
    """One sample more than whole batches have."""

    def __init__(self, by_batch=False):
        self.by_batch = by_batch

    def __iter__(self):
        if self.by_batch:
            yield from zip(inputs.split(BATCH), targets.split(BATCH), strict=True)
        else:
            yield from zip(inputs, targets, strict=True)
            yield inputs[0], targets[0]


def network():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10))


def sgd(net):
    return torch.optim.SGD(net.parameters(), 0.05)


def step(net, optimizer, x, y):
    optimizer.zero_grad()
    nn.functional.cross_entropy(net(x), y).backward()
    optimizer.step()


def epoch(net, optimizer, loader):
    for x, y in loader:
        step(net, optimizer, x, y)


def batches_of(dataset, arrays=lambda batch: batch, **options):
    """Batches as ``arrays`` makes (inputs, targets) of them."""
    net = network()
    optimizer = sgd(net)
    for _ in range(EPOCHS):
        for batch in DataLoader(dataset, **options):
            step(net, optimizer, *arrays(batch))


def images():
    def arrays(batch):
        images, marks = batch
        return torch.stack(images), torch.stack([mark["label"] for mark in marks])

    batches_of(
        Images(), arrays, batch_size=BATCH, collate_fn=lambda items: tuple(zip(*items, strict=True))
    )


def sequences():
    """Their first dimension is time."""

    def collate(items):
        inputs = torch.stack([x.reshape(28, 28) for x, _ in items], 1)
        return inputs, torch.stack([y for _, y in items])

    batches_of(data, lambda b: (b[0].transpose(0, 1), b[1]), batch_size=BATCH, collate_fn=collate)


def workers():
    batches_of(data, batch_size=BATCH, num_workers=2, persistent_workers=True)


def rests():
    """Each epoch's last batch has ten samples."""
    some = TensorDataset(*(each[: (BATCHES - 1) * BATCH + 10] for each in data.tensors))
    batches_of(some, batch_size=BATCH)


def rests_of_workers():
    some = TensorDataset(*(each[: (BATCHES - 1) * BATCH + 10] for each in data.tensors))
    batches_of(some, batch_size=BATCH, num_workers=2)


def accumulates():
    """Four batches to a step."""
    net = network()
    optimizer = sgd(net)
    for _ in range(EPOCHS):
        for _ in range(4):
            for number, (x, y) in enumerate(DataLoader(data, batch_size=BATCH // 4)):
                nn.functional.cross_entropy(net(x), y).backward()
                if number % 4 == 3:
                    optimizer.step()
                    optimizer.zero_grad()


def glances():
    """Looks at another batch, of an iterator that it has all the time, after each 15 steps."""
    net = network()
    optimizer = sgd(net)
    more = iter(DataLoader(data, batch_size=1))
    for _ in range(4 * EPOCHS):
        for number, (x, y) in enumerate(DataLoader(data, batch_size=BATCH)):
            if number % 15 == 14:
                with torch.no_grad():
                    net(next(more)[0])
            step(net, optimizer, x, y)


def stream():
    batches_of(Stream(), batch_size=BATCH)


def own_batches():
    batches_of(Stream(by_batch=True), batch_size=None)


def batches_as_items():
    net = network()
    optimizer = sgd(net)
    batches = list(zip(inputs.split(BATCH), targets.split(BATCH), strict=True))
    for _ in range(EPOCHS):
        epoch(net, optimizer, DataLoader(batches, batch_size=1, collate_fn=lambda items: items[0]))


def fetches_in_a_thread():
    """As a generator in the background does, 2 ms for each batch."""
    late = Late(inputs, targets)
    late.seconds = 0.002
    net = network()
    optimizer = sgd(net)
    for _ in range(EPOCHS):
        fetched = queue.Queue(4)

        def fill(fetched=fetched):
            for batch in DataLoader(late, batch_size=BATCH):
                fetched.put(batch)
            fetched.put(None)

        threading.Thread(target=fill).start()
        epoch(net, optimizer, iter(fetched.get, None))


def two_loaders():
    net = network()
    optimizer = sgd(net)
    for _ in range(EPOCHS):
        marked, unmarked = (DataLoader(data, batch_size=size) for size in (BATCH // 4, BATCH))
        for (x, y), (more, _) in zip(marked, unmarked, strict=False):
            net(more)
            step(net, optimizer, x, y)


def new_optimizer():
    net = network()
    for _ in range(EPOCHS):
        epoch(net, sgd(net), DataLoader(data, batch_size=BATCH))


def searches():
    """For the better of two models."""
    for _ in range(2):
        net = network()
        optimizer = sgd(net)
        for _ in range(EPOCHS // 2):
            epoch(net, optimizer, DataLoader(data, batch_size=BATCH))


def later_optimizer():
    net = network()
    first, second = sgd(net), torch.optim.Adam(net.parameters())
    for number in range(EPOCHS):
        epoch(net, second if number else first, DataLoader(data, batch_size=BATCH))


def later_model():
    kept = []
    for _ in range(2):
        net = network()
        kept.append(sgd(net))
        for _ in range(EPOCHS):
            epoch(net, kept[-1], DataLoader(data, batch_size=BATCH))


def two_optimizers():
    """In turns, as adversaries are trained."""
    one, other = network(), network()
    optimizers = sgd(one), sgd(other)
    for _ in range(EPOCHS):
        for x, y in DataLoader(data, batch_size=BATCH):
            step(one, optimizers[0], x, y)
            step(other, optimizers[1], x, y)


class Twice(torch.optim.Optimizer):
    """Holds another one of the same parameters, whose steps are its own."""

    def __init__(self, inner):
        self.inner = inner
        super().__init__([p for group in inner.param_groups for p in group["params"]], {})

    def step(self, closure=None):
        self.inner.step()


def wrapped_optimizer():
    net = network()
    optimizer = Twice(sgd(net))
    for _ in range(EPOCHS):
        epoch(net, optimizer, DataLoader(data, batch_size=BATCH))


def an_optimizer_a_parameter():
    net = network()
    several = [torch.optim.SGD([p], 0.001) for p in net.parameters() for _ in range(40)]
    for _ in range(EPOCHS):
        for x, y in DataLoader(data, batch_size=BATCH):
            nn.functional.cross_entropy(net(x), y).backward()
            for optimizer in several:
                optimizer.step()


def replays():
    """From another loader at every other step, which is trained on too."""
    net = network()
    optimizer = sgd(net)
    more = iter(DataLoader(data, batch_size=BATCH))
    for _ in range(EPOCHS):
        for number, (x, y) in enumerate(DataLoader(data, batch_size=BATCH)):
            optimizer.zero_grad()
            if number % 2 and number < 2 * (BATCHES // EPOCHS):
                nn.functional.cross_entropy(net(next(more)[0]), y).backward()
            time.sleep(0.002)
            nn.functional.cross_entropy(net(x), y).backward()
            optimizer.step()


def recomputes():
    """A backward pass that holds others, each of 2 ms."""

    def slow(x):
        x.register_hook(lambda gradient: time.sleep(0.002))
        return x * 1.0

    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    outer = nn.Sequential(net)
    optimizer = sgd(net)
    outer.train()
    for _ in range(EPOCHS):
        for x, y in DataLoader(data, batch_size=BATCH):
            optimizer.zero_grad()
            hidden = checkpoint(slow, outer(x), use_reentrant=True)
            nn.functional.cross_entropy(hidden, y).backward()
            optimizer.step()


def evaluating(begin, end, saves=False, check=check):
    """After each epoch, told by ``begin`` and ``end``."""
    net = network()
    outer = nn.Sequential(net)
    optimizer = sgd(net)
    outer.train()
    for number in range(EPOCHS):
        epoch(outer, optimizer, DataLoader(data, batch_size=BATCH))
        begin(outer, net)
        with torch.no_grad():
            if saves:
                torch.save(net.state_dict(), folder / "best.pt")
            for x, _ in check:
                outer(x)
        time.sleep(PAUSE if number < EPOCHS - 1 else 0)
        end(outer, net)


def evaluates():
    evaluating(lambda outer, net: outer.eval(), lambda outer, net: outer.train())


def evaluates_late_data():
    late = Late(inputs[:640], targets[:640])
    late.seconds = 0.05
    evaluating(
        lambda outer, net: outer.eval(),
        lambda outer, net: outer.train(),
        check=DataLoader(late, batch_size=320),
    )


def evaluates_a_part():
    evaluating(lambda outer, net: net.eval(), lambda outer, net: outer.train())


def evaluates_for_good():
    evaluating(lambda outer, net: outer.eval(), lambda outer, net: None)


def evaluates_unsaid():
    evaluating(lambda outer, net: None, lambda outer, net: None)


def saves_while_evaluating():
    evaluating(lambda outer, net: outer.eval(), lambda outer, net: outer.train(), saves=True)


def exports():
    net = network()
    epoch(net, sgd(net), DataLoader(data, batch_size=BATCH))
    net.train()
    epoch(net, sgd(net), DataLoader(data, batch_size=BATCH))
    called = pickle.loads(pickle.dumps(nn.Sequential.__dict__.get("__call__", nn.Module.__call__)))
    assert called is nn.Module.__call__
    torch.save(net, folder / "whole.pt")
    torch.jit.script(net).save(folder / "scripted.pt")


def closes_files():
    """As one does that becomes a daemon, and opens one of its own then."""
    net = network()
    optimizer = sgd(net)
    epoch(net, optimizer, DataLoader(data, batch_size=BATCH))
    os.closerange(3, 256)
    with open(folder / "own.txt", "w") as own:
        for _ in range(EPOCHS - 1):
            epoch(net, optimizer, DataLoader(data, batch_size=BATCH))
            own.write("mine\n")


def forks():
    """Has trained when it forks what trains on."""
    net = network()
    optimizer = sgd(net)
    epoch(net, optimizer, DataLoader(data, batch_size=BATCH))
    child = os.fork()
    if not child:
        for _ in range(EPOCHS):
            epoch(net, optimizer, DataLoader(data, batch_size=BATCH))
        os._exit(0)
    os.waitpid(child, 0)


HABITS = (
    *(images, sequences, workers, rests, rests_of_workers, accumulates, glances),
    *(stream, own_batches, batches_as_items, two_loaders, fetches_in_a_thread),
    *(new_optimizer, searches, later_optimizer, later_model, two_optimizers, wrapped_optimizer),
    *(an_optimizer_a_parameter, replays, recomputes),
    *(
        evaluates,
        evaluates_late_data,
        evaluates_a_part,
        evaluates_for_good,
        evaluates_unsaid,
        saves_while_evaluating,
    ),
    *(exports, closes_files, forks),
)
for habit in HABITS:
    child = os.fork()
    if not child:
        try:
            began = time.perf_counter()
            habit()
            took = time.perf_counter() - began
            print(
                json.dumps({"habit": habit.__name__, "pid": os.getpid(), "took": took}), flush=True
            )
        except BaseException:
            traceback.print_exc()
        os._exit(0)
    os.waitpid(child, 0)
