"""What real ranks time beside training: it changes nothing there, and finds the slow rank."""

import numpy as np
import pytest

import hpcbench
from hpcbench.records.reader import read_results
from hpcbench.training.beside import FEWEST, Beside, phases_of
from support import only_run, train
from support.networks import own_network

pytestmark = pytest.mark.slow

SHORT = (
    "--train-samples=2500",
    "--epochs=2",
    "--test-samples=500",
    "--interval-steps=4",
    "--seed=1",
)
OWN = ["--model={network}", "--train-samples=512"]
SLOW_RANK = """
import os
import time

from torch import nn

from hpcbench.models import MODELS, ModelSpec


class Slow(nn.Module):
    def forward(self, inputs):
        if os.environ.get("OMPI_COMM_WORLD_RANK", os.environ.get("HOROVOD_RANK")) == "1":
            time.sleep(0.05)
        return inputs


def build(input_shape, outputs):
    return nn.Sequential(Slow(), nn.Flatten(), nn.Linear(784, 64), nn.Linear(64, outputs))


network = {"optimizer": "sgd", "learning_rate": 0.1, "batch": 128}
MODELS.add("slow", ModelSpec(name="slow", builders={"torch": build}, epochs=1, **network))
"""


@pytest.mark.parametrize(
    ("strategy", "flags"),
    [
        # Dropout and Adam: random numbers and slots are part of the state, and each device has
        # moving statistics of its own, to be averaged at an epoch's end.
        ("mirrored", OWN),
        # Exchanges of normalization's own would wait for ranks that sleep while one computes alone.
        *((ranks, [*OWN, "--batchnorm=sync"]) for ranks in ("mpi", "horovod", "multiworker")),
        ("jax-distributed", ["--framework=jax", *OWN, "--batchnorm=sync"]),
        ("ddp", ["--framework=torch", *OWN]),
    ],
)
def test_training_is_bit_for_bit_the_same_without_it(tmp_path, strategy, flags):
    needed = {"ddp": "torch", "jax-distributed": "jax"}
    if strategy in needed:
        pytest.importorskip(needed[strategy])
    network = own_network(tmp_path, needed.get(strategy, "tensorflow"))
    states, losses = [], []
    for rounds in (0, 4):
        results = tmp_path / str(rounds)
        done = train(
            *(results, *SHORT, *(flag.format(network=network) for flag in flags)),
            *("--checkpoint", f"--no-exchange-intervals={rounds}"),
            strategy=strategy,
            devices=2,
        )
        assert done.status == 0, done.errors
        folder, _ = only_run(results)
        with np.load(folder / "checkpoint.npz") as file:
            states.append({name: file[name] for name in file if name.startswith("variable")})
        read = read_results(results)
        losses.append(read.accuracy[["train_loss", "test_loss"]].to_numpy())
        phases = set(read.ranks["phase"])
        # One process has none that could sleep.
        beside = set(phases_of(2)) - ({"alone"} if strategy == "mirrored" else set())
        assert phases == {"train", *(beside if rounds else ())}
    assert states[0]
    assert all(np.array_equal(states[0][name], states[1][name]) for name in states[0])
    assert np.array_equal(losses[0], losses[1])


def twice_on_one_and_two(results, *flags):
    for devices in (1, 2):
        for repeat in (0, 1):
            done = train(
                *(results, *flags, f"--repeat={repeat}", "--cores-per-device=1"),
                strategy="ddp",
                devices=devices,
            )
            assert done.status == 0, done.errors


def test_a_rank_that_is_slow_is_named_with_what_it_costs(tmp_path):
    """It sleeps for 50 ms a step: so much do the others wait."""
    pytest.importorskip("torch")
    (tmp_path / "slow.py").write_text(SLOW_RANK)
    results = tmp_path / "results"
    flags = ("--framework=torch", f"--model={tmp_path / 'slow.py'}", *SHORT)
    twice_on_one_and_two(results, *flags, "--no-exchange-intervals=8")
    (row,) = hpcbench.load(results).why.to_dict("records")
    assert (row["rank"], row["devices"], row["runs"]) == (1, 2, 2)
    assert row["host"]
    assert row["blamed"][0] == "waiting"
    assert 0.0375 < row["waiting_seconds"] < row["step_seconds"]


