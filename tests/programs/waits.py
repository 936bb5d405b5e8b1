"""Trainings that wait for data for a known part of each step, and for longer in evaluations: prints
the seconds that steps took, and those for which they waited, by a clock of their own."""

import json
import sys
import time

import numpy as np

import hpcbench

STEPS, EPOCHS, BATCH = 100, 5, 2
LATE_IN_EVALUATION, COMPUTES = 0.2, 0.003
kind, late = sys.argv[1], float(sys.argv[2])
inputs = np.zeros((BATCH, 4), dtype=np.float32)
targets = np.zeros(BATCH, dtype=np.int64)


class Clock:
    """Of all steps but those of the first epoch."""

    seconds = waited = 0.0
    epoch = 0

    def train(self, so):
        """Steps of an epoch are about to begin, or over."""
        if so:
            self.began = time.perf_counter()
        else:
            if self.epoch:
                self.seconds += time.perf_counter() - self.began
            self.epoch += 1

    def wait(self, seconds):
        began = time.perf_counter()
        if seconds:
            time.sleep(seconds)
        if self.epoch and seconds != LATE_IN_EVALUATION:
            self.waited += time.perf_counter() - began


clock = Clock()


def compute():
    until = time.perf_counter() + COMPUTES
    while time.perf_counter() < until:
        pass


def batches(count=STEPS, seconds=late):
    for _ in range(count):
        # Also where it is asked within what waits itself, it waits once.
        with hpcbench.phase("input"):
            clock.wait(seconds)
        yield inputs, targets


def own_loop(step=lambda inputs: inputs.mean()):
    for _ in range(EPOCHS):
        clock.train(True)
        for x, _ in hpcbench.steps(batches()):
            step(x)
            compute()
        clock.train(False)
        with hpcbench.phase("evaluation"):
            list(batches(1, LATE_IN_EVALUATION))


def evaluating_input():
    """Evaluates while the next batch is waited for."""

    def epochs():
        for _ in range(EPOCHS):
            clock.train(True)
            yield from batches()
            compute()
            clock.train(False)
            with hpcbench.phase("evaluation"):
                time.sleep(LATE_IN_EVALUATION)

    for _ in hpcbench.steps(epochs()):
        compute()


def jax():
    from jax import jit

    mean = jit(lambda inputs: inputs.mean())
    own_loop(lambda inputs: mean(inputs).block_until_ready())


def loader(count=STEPS, seconds=late, streams=False):
    from torch.utils.data import DataLoader, Dataset, IterableDataset

    class Samples(Dataset):
        def __len__(self):
            return count * BATCH

        def __getitem__(self, place):
            if place % BATCH == 0:
                clock.wait(seconds)
            return inputs[0], targets[0]

    class Stream(IterableDataset):
        def __iter__(self):
            return map(Samples().__getitem__, range(count * BATCH))

    return DataLoader(Stream() if streams else Samples(), batch_size=BATCH)


def torch(tells=True, returns=True, frozen=False, **options):
    import torch

    torch.set_num_threads(1)
    net = torch.nn.Sequential(torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 10)).train()
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    for _ in range(EPOCHS):
        clock.train(True)
        for x, y in loader(**options):
            if frozen:
                net[0].eval()
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(net(x), y).backward()
            optimizer.step()
            compute()
        clock.train(False)
        net.train(not tells)
        for x, _ in loader(1, LATE_IN_EVALUATION):
            net(x)
        net.train(returns)


def keras(training, evaluation, **options):
    import keras

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(10)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))

    class Clocked(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            clock.train(True)

        def on_train_batch_end(self, batch, logs=None):
            compute()

        def on_test_begin(self, logs=None):
            clock.train(False)

    given = {"epochs": EPOCHS, "verbose": 0, "callbacks": [Clocked()], **options}
    model.fit(training, validation_data=evaluation, **given)


def keras_generator():
    # Keras asks for a batch or two more than it needs, and before it says that it evaluates.
    training, evaluation = batches(EPOCHS * STEPS + 9), batches(EPOCHS + 9, 0.0)
    keras(training, evaluation, steps_per_epoch=STEPS, validation_steps=1)


KINDS = {
    "own loop": own_loop,
    "input that evaluates": evaluating_input,
    "jax": jax,
    "torch": torch,
    "torch, unsaid": lambda: torch(tells=False),
    "torch, left so": lambda: torch(returns=False),
    "torch, frozen": lambda: torch(frozen=True),
    "torch, stream": lambda: torch(streams=True),
    "keras, generator": keras_generator,
    "keras, loader": lambda: keras(loader(), loader(1, LATE_IN_EVALUATION)),
}
KINDS[kind]()
print(json.dumps({"seconds": clock.seconds, "waited": clock.waited}))