# Each on two ranks and not on the base; the delay is a step's, the thread never rests.
LATE_INPUT = """
import os
import time
from dataclasses import replace

import numpy as np
from torch import nn

from hpcbench.datasets import DATASETS
from hpcbench.models import MODELS, ModelSpec


class Late:
    def __init__(self, whole):
        self.whole, self.shape = whole, whole.shape

    def __len__(self):
        return len(self.whole)

    def __getitem__(self, places):
        if isinstance(places, slice):
            return Late(self.whole[places])
        time.sleep(0.05 if os.environ.get("OMPI_COMM_WORLD_SIZE") == "2" else 0)
        return self.whole[places]


def late(files):
    arrays = mnist.read(files)
    return replace(arrays, train_inputs=Late(arrays.train_inputs))


def build(input_shape, outputs):
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 512), nn.Linear(512, outputs))


mnist = DATASETS["mnist"]
DATASETS.add("late", replace(mnist, name="late", read=late))
network = {"optimizer": "sgd", "learning_rate": 0.1, "batch": 128, "datasets": ("late",)}
MODELS.add("injected", ModelSpec("injected", builders={"torch": build}, epochs=1, **network))
"""
BUSY_THREAD = """
import os
import threading
import zlib

from torch import nn

from hpcbench.models import MODELS, ModelSpec


def burn():
    block = bytes(1 << 24)
    while True:
        # Without Python's lock.
        zlib.crc32(block)


def build(input_shape, outputs):
    if os.environ.get("OMPI_COMM_WORLD_SIZE") == "2":
        threading.Thread(target=burn, daemon=True).start()
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 2048), nn.Linear(2048, outputs))


network = {"optimizer": "sgd", "learning_rate": 0.1, "batch": 128}
MODELS.add("injected", ModelSpec("injected", builders={"torch": build}, epochs=1, **network))
"""


@pytest.mark.parametrize(
    ("injected", "cause", "more"),
    [
        (LATE_INPUT, "extra_input", ["--input=stream", "--dataset=late"]),
        (BUSY_THREAD, "extra_background", []),
    ],
)
def test_late_input_and_a_busy_thread_are_not_called_compute(tmp_path, injected, cause, more):
    pytest.importorskip("torch")
    (tmp_path / "injected.py").write_text(injected)
    results = tmp_path / "results"
    flags = ("--framework=torch", f"--model={tmp_path / 'injected.py'}", *SHORT, *more)
    twice_on_one_and_two(results, *flags, "--no-exchange-intervals=4")
    frames = hpcbench.load(results)
    (row,) = frames.why.to_dict("records")
    assert cause in row["blamed"]
    took = row[f"{cause}_seconds"]
    if cause == "extra_input":
        assert took == pytest.approx(0.05, rel=0.25)
        return
    # It has half of each core, or a third where something else computes there too.
    free = frames.ranks[(frames.ranks["phase"] == "no_exchange")].groupby("run_id").sum()
    several = free[free["rank"] > 0]
    compute = (several["seconds"] / several["steps"]).median()
    assert 0.2 * compute < took < 0.6 * compute


@pytest.mark.parametrize("intervals", [1, 7, 100, 10_000])
def test_rounds_are_spread_and_few(intervals):
    for devices in (1, 2):
        after = Beside(rounds=20).after(intervals, devices)
        longer = sum(after.values()) * len(phases_of(devices)) / 3
        assert sum(after.values()) == FEWEST or longer <= 0.3 * intervals
        assert all(0 <= interval < intervals for interval in after)
        assert Beside(rounds=0).after(intervals, devices).total() == 0
